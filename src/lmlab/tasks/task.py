"""What every task is: a head, a loss and metrics for one kind of supervision."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lmlab.nn.network import Network
from lmlab.tokenizer import Tokenizer


class Task(nn.Module):
    """One kind of supervision: how a network's states answer it, what a wrong answer costs, how it is scored."""

    tokenizer: Tokenizer  # the corpus's, which is ready once that is
    share = 1.0  # of a corpus's targets that a pass over it asks for
    between_steps = False  # whether what is scored is a validation between the steps of a training

    def loss(self, network: Network, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(sum of the loss over the batch's targets, number of targets): sums add up over ranks and micro-batches."""
        raise NotImplementedError

    def n_tokens(self, batch: Mapping[str, Tensor]) -> Tensor:
        """How many tokens of a batch are read, padding left out, by which speed is told."""
        return batch["mask"].sum()

    def score(self, network: Network, batch: Mapping[str, Tensor], stage: str) -> dict[str, Tensor]:
        """Add the batch to the metrics of `stage` (val or test); what is known of each row, by name."""
        raise NotImplementedError

    def results(self, stage: str) -> dict[str, float]:
        """The metrics of `stage` over all ranks, by name."""
        raise NotImplementedError

    def tables(self, stage: str) -> dict[str, Any]:
        """What a single number cannot tell (a confusion matrix), as plain lists by name."""
        return {}

    def measured_by(self) -> dict[str, str]:
        """By what tool exactly, with which options, a metric of `results` was measured, by its name."""
        return {}

    def reset(self, stage: str) -> None:
        """Forget what `stage` has counted."""
        raise NotImplementedError

    def predict(self, network: Network, batch: Mapping[str, Tensor]) -> list[dict[str, Any]]:
        """An answer for each row, in the user's words."""
        raise NotImplementedError
