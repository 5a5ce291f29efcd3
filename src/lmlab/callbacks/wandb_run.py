"""The W&B run of a run folder: offline unless the user says otherwise, and without what could hold a secret."""

import os
from collections.abc import Sequence
from pathlib import Path

import wandb
from lightning.pytorch.loggers import WandbLogger


def make(
    folder: str, *, project: str = "lmlab", offline: bool = True, group: str | None = None, tags: Sequence[str] = ()
) -> WandbLogger:
    """A logger that writes to `<folder>/wandb`, its run named as the folder.

    The command line, the environment and the code are not captured: an lmlab run keeps its own redacted copy.
    """
    path = Path(folder)
    # what started us may use W&B too: its service would go on holding the id of a run that was killed
    os.environ.pop("WANDB_SERVICE", None)
    settings = wandb.Settings(
        x_disable_meta=True, disable_code=True, disable_git=True, save_code=False, silent=True, console="off"
    )
    logger = WandbLogger(
        name=f"{path.parent.name}/{path.name}",
        id=path.name,
        save_dir=path,
        project=project,
        offline=offline,
        group=group,
        tags=list(tags),
        settings=settings,
    )
    logger._wandb_init.pop("anonymous", None)  # Lightning passes what wandb warns is gone
    return logger
