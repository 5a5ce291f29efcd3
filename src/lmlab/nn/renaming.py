"""What published weights call the parts of a network, in both directions."""

import re
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

NUMBER = re.compile(r"\.(\d+)\.")  # of a layer
OLD = {"gamma": "weight", "beta": "bias"}  # of norms, in weights that were converted from TensorFlow


class Renaming:
    """A table from our names of modules to theirs, `*` for the number of a layer.

    Several of theirs for one of ours are linear maps that we keep one below another. `transposed` are those of ours
    whose matrices they store the other way round; `prefix` is what may stand before all of theirs, and `heads` what
    their names of heads, which a body can do without, begin with.
    """

    advice = ""  # to whom gives other weights; told by their config.json where empty

    def __init__(
        self,
        table: Mapping[str, str | tuple[str, ...]],
        *,
        prefix: str,
        heads: tuple[str, ...],
        transposed: Collection[str] = (),
    ) -> None:
        self.table = {ours: (theirs,) if isinstance(theirs, str) else theirs for ours, theirs in table.items()}
        self.prefix, self.heads, self.transposed = prefix, heads, frozenset(transposed)

    def theirs(self, name: str) -> list[str]:
        """Their names of what is our parameter `name`."""
        module, _, parameter = name.rpartition(".")
        number = NUMBER.search(module)
        parts = self.table[NUMBER.sub(".*.", module, count=1)]
        return [f"{part.replace('*', number[1]) if number else part}.{parameter}" for part in parts]

    def knows(self, name: str) -> bool:
        """Whether they have what is our parameter `name`."""
        return NUMBER.sub(".*.", name.rpartition(".")[0], count=1) in self.table

    def is_transposed(self, name: str) -> bool:
        return NUMBER.sub(".*.", name.rpartition(".")[0], count=1) in self.transposed

    def to_ours(
        self, state: Mapping[str, Tensor], names: Collection[str]
    ) -> tuple[dict[str, Tensor], list[str], list[str]]:
        """(our tensors as far as theirs are there, what is left of theirs, what of the body they lack)."""
        known = {self.plain(name): name for name in state}
        used, ours, missing = set(), {}, []
        for name in names:
            parts = self.theirs(name) if self.knows(name) else []
            if parts and all(part in known for part in parts):
                tensors = [state[known[part]] for part in parts]
                whole = torch.cat(tensors) if len(tensors) > 1 else tensors[0]
                ours[name] = whole.T.contiguous() if self.is_transposed(name) and whole.ndim == 2 else whole
                used |= set(parts)
            else:
                missing.append(name)
        left = [name for part, name in known.items() if part not in used and not part.endswith("position_ids")]
        return ours, left, missing

    def to_theirs(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Their tensors, of which ours may stack several."""
        theirs = {}
        for name, tensor in state.items():
            parts = self.theirs(name)
            if self.is_transposed(name) and tensor.ndim == 2:
                tensor = tensor.T
            for part, piece in zip(parts, tensor.chunk(len(parts)), strict=True):
                theirs[part] = piece.contiguous()
        return theirs

    def model(self, state: Mapping[str, Tensor]) -> Any:
        """The model as the library that builds the family holds it; None of a family of our own."""
        return None

    def plain(self, name: str) -> str:
        """Their name without the prefix, in today's words."""
        path, _, parameter = name.removeprefix(f"{self.prefix}.").rpartition(".")
        return f"{path}.{OLD.get(parameter, parameter)}"

    def is_head(self, name: str) -> bool:
        return self.plain(name).startswith(self.heads)
