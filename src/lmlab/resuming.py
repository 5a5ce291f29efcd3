"""Going on with a run: which checkpoint, and what of its folder is from after that."""

import logging
from pathlib import Path

from lmlab import checkpointing
from lmlab.callbacks.metrics_csv import rewind
from lmlab.run_directory import RunDirectory

log = logging.getLogger(__name__)


def checkpoint_to_resume(run: RunDirectory) -> Path | None:
    """The last good checkpoint, the folder brought back to its time; None if the run has none yet.

    Checkpoints that cannot be used are named, and set aside so that their names can be written again.
    """
    checkpointing.sweep(run.checkpoints)
    found = None
    for path in checkpointing.newest_first(run.checkpoints):
        if (fault := checkpointing.fault_of(path)) is None:
            found = path
            break
        log.warning("%s (%s): the one before it is tried", fault, path)
        checkpointing.set_aside(path)
    facts = (found and checkpointing.manifest(found)) or {"step": 0, "validation_due": False}
    rewind(run.metrics_csv, facts["step"], facts["validation_due"])
    if found is not None:
        checkpointing.WholeCheckpoints().point(run.checkpoints / "last.ckpt", found)
        log.info("going on from step %d (%s)", facts["step"], found)
    else:
        log.warning("the run has no checkpoint: it begins again (%s)", run.path)
    return found
