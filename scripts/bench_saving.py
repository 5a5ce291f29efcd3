"""What saving costs: the time of a checkpoint of the default job beside the time between two of them.

    python scripts/bench_saving.py

A save is all that `Checkpoints` does at one: loggers flushed, weights and moments written, synced, hashed, a manifest,
the pointers, the oldest removed. Between validations one is made every `callbacks.checkpoint.every_minutes`.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--saves", type=int, default=5)
    parser.add_argument("overrides", nargs="*", help="as for src/run.py")
    arguments = parser.parse_args()

    import lightning.pytorch as pl
    from hydra import compose, initialize_config_dir

    from lmlab.job import prepared
    from lmlab.run_directory import RunDirectory
    from lmlab.terminal import print_table, speak

    class Clock(pl.Callback):
        """Times steps, and a save after each of the first ones."""

        def __init__(self) -> None:
            self.steps: list[float] = []
            self.saves: list[float] = []

        def on_train_batch_start(self, trainer, module, batch, index) -> None:
            self.since = time.perf_counter()

        def on_train_batch_end(self, trainer, module, outputs, batch, index) -> None:
            self.steps.append(time.perf_counter() - self.since)
            if index and len(self.saves) < arguments.saves:
                started = time.perf_counter()
                trainer.checkpoint_callback.save(trainer)
                self.saves.append(time.perf_counter() - started)

    speak()
    with tempfile.TemporaryDirectory(dir=ROOT / "outputs") as folder:
        run = RunDirectory(folder)
        fixed = [f"run.folder={folder}", f"trainer.max_steps={2 * arguments.saves + 2}", "logger=csv"]
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            config = compose("config", [*fixed, "trainer.limit_val_batches=0", *arguments.overrides])
        job, clock = prepared(config, run, run.config), Clock()
        job.trainer.callbacks.insert(0, clock)
        job.trainer.fit(job.module, datamodule=job.corpus)
        size = max(path.stat().st_size for path in run.checkpoints.glob("step-*.ckpt"))
    save, minutes = median(clock.saves), config.callbacks.checkpoint.every_minutes
    shown = {
        "checkpoint": f"{size / 2**20:,.0f} MiB",
        "a save": f"{save:.2f} s ({min(clock.saves):.2f}-{max(clock.saves):.2f})",
        "a step": f"{median(clock.steps):.2f} s",
        "saves": f"every {minutes} minutes, and at each validation",
        "share of the time": f"{save / (60 * minutes):.2%}",
    }
    print_table("Saving", shown)


if __name__ == "__main__":
    main()
