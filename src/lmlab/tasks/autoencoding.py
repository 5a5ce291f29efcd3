"""A text, given a short code of it."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics import SumMetric

from lmlab.evaluation.active_units import ActiveUnits
from lmlab.generate import continuations, ids
from lmlab.nn.network import Network
from lmlab.nn.noise import Noise, noise_of
from lmlab.ranges import NonNegativeFloat, NonNegativeInt
from lmlab.tasks.causal_lm import NONE, perplexity
from lmlab.tasks.task import Task

COUNTED = ("reconstruction", "kl", "importance_weighted", "right", "tokens", "rows")
EVALUATION = 1  # seed of the codes that every evaluation draws


class Told(NamedTuple):
    """Texts told from codes of them."""

    nats: Float[Tensor, "B"]  # -log p(text | code)
    right: Float[Tensor, "B"]  # how many tokens would have been chosen, given those before


class Autoencoding(Task):
    """The evidence lower bound (Kingma and Welling, 2014): -log p(text) is at most the nats of a text given a code that
    is drawn for it, and those of the code itself, KL(q(code | text) || N(0, 1)). Where codes are points there is no
    second term, and no bound: it is what a reconstruction costs.

    In training the KL divergence is weighed by `kl_weight`, as far as that is `annealed`, and `free_bits` nats of each
    unit cost nothing (Kingma et al., 2016, appendix C.8; of each text, not of the mean of a batch, so that no text's
    gradient depends on its neighbours'). Scored is the bound itself; with `importance_samples` codes for each text, at
    the end also the tighter bound of Burda et al. (2016), and how many units tell texts apart.
    """

    def __init__(
        self,
        *,
        kl_weight: NonNegativeFloat = 1.0,
        free_bits: NonNegativeFloat = 0.0,
        importance_samples: NonNegativeInt = 50,
        max_new_tokens: NonNegativeInt = 200,
    ) -> None:
        super().__init__()
        self.kl_weight, self.free_bits, self.annealed = kl_weight, free_bits, 1.0
        self.importance_samples, self.max_new_tokens = importance_samples, max_new_tokens
        self.noise = Noise()
        self.variational = False  # whether what was scored had codes that are drawn
        self.sums = nn.ModuleDict({stage: nn.ModuleDict() for stage in ("val", "test")})
        self.units = nn.ModuleDict({stage: ActiveUnits() for stage in ("val", "test")})
        for sums in self.sums.values():
            for name in COUNTED:
                sums[name] = SumMetric().set_dtype(torch.float64)  # type: ignore[operator]

    def draw(self, mean: Float[Tensor, "B Z"], n: int = 1) -> Float[Tensor, "n B Z"]:
        """Standard normal numbers, a text's own."""
        drawn = normal(self.noise.uniform(mean, n * mean.shape[1]))
        return drawn.view(-1, n, mean.shape[1]).transpose(0, 1)

    def told(self, network: Network, batch: Mapping[str, Tensor], code: Float[Tensor, "B Z"]) -> Told:
        """What the decoder makes of the texts, each token given the code and those before it."""
        target = batch["target"]
        first = torch.full_like(target[:, :1], self.first(network))
        before = torch.cat((first, target[:, :-1].clamp(min=0)), dim=1)  # (B, U)
        asked = target != NONE
        states = network.decode(before, code.unsqueeze(1))[asked]  # (N, D)
        nats = network.losses(states, target[asked]).float()
        row = asked.nonzero()[:, 0]
        sums = nats.new_zeros(len(target)).index_add(0, row, nats)
        if self.training:
            return Told(sums, torch.zeros_like(sums))
        right = (network.logits(states.unsqueeze(0)).squeeze(0).argmax(-1) == target[asked]).to(nats.dtype)
        return Told(sums, torch.zeros_like(sums).index_add(0, row, right))

    def loss(self, network: Network, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        mean, log_variance = network.posterior(batch["tokens"], batch["mask"])
        n_tokens = (batch["target"] != NONE).sum()
        if log_variance is None:
            return self.told(network, batch, mean).nats.sum(), n_tokens
        code = mean + self.draw(mean)[0] * (0.5 * log_variance).exp()
        cost = divergence(mean, log_variance).clamp(min=self.free_bits).sum()
        return self.told(network, batch, code).nats.sum() + self.kl_weight * self.annealed * cost, n_tokens

    def score(self, network: Network, batch: Mapping[str, Tensor], stage: str) -> dict[str, Tensor]:
        mean, log_variance = network.posterior(batch["tokens"], batch["mask"])
        code, kl = mean, torch.zeros(len(mean), device=mean.device)
        if log_variance is not None:
            with noise_of((self,), EVALUATION, batch["rows"]):
                code = mean + self.draw(mean)[0] * (0.5 * log_variance).exp()
            kl, self.variational = divergence(mean, log_variance).sum(1), True
        told, weighted = self.told(network, batch, code), torch.zeros_like(kl)
        if log_variance is not None and self.importance_samples and not self.between_steps:
            with noise_of((self,), EVALUATION, batch["rows"]):
                weighted = self.importance_weighted(network, batch, mean, log_variance)
        self.units[stage].update(mean)
        counted = (told.nats, kl, weighted, told.right, batch["target"] != NONE, batch["rows"] >= 0)
        for name, value in zip(COUNTED, counted, strict=True):
            self.sums[stage][name].update(value.double().sum())  # type: ignore[index]
        return {"rows": batch["rows"]}

    def importance_weighted(
        self,
        network: Network,
        batch: Mapping[str, Tensor],
        mean: Float[Tensor, "B Z"],
        log_variance: Float[Tensor, "B Z"],
    ) -> Float[Tensor, "B"]:
        """-log of the mean of p(text, code) / q(code | text) over codes drawn from q (Burda et al., 2016, eq. 8)."""
        found = []
        for drawn in self.draw(mean, self.importance_samples):
            code = mean + drawn * (0.5 * log_variance).exp()
            ratio = 0.5 * (drawn.square() + log_variance - code.square()).sum(1)  # ln p(code) - ln q(code | text)
            found.append(ratio - self.told(network, batch, code).nats)
        return math.log(len(found)) - torch.stack(found).logsumexp(0)

    def results(self, stage: str) -> dict[str, float]:
        found = {name: self.sums[stage][name].compute().item() for name in COUNTED}  # type: ignore[index]
        tokens, rows = max(found["tokens"], 1), max(found["rows"], 1)
        nats = found["reconstruction"] + found["kl"]
        told = {"loss": nats / tokens, "reconstruction": found["reconstruction"] / rows}  # nats a token, a text
        told |= {"accuracy": found["right"] / tokens, "active_units": self.units[stage].compute().item()}
        if self.variational:
            told |= {"kl": found["kl"] / rows, "nll": nats / rows, "perplexity": perplexity(nats, tokens)}
            if self.importance_samples and not self.between_steps:
                nats = found["importance_weighted"]
                told |= {"importance_weighted_nll": nats / rows}
                told |= {"importance_weighted_perplexity": perplexity(nats, tokens)}
        return told | {"tokens": found["tokens"], "rows": found["rows"]}

    def reset(self, stage: str) -> None:
        self.units[stage].reset()
        for metric in self.sums[stage].values():  # type: ignore[operator]
            metric.reset()

    def n_tokens(self, batch: Mapping[str, Tensor]) -> Tensor:
        return batch["mask"].sum() + (batch["target"] != NONE).sum()

    def first(self, network: Network) -> int:
        """What stands before a text's first token."""
        return self.tokenizer.sep_id if network.first is None else network.first

    def predict(self, network: Network, batch: Mapping[str, Tensor]) -> list[dict[str, Any]]:
        """`output`: the text as it is told from its code, word after likeliest word."""
        codes = network.posterior(batch["tokens"], batch["mask"])[0].unsqueeze(1)
        return [{"output": text} for text in self.written(network, codes)]

    def written(self, network: Network, codes: Float[Tensor, "B 1 Z"], **options: Any) -> list[str]:
        """The text that each code is written out to, greedily unless the options of `generate` say otherwise."""
        options = {"temperature": 0.0, "max_new_tokens": self.max_new_tokens} | options
        begin = [[self.first(network)]] * len(codes)
        found = continuations(network, begin, memory=codes, **ids(self.tokenizer), **options)
        return [self.tokenizer.decode(text) for text in found]


def normal(uniform: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """Standard normal numbers from ones in [0, 1) that are multiples of 2^-24: each stands for the middle of its step,
    so that none is infinite."""
    return (math.sqrt(2) * torch.erfinv(2 * (uniform.double() + 2**-25) - 1)).float()


def divergence(mean: Float[Tensor, "B Z"], log_variance: Float[Tensor, "B Z"]) -> Float[Tensor, "B Z"]:
    """KL(N(mean, variance) || N(0, 1)) of each unit, in nats (Kingma and Welling, 2014, appendix B)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
