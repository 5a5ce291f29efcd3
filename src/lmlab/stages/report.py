"""The tables that a person reads before and after a job."""

from collections.abc import Mapping
from typing import Any

from lmlab import flops, memory
from lmlab.experiment import Experiment
from lmlab.terminal import print_columns, print_table

QUESTIONS = {  # what a stage that answers is asked, for example
    "predict": "stage.input=texts.csv",
    "generate": 'stage.prompt="Once upon a time"',
    "interpolate": 'stage.start="a dull film" stage.end="a great film"',
    "neighbours": "stage.words=[good,bad]",
    "ask": 'stage.question="Who is it about?" stage.context=text.txt',
    "score": "stage.input=texts.txt",
    "index": "stage.input=texts.txt",
    "search": 'stage.query="what is asked"',
}


def plan(experiment: Experiment) -> dict[str, object]:
    """What is about to run, by name."""
    settings, corpus, module = experiment.settings, experiment.corpus, experiment.module
    corpus.order.check_shares(settings["devices"] * settings["num_nodes"], settings["accumulate_grad_batches"])
    summary, steps = corpus.summary(), corpus.order.batches_per_epoch
    limits = [steps * settings["max_epochs"], settings["max_steps"]]
    total = min((limit for limit in limits if limit > 0), default=0)  # 0: until it is stopped
    n_learned = sum(p.numel() for p in module.parameters() if p.requires_grad)
    partly = n_learned < sum(p.numel() for p in module.parameters())
    n_parts = settings["accumulate_grad_batches"]
    parts = f" in {n_parts} parts" if n_parts > 1 else ""
    rank = f"{settings['accelerator']} x {settings['devices']}"
    return {
        "parameters": f"{module.n_parameters:,}" + (f", {n_learned / module.n_parameters:.2%} learn" if partly else ""),
        "corpus": f"{summary['rows']['train']:,} rows, {summary['tokens']['train']:,} tokens an epoch",
        "tokenizer": f"{len(corpus.tokenizer):,} of {corpus.tokenizer.vocab_size:,} entries",
        "steps": f"{total:,} ({steps:,} an epoch, {corpus.batch_tokens:,} tokens each{parts})",
        "precision": settings["precision"],
        "devices": f"{rank} ({settings['strategy']})" if settings["devices"] != 1 else rank,
        "run": str(experiment.run.path),
    }


def print_plan(experiment: Experiment) -> None:
    print_table("Run", plan(experiment))


def print_results(experiment: Experiment, results: Mapping[str, Mapping[str, float]]) -> None:
    """The result table, a column for each split, by what it was measured, and how to see more."""
    scored = {split: results[split] for split in ("val", "test") if results.get(split)}
    names = dict.fromkeys(name.partition("/")[2] for values in scored.values() for name in values)
    rows = [[name, *(number(values.get(f"{split}/{name}")) for split, values in scored.items())] for name in names]
    named = [experiment.corpus.official_splits.get(split, split) for split in scored]
    print_columns("Results", ["", *named], rows)
    for name, signature in experiment.module.task.measured_by().items():
        print(f"{name:<12} {signature}")
    told = results.get("fit", {})
    if told:
        steps, speed = told["fit/steps"], told.get("throughput/tokens_per_second")
        parts = [f"{steps:,} steps" if steps else "", f"{told['fit/seconds']:,.0f} s"]
        print("training    ", ", ".join(filter(None, [*parts, f"{speed:,.0f} tokens/s" if speed else ""])))
    path = experiment.run.path
    print(f"run folder   {path}")
    if (path / "wandb").is_dir():
        print(f"dashboard    wandb leet {path / 'wandb'}")
    print(f"test again   python src/run.py stage=test run={path}")
    data = experiment.config["data"]
    for stage in experiment.config["task"].get("answers", ()):
        second = " stage.pair_column=pair" if stage == "predict" and data.get("pair_column") else ""
        print(f"{stage:<12} python src/run.py stage={stage} run={path} {QUESTIONS[stage]}{second}")
    if "submission" in data.get("provides", ()):
        print(f"leaderboard  python src/run.py stage=predict run={path}")


def number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) > 1 else f"{value:.4f}"


def cost_of_a_batch(experiment: Experiment) -> dict[str, str]:
    """FLOPs a token and memory, measured on small training batches."""
    if not memory.has_gradients(experiment.module):
        return {}
    need, settings = memory.needed(experiment), experiment.settings
    module, n_ranks = experiment.module, settings["devices"] * settings["num_nodes"]
    batch: Any = experiment.corpus.datasets["train"][memory.longest_rows(experiment, 8)]
    with flops.Counter() as counter:
        loss, _ = module.task.loss(module.network, module.transfer_batch_to_device(batch, module.device, 0))
        loss.backward()
    module.zero_grad(set_to_none=True)
    held = need.per_token * experiment.corpus.batch_tokens / (n_ranks * settings["accumulate_grad_batches"])
    return {
        "FLOPs a token": f"{counter.get_total_flops() / int(module.task.n_tokens(batch)):,.0f} (forward and backward)",
        "memory": f"{need.fixed / 2**20:,.0f} MiB weights, gradients, AdamW + {held / 2**20:,.0f} MiB activations",
    }


def print_rows_table(summary: Mapping[str, Any]) -> None:
    """The corpus: rows and tokens of each split, and what was dropped on the way."""
    splits = list(summary["rows"])
    rows = [[split, f"{summary['rows'][split]:,}", f"{summary['tokens'][split]:,}"] for split in splits]
    print_columns("Corpus", ["split", "rows", "tokens"], rows)
    print_table("", {name: value for name, value in summary.items() if name not in ("rows", "tokens")})
