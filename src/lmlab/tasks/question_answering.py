"""Where in a context the answer to a question stands."""

import math
from collections.abc import Mapping
from statistics import fmean
from typing import Any, Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torchmetrics import SumMetric

from lmlab.evaluation import squad
from lmlab.nn.network import Network
from lmlab.ranges import Fraction, PositiveInt
from lmlab.tasks.answers import Answer, Answers
from lmlab.tasks.linear_head import linear_head
from lmlab.tasks.task import Task


class QuestionAnswering(Task):
    """Two linear maps of each state, one for the answer's first token and one for its last, trained by the mean of
    their cross-entropies over a window of the context (Devlin et al., 2019, section 4.2).

    The text's first token stands for no answer in this window. A question's answer is the likeliest span of at most
    `max_answer` tokens in any of its windows; with `no_answer` it is none unless the span's score exceeds that of no
    answer, which is the least of all windows, by more than `threshold`.
    """

    def __init__(
        self,
        d_model: PositiveInt,
        *,
        head: Literal["linear", "plain", "none"] = "linear",
        dropout: Fraction = 0.1,
        no_answer: bool = False,
        threshold: float | int = 0.0,
        max_answer: PositiveInt = 30,
        language: Literal["en", "zh"] = "en",
    ) -> None:
        super().__init__()
        self.no_answer, self.threshold = no_answer, float(threshold)
        self.max_answer, self.language = max_answer, language
        self.head = linear_head(d_model, 2, dropout, normed=head == "linear")
        self.sums = nn.ModuleDict({stage: nn.ModuleDict() for stage in ("val", "test")})
        for sums in self.sums.values():
            for name in ("nats", "windows"):
                sums[name] = SumMetric().set_dtype(torch.float64)  # type: ignore[operator]
        self.found: dict[str, dict[int, Answers]] = {"val": {}, "test": {}}  # by question, of this rank

    def forward(self, network: Network, batch: Mapping[str, Any]) -> Float[Tensor, "B T 2"]:
        """Logits of each token as the first of the answer, and as the last."""
        return self.head(network.encode(batch["tokens"], batch["mask"], batch.get("segments")))

    def log_probabilities(
        self, network: Network, batch: Mapping[str, Any]
    ) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
        """Of each token of the context, and of the text's first, that it is the first or the last of the answer."""
        possible = batch["passage"].clone()
        possible[:, 0] = True
        logits = self(network, batch).float().masked_fill(~possible.unsqueeze(-1), -math.inf)
        first, last = logits.log_softmax(1).unbind(-1)
        return first, last

    def losses(
        self, first: Float[Tensor, "B T"], last: Float[Tensor, "B T"], batch: Mapping[str, Any]
    ) -> Float[Tensor, "B"]:
        """-log p of each window's answer, the mean of its two ends."""
        ends = (first.gather(1, batch["start"][:, None]), last.gather(1, batch["end"][:, None]))
        return -torch.cat(ends, dim=1).mean(1)

    def loss(self, network: Network, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        found = self.losses(*self.log_probabilities(network, batch), batch)
        return found.sum(), torch.tensor(len(found), device=found.device)

    def spans(
        self, first: Float[Tensor, "B T"], last: Float[Tensor, "B T"], passage: Bool[Tensor, "B T"], n: int
    ) -> tuple[Float[Tensor, "B N"], Int[Tensor, "B N"], Int[Tensor, "B N"]]:
        """The n likeliest spans of each window: log p, first token and last token."""
        length = first.shape[1]
        most = min(self.max_answer, length)
        first, last = (part.masked_fill(~passage, -math.inf) for part in (first, last))
        later = F.pad(last, (0, most - 1), value=-math.inf).unfold(1, length, 1)  # (B, most, T): that of t + d
        scores, place = (first.unsqueeze(1) + later).flatten(1).topk(min(n, most * length))
        begin = place % length
        return scores, begin, begin + place // length

    def read(
        self, network: Network, batch: Mapping[str, Any], n: int = 1, scored: tuple[Tensor, Tensor] | None = None
    ) -> dict[int, Answers]:
        """The n best answers of each question in the windows of a batch, by the question's number."""
        first, last = scored or self.log_probabilities(network, batch)
        scores, begin, end = self.spans(first, last, batch["passage"], n)
        row = torch.arange(len(begin), device=begin.device)[:, None]
        ends = torch.stack((batch["spans"][row, begin, 0], batch["spans"][row, end, 1]), dim=-1)  # (B, N, 2)
        none = (first[:, 0] + last[:, 0]).tolist()
        windows = zip(batch["question"].tolist(), scores.tolist(), ends.tolist(), none, strict=True)
        answers: dict[int, Answers] = {}
        for number, (question, some, places, without) in enumerate(windows):
            context = batch["context"][number]
            told = [Answer.of(context, a, b, score) for (a, b), score in zip(places, some, strict=True)]
            likely = [answer for answer in told if answer.text and answer.score > -math.inf]
            window = Answers(likely, without, tuple(batch["answers"][number]))
            answers[question] = window.beside(answers.get(question), n)
        return answers

    def score(self, network: Network, batch: Mapping[str, Any], stage: str) -> dict[str, Tensor]:
        scored = self.log_probabilities(network, batch)
        losses = self.losses(*scored, batch)
        self.sums[stage]["nats"].update(losses.double().sum())  # type: ignore[index]
        self.sums[stage]["windows"].update(float(len(losses)))  # type: ignore[index]
        for question, answers in self.read(network, batch, scored=scored).items():
            self.found[stage][question] = answers.beside(self.found[stage].get(question))
        return {"rows": batch["rows"]}

    def results(self, stage: str) -> dict[str, float]:
        nats, windows = (self.sums[stage][name].compute().item() for name in ("nats", "windows"))  # type: ignore[index]
        answers = [*self.all_found(stage).values()]
        results = {"loss": nats / max(windows, 1)}
        return results | (self.measured(answers) if answers else {}) | {"rows": float(len(answers))}

    def measured(self, answers: list[Answers]) -> dict[str, float]:
        """Exact match and F1, 0 to 100; with `no_answer` also F1 of questions with an answer and without one, and what
        the threshold would be that is best for these very questions."""

        def scores(texts: list[str]) -> list[squad.Scores]:
            return [
                squad.scores(text, each.right, language=self.language, no_answer=self.no_answer)
                for text, each in zip(texts, answers, strict=True)
            ]

        found = scores([self.answer(each) for each in answers])
        told = {"exact_match": fmean(each.exact for each in found), "f1": fmean(each.f1 for each in found)}
        margin: dict[str, float] = {}
        if self.no_answer:
            for name, has in (("f1_answerable", True), ("f1_unanswerable", False)):
                part = [one.f1 for one, each in zip(found, answers, strict=True) if bool(each.right) == has]
                told |= {name: fmean(part)} if part else {}
            given = [each.f1 for each in scores([each.text for each in answers])]
            withheld = [each.f1 for each in scores([""] * len(answers))]
            told["best_f1"], best = squad.best_threshold([each.margin for each in answers], given, withheld)
            margin = {"best_threshold": best}
        return {name: 100 * value for name, value in told.items()} | margin

    def answer(self, answers: Answers, threshold: float | int | None = None) -> str:
        """The likeliest words, or none."""
        least = self.threshold if threshold is None else threshold
        return "" if self.no_answer and answers.margin <= least else answers.text

    def all_found(self, stage: str) -> dict[int, Answers]:
        """The answers to all questions, their windows on all ranks together, in order of the questions."""
        parts: list[Any] = [self.found[stage]]
        if dist.is_available() and dist.is_initialized():
            parts = [None] * dist.get_world_size()
            dist.all_gather_object(parts, self.found[stage])
        together: dict[int, Answers] = {}
        for part in parts:
            for question, answers in part.items():
                together[question] = answers.beside(together.get(question))
        return dict(sorted(together.items()))

    def measured_by(self) -> dict[str, str]:
        version = "2.0" if self.no_answer else "1.1"
        by = ", character by character" if self.language == "zh" else ""
        return {"f1": f"SQuAD {version}, best over the right answers{by}"}

    def reset(self, stage: str) -> None:
        self.found[stage] = {}
        for metric in self.sums[stage].values():  # type: ignore[operator]
            metric.reset()

    def predict(self, network: Network, batch: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The answer to each question, where in its context it begins and ends, and its probability."""
        told: list[dict[str, Any]] = []
        for _, answers in sorted(self.read(network, batch).items()):
            text = self.answer(answers)
            best = answers.best[0] if text else Answer(answers.without, 0, 0, "")
            told.append(best.told())
        return told
