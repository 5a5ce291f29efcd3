"""Text written from left to right: a network's next token, drawn or taken greedily, for a batch of prompts."""

from collections.abc import Collection, Iterator, Sequence
from itertools import chain

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lmlab.nn.network import Network
from lmlab.ranges import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Probability
from lmlab.tokenizer import Tokenizer

NEVER = (Tokenizer.pad_id, Tokenizer.unk_id, Tokenizer.cls_id, Tokenizer.mask_id)  # frames and gaps, not text


@torch.inference_mode()
def generate(
    network: Network,
    prompts: Sequence[Sequence[int]],
    *,
    vocabulary: PositiveInt,
    max_new_tokens: NonNegativeInt,
    temperature: NonNegativeFloat = 1.0,
    top_k: PositiveInt | None = None,
    top_p: Probability | None = None,
    min_p: Probability | None = None,
    repetition_penalty: PositiveFloat = 1.0,
    n: PositiveInt = 1,
    stop: Collection[int] = (Tokenizer.sep_id,),
    generator: torch.Generator | None = None,
) -> Iterator[list[int | None]]:
    """Step by step, the token that each sequence goes on with: prompt 0 `n` times, then prompt 1, and so on.

    A step has None for a sequence that wrote nothing: it has ended (a token of `stop`, which is not told, or
    `max_new_tokens`), or its prompt is longer than others and is still being read. No padding is involved: what all
    prompts have is read at once, the rest token by token, so each sequence sees what it would see alone.

    `vocabulary` is how many ids were learned (`len(tokenizer)`): none above is written. Temperature 0 takes the
    likeliest token. When a text outgrows `network.context`, its last half of that is read again from scratch, and so
    on. The network must be in eval mode, and `generator` on its device.
    """
    texts = [list(prompt) for prompt in prompts for _ in range(n)]
    if not all(texts):
        raise ValueError("a prompt needs a token: [SEP] begins a text")
    device = device_of(network)
    lengths = [len(text) for text in texts]
    ended = [max_new_tokens == 0] * len(texts)
    known, read, begin = min(lengths, default=0), 0, -1  # columns: all rows have, are read, are where reading began
    seen: Tensor | None = None
    cache: dict = {}
    while not all(ended):
        if begin != (begin := window_start(known, network.context)):
            cache, read = {}, begin
        fresh = torch.tensor([text[read:known] for text in texts], device=device)  # (B, new)
        logits = network.logits(network.decode(fresh, cache=cache)[:, -1:])[:, 0].float()  # (B, V)
        read, known = known, known + 1
        if repetition_penalty != 1.0:
            seen = with_tokens(logits, seen, texts, read)
            seen[:, list(stop)] = False
            logits = penalized(logits, seen, repetition_penalty)
        logits = allowed(logits, vocabulary)
        chosen = choose(logits, temperature, top_k, top_p, min_p, generator).tolist()
        step: list[int | None] = [None] * len(texts)
        for row, text in enumerate(texts):
            if len(text) >= known:  # its prompt goes on
                continue
            text.append(chosen[row])
            if not ended[row] and chosen[row] not in stop:
                step[row] = chosen[row]
            ended[row] = ended[row] or chosen[row] in stop or len(text) - lengths[row] >= max_new_tokens
        yield step


def continuations(network: Network, prompts: Sequence[Sequence[int]], **options) -> list[list[int]]:
    """All that `generate` writes after each prompt (`n` in a row for each), at once."""
    written: list[list[int]] = [[] for _ in range(len(prompts) * options.get("n", 1))]
    for step in generate(network, prompts, **options):
        for row, token in zip(written, step, strict=True):
            if token is not None:
                row.append(token)
    return written


def window_start(length: int, context: int | None) -> int:
    """Where reading begins for a text of `length` tokens: a new beginning, half a context back, whenever it is full."""
    if context is None or length <= context:
        return 0
    step = context + 1 - max(1, context // 2)
    return step * (1 + (length - context - 1) // step)


def device_of(network: Network) -> torch.device:
    return next((tensor.device for tensor in chain(network.parameters(), network.buffers())), torch.device("cpu"))


# what is made of the logits, in this order


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


def allowed(logits: Float[Tensor, "B V"], vocabulary: PositiveInt) -> Float[Tensor, "B V"]:
    """Without the special ids that are no text, and the rows of the table that no token was learned for."""
    logits = logits.clone()
    logits[:, list(NEVER)] = -torch.inf
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
