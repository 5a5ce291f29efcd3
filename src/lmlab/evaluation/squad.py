"""Exact match and F1 of answers, as the official scripts of SQuAD 1.1 and 2.0 have them (Rajpurkar et al., 2016, 2018).

Chinese answers are compared character by character, as MLQA's script does (Lewis et al., 2020).
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

CHARACTERS = r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]"
WORDS = {"en": re.compile(r"\S+"), "zh": re.compile(rf"{CHARACTERS}|(?:(?!{CHARACTERS})\S)+")}


class Scores(NamedTuple):
    """Of an answer beside the right ones, the best of each, 0 to 1."""

    exact: float
    f1: float


def words(answer: str, language: str = "en") -> list[str]:
    """What is compared: lower case, without punctuation and, in English, without articles."""
    text = answer.lower()
    if language == "en":
        text = text.translate(dict.fromkeys(map(ord, string.punctuation)))
        text = re.sub(r"\b(a|an|the)\b", " ", text)
    else:
        text = "".join(sign for sign in text if sign not in string.punctuation and unicodedata.category(sign)[0] != "P")
    return WORDS[language].findall(text)


def scores(answer: str, right: Sequence[str], *, language: str = "en", no_answer: bool = False) -> Scores:
    """The best over the right answers. With `no_answer`, as of version 2.0, none of these are right if there is no
    answer, those without words are not counted, and two without words are alike."""
    found = words(answer, language)
    options = [words(text, language) for text in right]
    if no_answer:
        options = [some for some in options if some] or [[]]
    both = [(found == some, overlap(found, some, no_answer)) for some in options]
    return Scores(float(max(exact for exact, _ in both)), max(f1 for _, f1 in both))


def overlap(found: Sequence[str], right: Sequence[str], no_answer: bool = False) -> float:
    """F1 of two bags of words."""
    if no_answer and not (found and right):
        return float(found == right)
    shared = (Counter(found) & Counter(right)).total()
    return 2 * shared / (len(found) + len(right)) if shared else 0.0


def best_threshold(margins: Sequence[float], given: Sequence[float], withheld: Sequence[float]) -> tuple[float, float]:
    """(the best mean score there is, the threshold that gives it): questions whose margin is above it are answered.

    `given` is what each question scores with its answer, `withheld` with none.
    """
    order = np.argsort(-np.asarray(margins, float), kind="stable")
    sorted_margins = np.asarray(margins, float)[order]
    thresholds = np.append(sorted_margins, sorted_margins[-1] - 1)  # with the k-th of them k questions are answered
    apart = np.append(True, thresholds[:-1] > thresholds[1:])  # equal margins are answered together
    gains = np.append(0.0, np.cumsum((np.asarray(given, float) - np.asarray(withheld, float))[order]))
    number = int(np.argmax(np.where(apart, gains, -np.inf)))
    return float((sum(withheld) + gains[number]) / len(given)), float(thresholds[number])
