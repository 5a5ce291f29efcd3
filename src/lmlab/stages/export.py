"""Write a finished run's model as other programs read it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from lmlab.errors import DiskError
from lmlab.experiment import Experiment
from lmlab.stages import huggingface, onnx
from lmlab.tokenizer import Tokenizer


def export(
    experiment: Experiment, format: str | None = None, output: str | None = None, checkpoint: str = "best.ckpt"
) -> None:
    """Files in `output`, or in export/ of the run folder, in a format that the family has; the first it has if None."""
    experiment.load_weights(experiment.run.checkpoints / checkpoint)
    folder = Path(output).expanduser() if output else experiment.run.path / "export"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = writers(experiment)[format](folder) if format else next(iter(writers(experiment).values()))(folder)
    except OSError as error:
        raise DiskError(f"the model cannot be written: {error.strerror}", error.filename or str(folder)) from None
    for file in files:
        print(f"written      {file} ({file.stat().st_size / 2**20:,.1f} MiB)")


def writers(experiment: Experiment) -> dict[str, Callable[[Path], list[Path]]]:
    """What fills a folder, by the format's name: the family's own, and those of every family with published weights."""
    module, tokenizer = experiment.module, experiment.corpus.tokenizer

    def of_family(write: Callable[[Path, Tokenizer], list[Path]]) -> Callable[[Path], list[Path]]:
        return lambda folder: write(folder, tokenizer)

    found = {name: of_family(write) for name, write in module.exports.items()}
    if module.network.published is not None:
        found["huggingface"] = partial(huggingface.write, experiment)
    if module.network.is_one_graph:
        found["onnx"] = partial(onnx.write, experiment)
    return found
