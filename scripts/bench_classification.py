"""Training speed beside `transformers.Trainer`: the same network, rows, optimizer and precision, taken in turns.

    python scripts/bench_classification.py --rounds 3

The Trainer gets the same tokens through its own padding collator, in batches with as many rows as lmlab's have on
average, and torch's own dropout, drawn for each element. Each side trains in its own fresh process of this tree, one at
a time, so noise of the machine hits both.
Printed: rows a second, their ratio, and the share of the rate at which torch multiplies matrices here.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often each side is measured")
    parser.add_argument("--steps", type=int, default=30, help="optimizer steps of a measurement, after --warmup")
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument(
        "--precisions", nargs="+", default=None, help="32-true, bf16-mixed; all this machine has if not given"
    )
    parser.add_argument("--side", choices=["lmlab", "transformers", "matmul"], help=argparse.SUPPRESS)
    parser.add_argument("--precision", help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*", help="of the experiment, as for src/run.py")
    arguments = parser.parse_args()
    if arguments.side:
        sides = {"lmlab": measure_lmlab, "transformers": measure_transformers, "matmul": measure_matmul}
        print(json.dumps(sides[arguments.side](arguments)))
    else:
        compare(arguments)


def compare(arguments: argparse.Namespace) -> None:
    from lmlab.machine import has_bf16
    from lmlab.terminal import print_columns

    here = ["32-true", "bf16-mixed"] if has_bf16("cpu") else ["32-true"]
    rows = []
    for precision in arguments.precisions or here:
        found: dict[str, list[dict]] = {"lmlab": [], "transformers": []}
        peaks = []
        for turn in range(arguments.rounds):
            peaks.append(measured("matmul", precision, arguments)["flops_per_second"])
            for side in found:
                found[side].append(measured(side, precision, arguments))
                print(
                    f"{precision} round {turn + 1} {side}: {found[side][-1]['rows_per_second']:.1f} rows/s", flush=True
                )
        speeds = {side: median(one["rows_per_second"] for one in each) for side, each in found.items()}
        rate = median(one["flops_per_second"] for one in found["lmlab"])
        ratios = [a["rows_per_second"] / b["rows_per_second"] for a, b in zip(*found.values(), strict=True)]
        rows.append(
            [
                precision,
                f"{speeds['lmlab']:.1f}",
                f"{speeds['transformers']:.1f}",
                f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
                f"{rate / median(peaks):.0%} of {median(peaks) / 1e9:,.0f} GFLOP/s",
            ]
        )
    print_columns("Training, rows a second", ["precision", "lmlab", "Trainer", "ratio", "share of matmul peak"], rows)


def measured(side: str, precision: str, arguments: argparse.Namespace) -> dict:
    command = [sys.executable, __file__, "--side", side, "--precision", precision]
    command += ["--steps", str(arguments.steps), "--warmup", str(arguments.warmup), *arguments.overrides]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def experiment(arguments: argparse.Namespace, folder: str):
    """The job that `src/run.py` would run with these overrides, in `folder`."""
    from hydra import compose, initialize_config_dir

    from lmlab.job import prepared
    from lmlab.run_directory import RunDirectory

    steps = arguments.steps + arguments.warmup
    settings = ["trainer=cpu", f"trainer.max_steps={steps}", f"trainer.precision={arguments.precision}"]
    settings += ["trainer.limit_val_batches=0", "logger=csv", f"run.folder={folder}"]
    settings += ["optimizer=adamw", "model.network.ngram_orders=[]", "data.max_length=400"]  # what both sides can do
    typed = [override.partition("=")[0] for override in arguments.overrides]
    kept = [setting for setting in settings if setting.partition("=")[0] not in typed]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", [*kept, *arguments.overrides])
    config.callbacks = {}
    run = RunDirectory(folder)
    return prepared(config, run, run.config)


def measure_lmlab(arguments: argparse.Namespace) -> dict[str, float]:
    import lightning.pytorch as pl

    from lmlab.terminal import speak

    class Clock(pl.Callback):
        """Rows, their floating-point operations, and seconds, from the end of the warm-up on."""

        rows, seconds, flops = 0, 0.0, 0.0

        def on_train_batch_end(self, trainer, module, outputs, batch, index) -> None:
            if trainer.global_step == arguments.warmup:
                self.started = time.perf_counter()
            elif trainer.global_step > arguments.warmup:
                self.rows += len(batch["tokens"])
                self.seconds = time.perf_counter() - self.started

    speak()
    with tempfile.TemporaryDirectory() as folder:
        job = experiment(arguments, folder)
        clock = Clock()
        job.trainer.callbacks.append(clock)
        job.trainer.fit(job.module, datamodule=job.corpus)
        per_row = flops_per_row(job)
    return {"rows_per_second": clock.rows / clock.seconds, "flops_per_second": per_row * clock.rows / clock.seconds}


def flops_per_row(job) -> float:
    """Useful operations of a row, forward and backward: measured on one training batch, scaled to its real tokens."""
    from torch.utils.flop_counter import FlopCounterMode

    batch = next(iter(job.corpus.train_dataloader()))
    with FlopCounterMode(display=False) as counter:
        job.module.task.loss(job.module.network, batch)[0].backward()
    return counter.get_total_flops() * float(batch["mask"].float().mean()) / len(batch["mask"])


def measure_transformers(arguments: argparse.Namespace) -> dict[str, float]:
    import torch
    from torch import nn
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from lmlab.nn.noise import Dropout

    class Model(nn.Module):
        """Our network and task behind the interface that the Trainer expects."""

        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.network, self.task = module.network, module.task
            for part in list(self.modules()):
                for name, child in part.named_children():
                    if isinstance(child, Dropout):
                        setattr(part, name, nn.Dropout(child.p))

        def forward(self, input_ids, attention_mask, labels):
            batch = {"tokens": input_ids, "mask": attention_mask.bool(), "label": labels}
            total, count = self.task.loss(self.network, batch)
            return {"loss": total / count}

    class Clock(TrainerCallback):
        started, seconds = 0.0, 0.0

        def on_step_end(self, args, state, control, **_: object) -> None:
            if state.global_step == arguments.warmup:
                self.started = time.perf_counter()
            self.seconds = time.perf_counter() - self.started

    with tempfile.TemporaryDirectory() as folder:
        job = experiment(arguments, folder)
        job.corpus.setup("fit")
        rows = list(examples(job.corpus))
        size = round(len(rows) / len(job.corpus.train_dataloader()))
        keywords = job.config["optimizer"]
        settings = TrainingArguments(
            output_dir=folder,
            max_steps=arguments.steps + arguments.warmup,
            per_device_train_batch_size=size,
            learning_rate=keywords["lr"],
            weight_decay=keywords["weight_decay"],
            bf16=arguments.precision.startswith("bf16"),
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            seed=1,
        )
        clock = Clock()
        collate = padding(job.corpus.tokenizer.pad_id)
        trainer = Trainer(Model(job.module), settings, train_dataset=rows, data_collator=collate, callbacks=[clock])
        trainer.train()
    assert torch.is_grad_enabled()
    return {"rows_per_second": size * arguments.steps / clock.seconds, "flops_per_second": 0.0}


def examples(corpus) -> Iterator[Mapping[str, list[int]]]:
    """The training rows as the Trainer likes them, in their order in the corpus."""
    rows = corpus.datasets["train"]
    for row in range(len(rows)):
        batch = rows[[row]]
        yield {"input_ids": batch["tokens"][0].tolist(), "labels": int(batch["label"][0])}


def padding(pad_id: int):
    """`DataCollatorWithPadding`, as a user of the Trainer gets it, over our tokenizer."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import DataCollatorWithPadding, PreTrainedTokenizerFast

    bare = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"[PAD]": pad_id}, "[PAD]")), pad_token="[PAD]")
    return DataCollatorWithPadding(bare)


def measure_matmul(arguments: argparse.Namespace) -> dict[str, float]:
    """The rate of torch's matrix product at a shape that suits it, in the same precision."""
    import torch

    kind = torch.bfloat16 if arguments.precision.startswith("bf16") else torch.float32
    best = 0.0
    for rows, inner, columns in ((8192, 512, 512), (4096, 1024, 1024), (8192, 128, 512)):
        left, right = torch.randn(rows, inner, dtype=kind), torch.randn(inner, columns, dtype=kind)
        for turn in range(12):
            started = time.perf_counter()
            left @ right
            if turn > 3:
                best = max(best, 2 * rows * inner * columns / (time.perf_counter() - started))
    return {"flops_per_second": best}


if __name__ == "__main__":
    main()
