"""What a task may ask of a model family. Read this file first."""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lmlab.errors import ConfigError
from lmlab.nn.pooling import mean_state
from lmlab.nn.renaming import Renaming

LAYER = re.compile(r"\b(?:layers?|h|blocks?)\.(\d+)\.")  # its number in the name of a parameter, ours or transformers'


class Network(nn.Module):
    """The mathematics of a model family: tokens in, states out. A family implements what it can."""

    context: int | None = None  # the most tokens that `decode` can read; None if any number
    first: int | None = None  # the id that its decoder begins a target with; that which ends a text if None
    rewinds: bool = False  # whether a cache can forget the last tokens, by its "length" alone
    alignments: bool = (
        False  # whether decode leaves the attention of each new token to the source in cache["alignment"]
    )
    has_prior: bool = False  # whether it writes from codes that can be drawn
    is_one_graph: bool = False  # whether all that a task asks of it is one graph of tensors, as ONNX holds
    published: Renaming | None = None  # what published weights call the family's parts
    may_begin_anew: tuple[str, ...] = ()  # the parts that weights may lack, as the beginnings of their names

    @property
    def n_parameters(self) -> int:
        """How many numbers are learned from text."""
        return sum(parameter.numel() for parameter in self.parameters())

    def encode(
        self, tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"], segments: Int[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B T D"]:
        """States that see the whole text; `mask` is True on real tokens, `segments` tells the texts of a pair apart for
        families that do not go by what stands between them."""
        raise NotImplementedError(f"{type(self).__name__} has no encoder: it cannot read a text from both sides.")

    def decode(
        self,
        tokens: Int[Tensor, "B T"],
        memory: Float[Tensor, "M S D"] | None = None,
        memory_mask: Bool[Tensor, "M S"] | None = None,
        cache: dict | None = None,
        documents: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Causal states: state t sees tokens 0..t, and `memory` if given.

        There may be fewer memories than rows: row b reads memory b // (B / M), as all beams of a source do.

        `cache` starts as an empty dict and is filled by each call; `tokens` are then only the new ones. A tensor in it
        belongs to the memories if its name begins with "memory", else to the rows, which are its first axis. A family
        with `alignments` leaves the attention of the new tokens to the source (B, T, S), a mean where there are
        several heads, under "alignment", where the cache already has that key.

        With `documents`, the number of each token's, a state sees those of its own alone.
        """
        raise NotImplementedError(f"{type(self).__name__} has no decoder: it cannot write text from left to right.")

    def logits(self, states: Float[Tensor, "B T D"]) -> Float[Tensor, "B T V"]:
        """Unnormalised log-probabilities of the next (or masked) token."""
        raise NotImplementedError(f"{type(self).__name__} has no output layer over the vocabulary.")

    def losses(self, states: Float[Tensor, "N D"], targets: Int[Tensor, "N"]) -> Float[Tensor, "N"]:
        """-log p of each target, 0 for a target of -100; a family that can tell it without scoring the whole
        vocabulary overrides this."""
        return F.cross_entropy(self.logits(states.unsqueeze(0)).squeeze(0).float(), targets, reduction="none")

    def pool(self, states: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
        """One vector a text: the mean of the states of its real tokens."""
        return mean_state(states, mask)

    def posterior(
        self, tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B Z"], Float[Tensor, "B Z"] | None]:
        """(mean, log-variance) of the code that stands for each text; None where the mean itself is the code.

        A code is the memory, of one state, that `decode` writes the text from.
        """
        raise NotImplementedError(f"{type(self).__name__} has no code that a text could be written from.")

    def prior(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n 1 Z"]:
        """Memories for `n` texts that nobody wrote, of a family with `has_prior`."""
        raise NotImplementedError(f"{type(self).__name__} has no distribution to draw codes from.")

    def neighbour_loss(self, tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> tuple[Tensor, Tensor]:
        """(the sum of what it costs to tell the words of a batch by their neighbours, the number of such pairs)."""
        raise NotImplementedError(f"{type(self).__name__} does not learn words by their neighbours.")

    def word_vectors(self) -> Float[Tensor, "V D"]:
        """A vector for each entry of the vocabulary."""
        raise NotImplementedError(f"{type(self).__name__} has no table of word vectors.")

    def vector(
        self, tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"], segments: Int[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B D"]:
        """What `pool` makes of all states; a family that pools one of them need not know the others."""
        return self.pool(self.encode(tokens, mask, segments), mask)

    def config(self) -> dict[str, Any]:
        """The config.json by which transformers builds the same network, of a family with `published` names."""
        raise NotImplementedError(f"transformers has no family like {type(self).__name__}.")

    @classmethod
    def found(cls, options: Mapping[str, Any], weights: str | None) -> dict[str, Any]:
        """What published files tell of the options that a config leaves open, by their keys below `model`.

        It becomes part of a run's config before anything is built: no later stage reads those files.
        """
        return {}

    def recompute(self) -> None:
        """Let layers compute their activations twice in a training instead of keeping them: less memory, more time."""
        stacks = [part for part in self.modules() if hasattr(part, "recomputes")]
        if not stacks:
            what = f"{type(self).__name__} has no layers that could compute their activations twice"
            raise ConfigError(what, "trainer.activation_checkpointing", "Set it to false")
        for stack in stacks:
            stack.recomputes = True  # type: ignore[assignment]

    def compile(self, **options: Any) -> None:
        """Let torch.compile, which takes the options, make graphs of what tasks call; a network has no `forward`."""
        for name in ("encode", "decode", "losses", "vector"):
            setattr(self, name, compiled(getattr(self, name), options))


def compiled(method: Callable[..., Tensor], options: dict[str, Any]) -> Callable[..., Tensor]:
    """A method of a network as graphs; not with a cache, each length of which would be another graph."""
    graphs = torch.compile(method, **options)

    @functools.wraps(method)
    def call(*arguments: Any, cache: dict | None = None, **named: Any) -> Tensor:
        if cache is not None:
            return method(*arguments, cache=cache, **named)
        return graphs(*arguments, **named)

    return call
