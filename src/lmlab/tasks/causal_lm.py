"""The next token, given those before it."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import SumMetric

from lmlab.nn.network import Network
from lmlab.tasks.task import Task

COUNTED = ("nats", "tokens", "bytes", "words")
NONE = -100  # a target that is not scored


class CausalLM(Task):
    """Maximum likelihood of a text from left to right: the sum over its tokens of -log p(token | those before).

    Perplexity is exp(nats / tokens), over all ranks; per word and in bits per byte it is also divided by the words and
    UTF-8 bytes of the text itself, so that tokenizers and families can be compared (EVALUATION, section 1).
    """

    def __init__(self) -> None:
        super().__init__()
        self.sums = nn.ModuleDict({stage: nn.ModuleDict() for stage in ("val", "test")})
        for sums in self.sums.values():
            for name in COUNTED:  # the bytes of a corpus do not fit the 24 bits of a float32
                sums[name] = SumMetric().set_dtype(torch.float64)  # type: ignore[operator]

    def forward(self, network: Network, batch: Mapping[str, Any]) -> Tensor:
        """Logits (B, T, V) of the token after each."""
        return network.logits(network.decode(batch["tokens"]))

    def losses(self, network: Network, batch: Mapping[str, Any]) -> Tensor:
        """-log p of each target (B * T,), 0 where none is scored."""
        states = network.decode(batch["tokens"], cache=batch.get("cache"), documents=batch.get("documents"))
        return network.losses(states.flatten(0, 1), batch["target"].flatten())

    def loss(self, network: Network, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        return self.losses(network, batch).sum(), (batch["target"] != NONE).sum()

    def score(self, network: Network, batch: Mapping[str, Any], stage: str) -> dict[str, Tensor]:
        nats, n_tokens = self.losses(network, batch).double().sum(), (batch["target"] != NONE).sum()
        counted = (nats, n_tokens, batch["bytes"].sum(), batch["words"].sum())
        for name, value in zip(COUNTED, counted, strict=True):
            self.sums[stage][name].update(value.double())  # type: ignore[index]
        return {"rows": batch["rows"]}

    def results(self, stage: str) -> dict[str, float]:
        nats, tokens, n_bytes, words = (self.sums[stage][name].compute().item() for name in COUNTED)  # type: ignore[index]
        return {
            "loss": nats / max(tokens, 1),
            "perplexity": perplexity(nats, tokens),
            "word_perplexity": perplexity(nats, words),
            "bits_per_byte": nats / math.log(2) / max(n_bytes, 1),
            "tokens": tokens,
        }

    def reset(self, stage: str) -> None:
        for metric in self.sums[stage].values():  # type: ignore[operator]
            metric.reset()


def perplexity(nats: float, n: int | float) -> float:
    """exp(nats / n): the largest number there is where it would not fit, infinite where a target was impossible."""
    return math.inf if math.isinf(nats) else math.exp(min(nats / max(n, 1), 700))
