"""How much of what was written stands in a reference: BLEU, chrF and TER by sacrebleu, ROUGE by rouge-score."""

import re
from collections.abc import Callable, Sequence
from importlib.metadata import version
from statistics import fmean
from typing import Any, NamedTuple

ROUGES = ("rouge1", "rouge2", "rougeL", "rougeLsum")


class Measured(NamedTuple):
    """Scores by name, and by what exactly they were measured."""

    scores: dict[str, float]
    signature: str


def bleu(hypotheses: Sequence[str], references: Sequence[str], tokenizer: str) -> Measured:
    """Papineni et al., 2002, of a whole corpus, 0 to 100; and the length of the hypotheses as a share of that of the
    references, counted in the metric's own tokens."""
    from sacrebleu.metrics import BLEU

    metric = BLEU(tokenize=tokenizer)
    score: Any = metric.corpus_score(hypotheses, [references])
    lengths = {"length": score.sys_len, "reference_length": score.ref_len}
    scores = {"bleu": score.score, **lengths, "length_ratio": score.sys_len / max(1, score.ref_len)}
    return Measured(scores, str(metric.get_signature()))


def chrf(hypotheses: Sequence[str], references: Sequence[str], tokenizer: str) -> Measured:
    """Character n-gram F-score (Popovic, 2015), 0 to 100."""
    from sacrebleu.metrics import CHRF

    metric = CHRF()
    return Measured({"chrf": metric.corpus_score(hypotheses, [references]).score}, str(metric.get_signature()))


def ter(hypotheses: Sequence[str], references: Sequence[str], tokenizer: str) -> Measured:
    """Translation edit rate (Snover et al., 2006): edits for 100 words of the reference, fewer are better."""
    from sacrebleu.metrics import TER

    metric = TER()
    return Measured({"ter": metric.corpus_score(hypotheses, [references]).score}, str(metric.get_signature()))


def rouge(hypotheses: Sequence[str], references: Sequence[str], tokenizer: str) -> Measured:
    """Lin, 2004: mean F1 of unigrams, bigrams and longest common subsequences (Lsum: line by line), 0 to 100."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(ROUGES), use_stemmer=True)
    found = [scorer.score(reference, said) for said, reference in zip(hypotheses, references, strict=True)]
    scores = {name: 100 * fmean(each[name].fmeasure for each in found) for name in ROUGES}
    for name, texts in (("words", hypotheses), ("reference_words", references)):
        scores[name] = fmean(len(text.split()) for text in texts)
    return Measured(scores, f"rouge-score {version('rouge-score')}, stemmed")


def first_sentence(text: str) -> str:
    """What a reader in a hurry takes for the summary of a text."""
    return re.split(r"(?<=[.!?])[\"'”’)]*\s|\n", text.strip(), maxsplit=1)[0]


MEASURES: dict[str, Callable[[Sequence[str], Sequence[str], str], Measured]]
MEASURES = {"bleu": bleu, "chrf": chrf, "ter": ter, "rouge": rouge}
