"""A masked token, given those on both sides."""

from collections.abc import Mapping
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torchmetrics import SumMetric

from lmlab.errors import ConfigError
from lmlab.nn.network import Network
from lmlab.nn.noise import Noise, noise_of
from lmlab.ranges import Fraction, Probability, Share
from lmlab.tasks.causal_lm import NONE, perplexity
from lmlab.tasks.task import Task

BLANKS = ("\u0120", "\u2581")  # what stands for a blank in byte-level pieces, in Unigram's
COUNTED = ("nats", "right", "tokens")
EVALUATION = 1  # seed of the places that every evaluation masks


class MaskedLM(Task):
    """Cross-entropy of a share of the tokens, chosen anew in each epoch (Devlin et al., 2019, section 3.1; Liu et al.,
    2019): 80% of them are masked, 10% replaced by any other, 10% left as they are.

    With `whole_words` all pieces of a word are chosen together. Perplexity is exp(nats / chosen tokens): what
    is chosen depends on the text and the epoch alone, and is the same in every evaluation.
    """

    def __init__(
        self,
        *,
        share: Share = 0.15,
        masked: Probability = 0.8,
        replaced: Fraction = 0.1,
        whole_words: bool = False,
    ) -> None:
        super().__init__()
        if masked + replaced > 1:
            raise ConfigError(f"task.masked={masked} and task.replaced={replaced} are more than 1 together")
        self.share, self.masked, self.replaced, self.whole_words = share, masked, replaced, whole_words
        self.noise = Noise()
        self.sums = nn.ModuleDict({stage: nn.ModuleDict() for stage in ("val", "test")})
        for sums in self.sums.values():
            for name in COUNTED:
                sums[name] = SumMetric().set_dtype(torch.float64)  # type: ignore[operator]

    @cached_property
    def specials(self) -> Int[Tensor, "S"]:
        """The ids that are never asked for: they are no text."""
        known = self.tokenizer
        return torch.tensor(sorted({known.pad_id, known.unk_id, known.cls_id, known.sep_id, self.mask_id}))

    @cached_property
    def pieces(self) -> Int[Tensor, "P"]:
        """The ids that a replaced token may become."""
        every = torch.arange(len(self.tokenizer))
        return every[~torch.isin(every, self.specials)]

    @cached_property
    def continues(self) -> Bool[Tensor, "V"]:
        """Whether a piece goes on with the word before it: `##ing` of WordPiece, no leading blank of the others."""
        entries = self.tokenizer.entries()
        blanks = any(entry.startswith(BLANKS) for entry in entries)
        inside = [not entry.startswith(BLANKS) if blanks else entry.startswith("##") for entry in entries]
        return torch.tensor(inside) & torch.isin(torch.arange(len(entries)), self.pieces)

    @property
    def mask_id(self) -> int:
        if self.tokenizer.mask_id is None:
            raise ConfigError("the tokenizer has no entry for a masked token", "task=masked_lm", "Use task=causal_lm")
        return self.tokenizer.mask_id

    def forward(self, network: Network, batch: Mapping[str, Tensor]) -> Float[Tensor, "B T V"]:
        """Logits of each token, given it and all others."""
        return network.logits(network.encode(batch["tokens"], batch["mask"], batch.get("segments")))

    def corrupted(self, batch: Mapping[str, Tensor]) -> tuple[Int[Tensor, "B T"], Bool[Tensor, "B T"]]:
        """(the tokens that the network reads, which of them it is asked for)."""
        tokens = batch["tokens"]
        drawn, fate, which = self.noise.uniform(tokens, 3 * tokens.shape[1]).chunk(3, dim=1)  # (B, T) each
        if self.whole_words:
            drawn = drawn.gather(1, self.word_begins(tokens))
        text = batch["mask"] & ~torch.isin(tokens, self.specials.to(tokens.device))
        asked = text & (drawn < self.share)
        any_other = self.pieces.to(tokens.device)[(which * len(self.pieces)).long()]
        read = torch.where(fate < self.masked + self.replaced, any_other, tokens)
        read = torch.where(fate < self.masked, self.mask_id, read)
        return torch.where(asked, read, tokens), asked

    def word_begins(self, tokens: Int[Tensor, "B T"]) -> Int[Tensor, "B T"]:
        """Where the word of each token begins."""
        places = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        return places.masked_fill(self.continues.to(tokens.device)[tokens], 0).cummax(1).values

    def asked(self, network: Network, batch: Mapping[str, Tensor]) -> tuple[Float[Tensor, "N D"], Int[Tensor, "N"]]:
        """The states of the tokens that are asked for, and these tokens."""
        read, asked = self.corrupted(batch)
        states = network.encode(read, batch["mask"], batch.get("segments"))
        return states[asked], batch["tokens"][asked]

    def losses(self, network: Network, batch: Mapping[str, Tensor]) -> Float[Tensor, "N"]:
        """-log p of each target (B * T,) of tokens that are masked already, 0 where none is asked for."""
        target = batch["target"]
        asked = target != NONE
        states = network.encode(batch["tokens"], batch["mask"], batch.get("segments"))[asked]
        found = network.losses(states, target[asked])
        return found.new_zeros(target.shape).masked_scatter(asked, found).flatten()

    def loss(self, network: Network, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        states, targets = self.asked(network, batch)
        return network.losses(states, targets).sum(), torch.tensor(len(targets), device=targets.device)

    def score(self, network: Network, batch: Mapping[str, Tensor], stage: str) -> dict[str, Tensor]:
        with noise_of((self,), EVALUATION, batch["rows"]):
            states, targets = self.asked(network, batch)
        nats = network.losses(states, targets).detach().double().sum()
        right = (network.logits(states.unsqueeze(0)).squeeze(0).argmax(-1) == targets).sum()
        for name, value in zip(COUNTED, (nats.item(), right.item(), len(targets)), strict=True):
            self.sums[stage][name].update(value)  # type: ignore[index]
        return {"rows": batch["rows"]}

    def results(self, stage: str) -> dict[str, float]:
        nats, right, tokens = (self.sums[stage][name].compute().item() for name in COUNTED)  # type: ignore[index]
        return {
            "loss": nats / max(tokens, 1),
            "perplexity": perplexity(nats, tokens),
            "accuracy": right / max(tokens, 1),
            "tokens": tokens,
        }

    def reset(self, stage: str) -> None:
        for metric in self.sums[stage].values():  # type: ignore[operator]
            metric.reset()
