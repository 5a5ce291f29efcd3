"""What the ranks above 0 run: a run folder and its config in; no Hydra, no command line, no clock."""

import sys
from pathlib import Path


def main(folder: str, config: str) -> None:
    from lmlab.distributed import die_with_parent

    die_with_parent()
    from lmlab.experiment import Experiment
    from lmlab.run_directory import RunDirectory
    from lmlab.terminal import speak

    speak()
    run = RunDirectory(folder)
    Experiment(run.read_config(Path(config)), run).run_stage()


if __name__ == "__main__":
    main(*sys.argv[1:])
