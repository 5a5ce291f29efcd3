"""Training speed of a GPT-2 beside `transformers.Trainer`, and what lmlab costs beside a bare loop, taken in turns.

    python scripts/bench_language_model.py --rounds 3
    python scripts/bench_language_model.py --overhead data.path=input.txt

First: 6 layers, 384 wide, 6 heads, 256 tokens of context, 8,192 byte pairs of the IMDb reviews that a package ships.
The Trainer trains GPT2LMHeadModel of that shape, as it does by default (torch's attention and fused AdamW) but for the
learning rate, decay and rows a step, which are lmlab's, on the tokens of lmlab's own batches. Both drop 0.1 of the
embeddings and of what each layer adds, and no attention: dropping that too, as GPT2Config does, keeps both from fused
attention. Printed: tokens a second, their ratio, and the share of the rate at which torch multiplies matrices here.

Second (--overhead): the model of experiment=shakespeare_cpu in the whole job, with callbacks and loggers as they are by
default, beside a loop of forward, backward, clipping and fused AdamW over batches that lie ready. Printed: the
milliseconds of a step, and the share of it that is not in the loop's.
"""

import argparse
import sys
import time
from itertools import islice
from statistics import median

import side_by_side

NETWORK = {"d_model": 384, "n_heads": 6, "n_layers": 6}
SETTINGS = [
    *("model=gpt2", "data=imdb", "task=causal_lm", "tokenizer=bpe", "tokenizer.vocab_size=8192", "logger=csv"),
    *(f"model.network.{name}={size}" for name, size in NETWORK.items()),
    *("data.max_length=256", "data.batch_tokens=2048", "optimizer=adamw"),
]
SMALL = ["experiment=shakespeare_cpu"]


def main() -> None:
    steps, warmup = (300, 30) if "--overhead" in sys.argv else (20, 3)
    parser = side_by_side.parser(__doc__, steps=steps, warmup=warmup)
    parser.add_argument("--overhead", action="store_true", help="the second comparison, of 300 steps after 30")
    arguments = parser.parse_args()
    sides = {"lmlab": measure_lmlab, "transformers": measure_transformers, "job": measure_job, "loop": measure_loop}
    side_by_side.run(arguments, sides, compare_overhead if arguments.overhead else compare_trainers)


def compare_trainers(arguments: argparse.Namespace) -> None:
    from lmlab.terminal import print_columns

    rows = []
    for precision in side_by_side.precisions(arguments):
        found, peak = side_by_side.in_turns(["lmlab", "transformers"], precision, arguments, "tokens_per_second")
        speeds = {side: median(one["tokens_per_second"] for one in each) for side, each in found.items()}
        per_token = found["lmlab"][0]["flops_per_token"]
        rows.append(
            [
                precision,
                *(f"{speed:,.0f}" for speed in speeds.values()),
                side_by_side.spread(side_by_side.ratios(found, "tokens_per_second")),
                *(f"{speed * per_token / peak:.0%}" for speed in speeds.values()),
                f"{peak / 1e9:,.0f} GFLOP/s",
            ]
        )
    header = ["precision", "lmlab", "Trainer", "ratio", "MFU of lmlab", "of the Trainer", "matmul rate"]
    print_columns("Training, tokens a second", header, rows)


def compare_overhead(arguments: argparse.Namespace) -> None:
    from lmlab.terminal import print_columns

    rows = []
    for precision in side_by_side.precisions(arguments):
        found, _ = side_by_side.in_turns(["loop", "job"], precision, arguments, "milliseconds")
        shares = [100 * (1 - ratio) for ratio in side_by_side.ratios(found, "milliseconds")]
        times = [f"{median(one['milliseconds'] for one in each):.2f}" for each in found.values()]
        rows.append([precision, *times, side_by_side.spread(shares, ".1f") + " %"])
    print_columns("A training step, milliseconds", ["precision", "bare loop", "lmlab", "outside the model"], rows)


def measure_lmlab(arguments: argparse.Namespace) -> dict[str, float]:
    with side_by_side.job(arguments, SETTINGS, bare=True) as job:
        rows, seconds = side_by_side.fitted(job, arguments.warmup)
        total, batch = side_by_side.operations(job)
    return {
        "tokens_per_second": rows * batch["tokens"].shape[1] / seconds,
        "flops_per_token": total / batch["tokens"].numel(),
    }


def measure_transformers(arguments: argparse.Namespace) -> dict[str, float]:
    from transformers import GPT2Config, GPT2LMHeadModel, default_data_collator

    with side_by_side.job(arguments, SETTINGS, bare=True) as job:
        batches = ready(job, arguments)
        size, length = batches[0]["tokens"].shape
        sizes = job.config["model"]["network"]
        config = GPT2Config(
            vocab_size=job.config["tokenizer"]["vocab_size"],
            n_positions=length,
            n_embd=sizes["d_model"],
            n_layer=sizes["n_layers"],
            n_head=sizes["n_heads"],
            embd_pdrop=sizes["dropout"],
            resid_pdrop=sizes["dropout"],
            attn_pdrop=sizes["attention_dropout"],
            bos_token_id=None,
            eos_token_id=None,
        )
        rows = [{"input_ids": row, "labels": row} for batch in batches for row in batch["tokens"]]
        settings = {"per_device_train_batch_size": size, "data_collator": default_data_collator}
        seconds = side_by_side.fitted_by_transformers(arguments, job, GPT2LMHeadModel(config), rows, **settings)
    return {"tokens_per_second": arguments.steps * size * length / seconds}


def measure_job(arguments: argparse.Namespace) -> dict[str, float]:
    with side_by_side.job(arguments, SMALL) as job:
        _, seconds = side_by_side.fitted(job, arguments.warmup)
    return {"milliseconds": 1000 * seconds / arguments.steps}


def measure_loop(arguments: argparse.Namespace) -> dict[str, float]:
    import torch

    from lmlab.optimizers import parameter_groups

    with side_by_side.job(arguments, SMALL) as job:
        batches = ready(job, arguments)
        network, task = job.module.network.train(), job.module.task
        optimizer = job.module.make_optimizer(parameter_groups((network, task)))
        for number, batch in enumerate(batches):
            if number == arguments.warmup:
                started = time.perf_counter()
            with torch.autocast("cpu", enabled=arguments.precision.startswith("bf16")):
                total, count = task.loss(network, batch)
            (total / count).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), job.module.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
        seconds = time.perf_counter() - started
    return {"milliseconds": 1000 * seconds / arguments.steps}


def ready(job, arguments: argparse.Namespace) -> list:
    """The batches of all steps; a short corpus is read again."""
    job.corpus.setup("fit")
    asked = arguments.steps + arguments.warmup
    batches = list(islice(job.corpus.train_dataloader(), asked))
    return (batches * -(-asked // len(batches)))[:asked]


if __name__ == "__main__":
    main()
