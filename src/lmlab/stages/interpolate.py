"""The texts between two texts: what a decoder makes of the codes on the line from the one's code to the other's."""

import torch
from jaxtyping import Float
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from lmlab.errors import InputMissing
from lmlab.experiment import Experiment
from lmlab.ranges import NonNegativeFloat, PositiveInt, Seed
from lmlab.stages.predict import ready
from lmlab.tasks.autoencoding import Autoencoding


def interpolate(
    experiment: Experiment,
    start: str | None = None,
    end: str | None = None,
    n: PositiveInt = 8,
    temperature: NonNegativeFloat = 0.0,
    seed: Seed = 0,
    checkpoint: str = "best.ckpt",
) -> None:
    """Print `n` texts, the first from the code of `start`, the last from that of `end` (Bowman et al., 2016, 5.4)."""
    for name, text in (("start", start), ("end", end)):
        if not text or not text.strip():
            fix = 'Add stage.start="a dull film" stage.end="a great film"'
            raise InputMissing("a text to go from and one to go to are needed", f"stage.{name}", fix)
    ready(experiment, checkpoint)
    module, corpus = experiment.module, experiment.corpus
    task = module.task
    assert isinstance(task, Autoencoding)
    batch = move_data_to_device(dict(corpus.batch([str(start), str(end)])), module.device)
    generator = torch.Generator(module.device).manual_seed(seed)
    with torch.inference_mode():
        ends = module.network.posterior(batch["tokens"], batch["mask"])[0]
        texts = task.written(module.network, line(ends, n).unsqueeze(1), temperature=temperature, generator=generator)
    for number, text in enumerate(texts):
        print(f"{number / max(1, n - 1):.2f}  {text}")


def line(ends: Float[Tensor, "2 Z"], n: int) -> Float[Tensor, "n Z"]:
    """`n` codes at even distances from the first to the second."""
    share = torch.linspace(0, 1, n, device=ends.device).unsqueeze(1)
    return torch.lerp(ends[:1], ends[1:], share)
