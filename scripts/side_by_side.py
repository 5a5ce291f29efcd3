"""The same work done in several ways: each in a fresh process of this tree, one at a time, in turns, so that noise of
the machine hits all."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))


def parser(about: str | None, *, steps: int, warmup: int) -> argparse.ArgumentParser:
    """What all such benchmarks are asked; --side and --precision are for the processes that measure."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=int, default=3, help="how often each side is measured")
    made.add_argument("--steps", type=int, default=steps, help="optimizer steps of a measurement, after --warmup")
    made.add_argument("--warmup", type=int, default=warmup)
    made.add_argument(
        "--precisions", nargs="+", default=None, help="32-true, bf16-mixed; all this machine has if not given"
    )
    made.add_argument("--side", help=argparse.SUPPRESS)
    made.add_argument("--precision", help=argparse.SUPPRESS)
    made.add_argument("overrides", nargs="*", help="of the experiment, as for src/run.py")
    return made


def precisions(arguments: argparse.Namespace) -> list[str]:
    from lmlab.machine import has_bf16

    return arguments.precisions or (["32-true", "bf16-mixed"] if has_bf16("cpu") else ["32-true"])


def in_turns(
    sides: Sequence[str], precision: str, arguments: argparse.Namespace, told: str
) -> tuple[dict[str, list[dict[str, float]]], float]:
    """What each side has measured in each round, telling the number called `told`; and the matrix-multiply rate."""
    found: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    rates = []
    for turn in range(arguments.rounds):
        rates.append(measured("matmul", precision)["flops_per_second"])
        for side in sides if turn % 2 == 0 else reversed(sides):
            found[side].append(measured(side, precision))
            print(f"{precision} round {turn + 1} {side}: {found[side][-1][told]:,.4g} {told}", flush=True)
    return found, median(rates)


def measured(side: str, precision: str) -> dict[str, float]:
    script = ROOT / "scripts" / Path(sys.argv[0]).name
    command = [sys.executable, str(script), *sys.argv[1:], "--side", side, "--precision", precision]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def spread(numbers: Sequence[float], form: str = ".2f") -> str:
    """The median, and the lowest to the highest."""
    return f"{median(numbers):{form}} ({min(numbers):{form}}-{max(numbers):{form}})"


def ratios(found: Mapping[str, list[dict[str, float]]], name: str) -> list[float]:
    """Of the first side to the second, round by round."""
    first, second = found.values()
    return [one[name] / other[name] for one, other in zip(first, second, strict=True)]


@contextmanager
def job(arguments: argparse.Namespace, settings: Sequence[str], *, bare: bool = False) -> Iterator[Any]:
    """The job that `src/run.py` would run with these settings, and with what was typed in place of them; bare: without
    callbacks."""
    from hydra import compose, initialize_config_dir

    from lmlab.job import prepared
    from lmlab.run_directory import RunDirectory

    steps = arguments.steps + arguments.warmup
    common = ["trainer=cpu", f"trainer.max_steps={steps}", f"trainer.precision={arguments.precision}"]
    common += ["trainer.limit_val_batches=0"]
    typed = [override.partition("=")[0] for override in arguments.overrides]
    kept = [setting for setting in (*common, *settings) if setting.partition("=")[0] not in typed]
    with tempfile.TemporaryDirectory() as folder, initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", [*kept, f"run.folder={folder}", *arguments.overrides])
        if bare:
            config.callbacks = {}
        run = RunDirectory(folder)
        yield prepared(config, run, run.config)


def fitted(
    job: Any, warmup: int, counted: Callable[[Any], int] = lambda batch: len(batch["rows"])
) -> tuple[int, float]:
    """Rows, or what else is to be counted of each batch, and seconds of a training, from the end of its warm-up on."""
    import lightning.pytorch as pl

    from lmlab.terminal import speak

    class Clock(pl.Callback):
        done, started, seconds = 0, 0.0, 0.0

        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
            if trainer.global_step == warmup:
                self.started = time.perf_counter()
            elif trainer.global_step > warmup:
                self.done += counted(batch)
                self.seconds = time.perf_counter() - self.started

    speak()
    clock = Clock()
    job.trainer.callbacks.append(clock)
    job.trainer.fit(job.module, datamodule=job.corpus)
    return clock.done, clock.seconds


def fitted_by_transformers(
    arguments: argparse.Namespace, job: Any, model: Any, rows: list, kind: str = "", **settings: Any
) -> float:
    """Seconds of a training by `transformers.Trainer`, or its `kind` "Seq2Seq", from the end of its warm-up on, all
    else as it is by default."""
    import transformers
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        started, seconds = 0.0, 0.0

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == arguments.warmup:
                self.started = time.perf_counter()
            self.seconds = time.perf_counter() - self.started

    collator = settings.pop("data_collator", None)
    with tempfile.TemporaryDirectory() as folder:
        asked = getattr(transformers, f"{kind}TrainingArguments")(
            output_dir=folder,
            max_steps=arguments.steps + arguments.warmup,
            learning_rate=job.config["optimizer"]["lr"],
            weight_decay=job.config["optimizer"]["weight_decay"],
            bf16=arguments.precision.startswith("bf16"),
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            seed=1,
            **settings,
        )
        clock = Clock()
        trainer = getattr(transformers, f"{kind}Trainer")
        trainer(model, asked, train_dataset=rows, data_collator=collator, callbacks=[clock]).train()
    return clock.seconds


def operations(job: Any) -> tuple[int, dict[str, Any]]:
    """Of a forward and backward pass over a training batch; and the batch."""
    from lmlab import flops

    batch = next(iter(job.corpus.train_dataloader()))
    with flops.Counter() as counter:
        job.module.task.loss(job.module.network, batch)[0].backward()
    return counter.get_total_flops(), batch


def measure_matmul(arguments: argparse.Namespace) -> dict[str, float]:
    import torch

    from lmlab.flops import matmul_rate

    return {"flops_per_second": matmul_rate(torch.device("cpu"), arguments.precision, seconds=2.0)}


def run(
    arguments: argparse.Namespace,
    sides: Mapping[str, Callable[[argparse.Namespace], dict[str, float]]],
    compare: Callable[[argparse.Namespace], None],
) -> None:
    """Measure the one side asked for in this process, or compare all."""
    if arguments.side:
        print(json.dumps({**sides, "matmul": measure_matmul}[arguments.side](arguments)))
    else:
        compare(arguments)
