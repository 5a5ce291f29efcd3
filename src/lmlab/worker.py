"""What the ranks above 0 run: a run folder and its config in; no Hydra, no command line, no clock."""

import sys
import traceback
from pathlib import Path


def main(folder: str, config: str) -> int:
    from lmlab import signals
    from lmlab.errors import LmlabError, Stopped

    signals.die_with_parent()
    signals.listen()
    from lmlab.experiment import Experiment
    from lmlab.run_directory import RunDirectory
    from lmlab.terminal import speak

    speak()
    run = RunDirectory(folder)
    try:
        Experiment(run.read_config(Path(config)), run).run_stage()
    except Stopped as stopped:
        return stopped.exit_code
    except LmlabError as error:
        traceback.print_exc()
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
