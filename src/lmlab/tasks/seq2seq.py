"""A text for a text: translation, summarisation."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import SumMetric

from lmlab.decoding import Decoding
from lmlab.evaluation.overlap import MEASURES, first_sentence
from lmlab.nn.network import Network
from lmlab.ranges import Fraction, Seed, Share
from lmlab.tasks.causal_lm import NONE, perplexity
from lmlab.tasks.task import Task


class Seq2Seq(Task):
    """Maximum likelihood of a target given its source, each token given those before it (Sutskever et al., 2014), the
    distributions that are learned smoothed by `label_smoothing` (Szegedy et al., 2016).

    An encoder-decoder reads the source both ways; a decoder alone reads source and target as one text, [SEP] between
    and after them, and is asked for the target only. A validation between training steps decodes a `decoded_share` of
    its rows, always the same ones. With `lead` the first sentence of each source is scored, too, as if it were written.
    """

    def __init__(
        self,
        decoding: Decoding,
        *,
        writes_by: Literal["encoder-decoder", "decoder"] = "encoder-decoder",
        label_smoothing: Fraction = 0.1,
        metrics: Sequence[Literal["bleu", "chrf", "ter", "rouge"]] = ("bleu", "chrf"),
        bleu_tokenizer: str = "13a",
        decoded_share: Share = 1.0,
        lead: bool = False,
        seed: Seed = 0,
    ) -> None:
        super().__init__()
        self.decoding, self.alone, self.label_smoothing = decoding, writes_by == "decoder", label_smoothing
        self.metrics, self.bleu_tokenizer = tuple(metrics), bleu_tokenizer
        self.decoded_share, self.lead, self.seed = decoded_share, lead, seed
        self.sums = nn.ModuleDict({stage: nn.ModuleDict() for stage in ("val", "test")})
        for sums in self.sums.values():
            for name in ("nats", "tokens"):
                sums[name] = SumMetric().set_dtype(torch.float64)  # type: ignore[operator]
        self.written: dict[str, dict[int, tuple[str, ...]]]  # by row: hypothesis, reference and source
        self.written = {"val": {}, "test": {}}
        self.signatures: dict[str, str] = {}

    def forward(self, network: Network, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Logits (N, V) of all target tokens of the batch one after another, and these tokens (N,)."""
        target = batch["target"]
        first = torch.full_like(target[:, :1], self.first(network))
        before = torch.cat((first, target[:, :-1].clamp(min=0)), dim=1)  # (B, U): what stands before each
        if self.alone:
            states, target = self.states_of_one_text(network, batch, before)
        else:
            memory = network.encode(batch["tokens"], batch["mask"])
            states = network.decode(before, memory, batch["mask"])
        asked = target != NONE
        return network.logits(states[asked].unsqueeze(0)).squeeze(0).float(), target[asked]

    def states_of_one_text(self, network: Network, batch: Mapping[str, Any], before: Tensor) -> tuple[Tensor, Tensor]:
        """States (B, T, D) of sources and targets without a gap between, and what each is asked for (B, T)."""
        n_read, n_asked = batch["mask"].sum(1), (batch["target"] != NONE).sum(1)
        place = torch.arange(int((n_read + n_asked).max()), device=before.device).expand(len(before), -1)  # (B, T)
        within = (place - n_read[:, None]).clamp(min=0, max=before.shape[1] - 1)
        of_source = batch["tokens"].gather(1, place.clamp(max=batch["tokens"].shape[1] - 1))
        tokens = torch.where(place < n_read[:, None], of_source, before.gather(1, within))
        outside = (place < n_read[:, None]) | (place >= (n_read + n_asked)[:, None])
        return network.decode(tokens), batch["target"].gather(1, within).masked_fill(outside, NONE)

    def loss(self, network: Network, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        logits, target = self(network, batch)
        total = F.cross_entropy(logits, target, reduction="sum", label_smoothing=self.label_smoothing)
        return total, torch.tensor(len(target), device=logits.device)

    def n_tokens(self, batch: Mapping[str, Any]) -> Tensor:
        return batch["mask"].sum() + (batch["target"] != NONE).sum()

    def score(self, network: Network, batch: Mapping[str, Any], stage: str) -> dict[str, Any]:
        logits, target = self(network, batch)
        self.sums[stage]["nats"].update(F.cross_entropy(logits, target, reduction="sum").double())  # type: ignore[index]
        self.sums[stage]["tokens"].update(float(len(target)))  # type: ignore[index]
        chosen = self.chosen(batch["rows"])
        if not chosen:
            return {"rows": batch["rows"][:0], "hypothesis": []}
        part = {name: batch[name][chosen] for name in ("rows", "tokens", "mask")}
        hypotheses = [str(answer["output"]) for answer in self.predict(network, part)]
        for place, hypothesis in zip(chosen, hypotheses, strict=True):
            texts = (hypothesis, batch["reference"][place], batch["text"][place])
            self.written[stage][int(batch["rows"][place])] = texts
        return {"rows": part["rows"], "hypothesis": hypotheses}

    def chosen(self, rows: Tensor) -> list[int]:
        """The places in a batch of the rows to be decoded: by their numbers alone, whatever batch they are in."""
        if not self.between_steps or self.decoded_share == 1:
            return list(range(len(rows)))
        spread = (rows.double() * (5**0.5 - 1) / 2) % 1  # of neighbours and of all, as even as can be
        return torch.nonzero(spread < self.decoded_share).flatten().tolist()

    def results(self, stage: str) -> dict[str, float]:
        nats, tokens = (self.sums[stage][name].compute().item() for name in ("nats", "tokens"))  # type: ignore[index]
        found = {"loss": nats / max(tokens, 1), "perplexity": perplexity(nats, tokens)}
        written = self.all_written(stage)
        hypotheses, references, sources = ([texts[side] for texts in written] for side in range(3))
        for name in self.metrics if written else ():
            measured = MEASURES[name](hypotheses, references, self.bleu_tokenizer)
            found |= measured.scores
            self.signatures[name] = measured.signature
            if self.lead:
                lead = MEASURES[name]([first_sentence(text) for text in sources], references, self.bleu_tokenizer)
                found |= {f"lead_{part}": lead.scores[part] for part in lead.scores if "reference" not in part}
        return found | {"rows": float(len(written))}

    def all_written(self, stage: str) -> list[tuple[str, ...]]:
        """Hypotheses, references and sources of all ranks in order of their rows."""
        parts: list[Any] = [self.written[stage]]
        if dist.is_available() and dist.is_initialized():
            parts = [None] * dist.get_world_size()
            dist.all_gather_object(parts, self.written[stage])
        together = {row: texts for part in parts for row, texts in part.items()}
        return [together[row] for row in sorted(together)]

    def measured_by(self) -> dict[str, str]:
        return dict(self.signatures)

    def reset(self, stage: str) -> None:
        self.written[stage] = {}
        for metric in self.sums[stage].values():  # type: ignore[operator]
            metric.reset()

    def predict(self, network: Network, batch: Mapping[str, Any]) -> list[dict[str, Any]]:
        """`output` and its score; of n texts also `output_2` and so on. A source without words is answered by none."""
        tokens, mask = batch["tokens"], batch["mask"]
        found = self.decoding.answers(
            network,
            tokens,
            mask,
            alone=self.alone,
            first=self.first(network),
            stop=self.tokenizer.sep_id,
            vocabulary=len(self.tokenizer),
            never=self.tokenizer.never,
            generator=torch.Generator(tokens.device).manual_seed(self.seed),
        )
        answers = []
        for texts, length in zip(found, mask.sum(1).tolist(), strict=True):
            answer: dict[str, Any] = {}
            for number, (ids, score) in enumerate(texts):
                of = f"_{number + 1}" if number else ""
                answer |= {f"output{of}": self.tokenizer.decode(ids) if length > self.n_frame else ""}
                answer |= {f"score{of}": round(score, 4)}
            answers.append(answer)
        return answers

    @property
    def n_frame(self) -> int:
        """The tokens of a source that has no words."""
        return len(self.tokenizer.frame.begin) + len(self.tokenizer.frame.end)

    def first(self, network: Network) -> int:
        """What stands before a target's first token."""
        return self.tokenizer.sep_id if network.first is None else network.first
