"""A back-off model as tensors: the probability of a token after the last n-1 ones, by binary search."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lmlab.nn.smoothing import Estimates

LN10 = math.log(10)


class NgramTable(nn.Module):
    """Katz's (1987) back-off over sorted n-grams; until it is filled, all tokens are alike.

    Ids that are not predicted (padding, masks, the beginning of a text) have probability 0, the log -inf; the others'
    sum to 1 after every context. A word outside the vocabulary is the unknown token, as the tokenizer writes it.
    """

    def __init__(self, vocab_size: int, order: int) -> None:
        super().__init__()
        self.log_probs_1: Tensor
        self.vocab_size, self.order = vocab_size, order
        for length in range(1, order + 1):
            rows = vocab_size if length == 1 else 0
            self.register_buffer(f"log_probs_{length}", torch.full((rows,), -math.log10(vocab_size)))
            if length < order:
                self.register_buffer(f"backoffs_{length}", torch.zeros(rows))
            if length > 1:
                self.register_buffer(f"keys_{length}", torch.zeros(rows, dtype=torch.int64))

    def fill(self, orders: Sequence[Estimates]) -> "NgramTable":
        """Take the n-grams of each order in the place of what the table holds."""
        if len(orders) != self.order or len(orders[0].log_probs) != self.vocab_size:
            found = f"{len(orders)} orders of {len(orders[0].log_probs)} tokens"
            raise ValueError(f"a table of {self.order} orders of {self.vocab_size} tokens cannot hold {found}")
        for length, (keys, log_probs, backoffs) in enumerate(orders, 1):
            parts = {"keys": keys, "log_probs": log_probs, "backoffs": backoffs}
            for name in self.parts(length):
                setattr(self, f"{name}_{length}", torch.from_numpy(parts[name]).to(self.log_probs_1.device))
        return self

    def parts(self, length: int) -> list[str]:
        """The names of the buffers of an order: the rows of the first are the ids, and the last is no context."""
        return ["log_probs"] + ["keys"] * (length > 1) + ["backoffs"] * (length < self.order)

    def log_prob(self, contexts: Int[Tensor, "*Q C"], tokens: Int[Tensor, "*Q"]) -> Float[Tensor, "*Q"]:
        """ln p(token | context); a context's most recent token is its last, and -1 stands where the text is shorter."""
        scores = self.log_probs_1[tokens]
        for length, (row, found) in enumerate(self.rows(contexts), 1):
            scores = scores + torch.where(found, self.part("backoffs", length)[row], 0)
            place, known = self.place(row * self.vocab_size + tokens, length + 1)
            scores = torch.where(known & found, self.part("log_probs", length + 1)[place], scores)
        return scores * LN10

    def distribution(self, contexts: Int[Tensor, "B C"]) -> Float[Tensor, "B V"]:
        """ln p of every token after each context."""
        scores = self.log_probs_1.repeat(len(contexts), 1)
        for length, (row, found) in enumerate(self.rows(contexts), 1):
            scores = scores + torch.where(found, self.part("backoffs", length)[row], 0)[:, None]
            keys, first = self.part("keys", length + 1), row * self.vocab_size
            start = torch.searchsorted(keys, first)
            many = torch.where(found, torch.searchsorted(keys, first + self.vocab_size) - start, 0)
            batch = torch.repeat_interleave(many)  # which context each follower belongs to
            within = torch.arange(len(batch), device=keys.device) - (many.cumsum(0) - many)[batch]
            place = start[batch] + within
            scores[batch, keys[place] - first[batch]] = self.part("log_probs", length + 1)[place]
        return scores * LN10

    def rows(self, contexts: Int[Tensor, "*Q C"]) -> list[tuple[Int[Tensor, "*Q"], Bool[Tensor, "*Q"]]]:
        """The row of the last 1, 2, ... tokens of each context, and whether there is one."""
        found = []
        for length in range(1, min(self.order - 1, contexts.shape[-1]) + 1):
            if not len(self.part("keys", length + 1)):
                break  # no text was as long
            row = contexts[..., -length]
            known = row >= 0
            for taken in range(2, length + 1):
                row, here = self.place(row * self.vocab_size + contexts[..., taken - length - 1], taken)
                known = known & here
            found.append((row * known, known))
        return found

    def place(self, key: Int[Tensor, "*Q"], length: int) -> tuple[Int[Tensor, "*Q"], Bool[Tensor, "*Q"]]:
        """Where the n-grams of an order have these keys, and whether any has."""
        keys = self.part("keys", length)
        row = torch.searchsorted(keys, key).clamp(max=len(keys) - 1)
        return row, keys[row] == key

    def part(self, name: str, length: int) -> Tensor:
        return getattr(self, f"{name}_{length}")

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """How many n-grams there are is known only from what is loaded."""
        for name, buffer in list(self._buffers.items()):
            saved = state_dict.get(prefix + name)
            if buffer is not None and saved is not None and not name.endswith("_1"):
                setattr(self, name, buffer.new_empty(saved.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)
