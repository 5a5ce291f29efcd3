"""Write a finished run's model as other programs read it."""

from pathlib import Path

from lmlab.errors import DiskError
from lmlab.experiment import Experiment


def export(
    experiment: Experiment, format: str | None = None, output: str | None = None, checkpoint: str = "best.ckpt"
) -> None:
    """Files in `output`, or in export/ of the run folder, in a format that the family has; the first it has if None."""
    experiment.load_weights(experiment.run.checkpoints / checkpoint)
    exports = experiment.module.exports
    folder = Path(output).expanduser() if output else experiment.run.path / "export"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = exports[format or next(iter(exports))](folder, experiment.corpus.tokenizer)
    except OSError as error:
        raise DiskError(f"the model cannot be written: {error.strerror}", error.filename or str(folder)) from None
    for file in files:
        print(f"written      {file} ({file.stat().st_size / 2**20:,.1f} MiB)")
