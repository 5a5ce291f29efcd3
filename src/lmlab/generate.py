"""Text written from left to right: a network's next token, drawn or taken greedily, for a batch of prompts."""

from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from lmlab.lookup import Lookup, rewind
from lmlab.nn.network import Network
from lmlab.ranges import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Probability
from lmlab.sampling import NEVER, allowed, choose, penalized, with_tokens
from lmlab.tokenizer import Tokenizer


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
    never: Collection[int] = NEVER,
    lookup: NonNegativeInt = 16,
    generator: torch.Generator | None = None,
    memory: Tensor | None = None,
) -> Iterator[list[int | None]]:
    """Step by step, the token that each sequence goes on with: prompt 0 `n` times, then prompt 1, and so on.

    A step has None for a sequence that wrote nothing: it has ended (a token of `stop`, which is not told, or
    `max_new_tokens`), or its prompt is longer than others and is still being read. No padding is involved: what all
    prompts have is read at once, the rest token by token, so each sequence sees what it would see alone.

    `vocabulary` is how many ids were learned (`len(tokenizer)`): none above is written, nor any of `never`.
    `memory` is what a family that writes from codes or of a source reads beside, for each text or for several in turn.
    Temperature 0 takes the likeliest token; a single text is then written by `ahead`, with up to `lookup` guesses a
    pass. When a text outgrows `network.context`, its last half of that is read again from scratch, and so on. The
    network must be in eval mode, and `generator` on its device.
    """
    texts = [list(prompt) for prompt in prompts for _ in range(n)]
    if not all(texts):
        raise ValueError("a prompt needs a token: [SEP] begins a text")
    if len(texts) == 1 and temperature == 0 and repetition_penalty == 1.0 and lookup and network.rewinds:
        one = ahead(
            network,
            texts[0],
            vocabulary=vocabulary,
            max_new_tokens=max_new_tokens,
            stop=stop,
            never=never,
            lookup=lookup,
            memory=memory,
        )
        yield from ([token] for token in one)
        return
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
        logits = network.logits(network.decode(fresh, memory, cache=cache)[:, -1:])[:, 0].float()  # (B, V)
        read, known = known, known + 1
        if repetition_penalty != 1.0:
            seen = with_tokens(logits, seen, texts, read)
            seen[:, list(stop)] = False
            logits = penalized(logits, seen, repetition_penalty)
        logits = allowed(logits, vocabulary, never)
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


def ahead(
    network: Network,
    prompt: Sequence[int],
    *,
    vocabulary: PositiveInt,
    max_new_tokens: NonNegativeInt,
    stop: Collection[int],
    never: Collection[int],
    lookup: PositiveInt,
    memory: Tensor | None = None,
) -> Iterator[int | None]:
    """The likeliest tokens after one prompt, as `generate` tells them, several a pass.

    One pass checks all guesses of `Lookup` (Leviathan et al., 2023, at temperature 0): it waits for the weights about
    as long as a pass over one token, so a guess that comes true is nearly free, and the more of them come true, the
    more are made. The text is that of token by token, but where two tokens are as likely to the last digits.
    """
    device = device_of(network)
    text, end = Lookup(prompt), len(prompt) + max_new_tokens
    read, begin, most = 0, -1, lookup
    cache: dict = {}
    while (known := len(text.tokens)) < end:
        if begin != (begin := window_start(known, network.context)):
            cache, read = {}, begin
        room = end - 1 if network.context is None else min(end - 1, begin + network.context)
        guesses = text.guess(min(most, room - known))
        fresh = torch.tensor([text.tokens[read:] + guesses], device=device)
        states = network.decode(fresh, memory, cache=cache)[:, -len(guesses) - 1 :]
        best = allowed(network.logits(states)[0].float(), vocabulary, never).argmax(-1).tolist()
        true = next((i for i, guess in enumerate(guesses) if guess != best[i]), len(guesses))
        most = min(lookup, 2 * most) if true == len(guesses) else max(1, true)
        for token in best[: true + 1]:
            if token in stop:
                yield None
                return
            text.append(token)
            yield token
        read = known + true
        rewind(cache, read - begin)


def continuations(network: Network, prompts: Sequence[Sequence[int]], **options) -> list[list[int]]:
    """All that `generate` writes after each prompt (`n` in a row for each), at once."""
    written: list[list[int]] = [[] for _ in range(len(prompts) * options.get("n", 1))]
    for step in generate(network, prompts, **options):
        for row, token in zip(written, step, strict=True):
            if token is not None:
                row.append(token)
    return written


def ids(tokenizer: Tokenizer) -> dict[str, Any]:
    """What `generate` has to know of a vocabulary."""
    return {"vocabulary": len(tokenizer), "stop": (tokenizer.sep_id,), "never": tokenizer.never}


def window_start(length: int, context: int | None) -> int:
    """Where reading begins for a text of `length` tokens: a new beginning, half a context back, whenever it is full."""
    if context is None or length <= context:
        return 0
    step = context + 1 - max(1, context // 2)
    return step * (1 + (length - context - 1) // step)


def device_of(network: Network) -> torch.device:
    return next((tensor.device for tensor in chain(network.parameters(), network.buffers())), torch.device("cpu"))
