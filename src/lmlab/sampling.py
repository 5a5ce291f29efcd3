"""What is made of the logits before a token is drawn, in this order, and how it is drawn."""

from collections.abc import Collection

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lmlab.ranges import NonNegativeFloat, PositiveFloat, PositiveInt, Probability
from lmlab.tokenizer import SPECIALS, Tokenizer

NEVER = tuple(id for id in range(len(SPECIALS)) if id != Tokenizer.sep_id)  # `Tokenizer.never` of our own kinds


def with_tokens(
    logits: Float[Tensor, "B V"], seen: Bool[Tensor, "B V"] | None, texts: list[list[int]], known: int
) -> Bool[Tensor, "B V"]:
    """Which tokens each text holds in its first `known` columns, `seen` being so of all but the last one."""
    start = known - 1
    if seen is None:
        seen, start = torch.zeros_like(logits, dtype=torch.bool), 0
    columns = torch.tensor([text[start:known] for text in texts], device=logits.device)
    return seen.scatter(1, columns, True)


def penalized(logits: Float[Tensor, "B V"], seen: Bool[Tensor, "B V"], penalty: PositiveFloat) -> Float[Tensor, "B V"]:
    """Tokens that were seen are made less likely (Keskar et al., 2019, section 4.1)."""
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def allowed(
    logits: Float[Tensor, "B V"], vocabulary: PositiveInt, never: Collection[int] = NEVER
) -> Float[Tensor, "B V"]:
    """Without the special ids that are no text, and the rows of the table that no token was learned for."""
    logits = logits.clone()
    logits[:, list(never)] = -torch.inf
    logits[:, vocabulary:] = -torch.inf
    return logits


def choose(
    logits: Float[Tensor, "B V"],
    temperature: NonNegativeFloat,
    top_k: PositiveInt | None,
    top_p: Probability | None,
    min_p: Probability | None,
    generator: torch.Generator | None,
) -> Int[Tensor, "B"]:
    """The next token of each row: the likeliest at temperature 0, else one drawn from those that the filters leave."""
    if temperature == 0:
        return logits.argmax(-1)
    logits = logits / temperature
    if top_k is not None:
        logits = keep_top_k(logits, top_k)
    if top_p is not None:
        logits = keep_top_p(logits, top_p)
    if min_p is not None:
        logits = keep_min_p(logits, min_p)
    return torch.multinomial(logits.softmax(-1), 1, generator=generator).squeeze(1)


def keep_top_k(logits: Float[Tensor, "B V"], k: PositiveInt) -> Float[Tensor, "B V"]:
    """The k likeliest tokens (Fan et al., 2018, section 5.4), and those that tie with the last of them."""
    last = logits.topk(min(k, logits.shape[1])).values[:, -1:]
    return logits.masked_fill(logits < last, -torch.inf)


def keep_top_p(logits: Float[Tensor, "B V"], p: Probability) -> Float[Tensor, "B V"]:
    """The nucleus: the fewest tokens whose probabilities sum to p or more (Holtzman et al., 2020, section 3.1)."""
    ordered, ids = logits.sort(descending=True, stable=True)
    chances = ordered.softmax(-1)
    outside = chances.cumsum(-1) - chances >= p  # those before it suffice
    outside[:, 0] = False
    return logits.masked_fill(torch.zeros_like(outside).scatter(1, ids, outside), -torch.inf)


def keep_min_p(logits: Float[Tensor, "B V"], p: Probability) -> Float[Tensor, "B V"]:
    """The tokens at least p times as likely as the likeliest (Nguyen et al., 2024, section 3)."""
    chances = logits.softmax(-1)
    return logits.masked_fill(chances < p * chances.amax(-1, keepdim=True), -torch.inf)
