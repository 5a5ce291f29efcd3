"""From counts to probabilities: maximum likelihood, add-k, and modified Kneser-Ney as KenLM's lmplz estimates it.

Every estimator answers in the back-off form of Katz (1987): an n-gram that was seen has its own probability, any other
has that of the n-gram without its first token, times the back-off weight of its context.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int, Num
from numpy import ndarray

from lmlab.errors import DataError
from lmlab.nn.ngram_counts import NgramCounts

FALLBACK = (0.5, 1.0, 1.5)  # what lmplz --discount_fallback takes off counts of 1, of 2, and of 3 or more


class Estimates(NamedTuple):
    """One order of a back-off model; a row each n-gram, as in `NgramCounts`."""

    keys: ndarray  # (R,)
    log_probs: ndarray  # (R,) log10 p(last token | those before it)
    backoffs: ndarray  # (R,) log10 of the weight of this n-gram as a context; 0 where it is none


def maximum_likelihood(counts: NgramCounts) -> list[Estimates]:
    """Relative frequencies: what never followed a context is impossible; a context that was never seen is shortened."""
    orders = []
    for order in range(1, counts.order + 1):
        found = predicted_counts(counts, order)
        total = per_context(counts, order, found)
        orders.append((found / total[counts.prefixes(order)], np.where(total > 0, 0.0, 1.0)))
    return estimates(counts, orders)


def add_k(counts: NgramCounts, predicted: Bool[ndarray, "V"], *, k: int | float) -> list[Estimates]:
    """k is added to how often each predicted token follows each context (Lidstone, 1920); k = 1 is Laplace's.

    A context that was never seen, or is shorter than the model's and begins no document, predicts all tokens alike.
    """
    checked(counts, predicted)
    size = predicted.sum()
    orders = []
    for order in range(1, counts.order + 1):
        contexts, found = counts.prefixes(order), predicted_counts(counts, order)
        total = per_context(counts, order, found)
        whole = np.full(len(total), order == counts.order)
        if order > 1:
            whole[counts.begun(order - 1)] = True
        weights = np.where(whole & (total > 0), k * size / (total + k * size), 1.0)
        uniform = (predicted / size)[counts.keys[order - 1] % counts.vocab_size]
        # (count + k) / (total + k size), in the form of an interpolation
        probs = (1 - weights)[contexts] * found / total[contexts] + weights[contexts] * uniform
        orders.append((probs, weights))
    return estimates(counts, orders)


def modified_kneser_ney(
    counts: NgramCounts, predicted: Bool[ndarray, "V"], *, fallback: tuple[float, float, float] | None = None
) -> list[Estimates]:
    """Interpolated modified Kneser-Ney (Chen and Goodman, 1998, section 3; Heafield et al., 2013, section 3.3).

    What the discounts set free at the lowest order is shared alike by all `predicted` tokens, the unknown one among
    them. `fallback` replaces the discounts of an order whose counts yield none; without it that is a DataError.
    """
    checked(counts, predicted)
    probs = predicted / predicted.sum()  # order 0: uniform
    orders = []
    for order in range(1, counts.order + 1):
        contexts, adjusted = counts.prefixes(order), counts.adjusted(order)
        taken = discounts(adjusted, order, fallback)[np.minimum(adjusted, 3)]
        total = per_context(counts, order, adjusted)
        weights = np.divide(per_context(counts, order, taken), total, out=np.ones_like(total), where=total > 0)
        below = probs if order == 1 else probs[counts.suffixes[order - 2]]
        probs = (adjusted - taken) / total[contexts] + weights[contexts] * below
        orders.append((probs, weights))
    return estimates(counts, orders)


def discounts(
    adjusted: Int[ndarray, "R"], order: int, fallback: tuple[float, float, float] | None = None
) -> Float64[ndarray, "4"]:
    """What to take off counts of 0, 1, 2, and 3 or more (Chen and Goodman, 1998, equation 26).

    lmplz judges the one unigram that it sorts last by how often it occurs, not by its adjusted count: an oversight that
    only tiny corpora show, and that is not repeated here.
    """
    n = np.bincount(np.minimum(adjusted, 5), minlength=6).tolist()
    found = [math.nan] * 3
    if all(n[1:4]):
        y = n[1] / (n[1] + 2 * n[2])
        found = [j - (j + 1) * y * n[j + 1] / n[j] for j in (1, 2, 3)]
    if not all(0 <= discount <= j for j, discount in enumerate(found, 1)):
        if fallback is None:
            seen = ", ".join(f"{n[j]:,} occur {j}" for j in (1, 2, 3, 4))
            raise DataError(
                f"the {order}-grams yield no Kneser-Ney discounts: {seen} times",
                fix="Take more text, a lower order, or the discounts of `fallback`, such as 0.5 1 1.5",
            )
        found = list(fallback)
    return np.array([0.0, *found])


def predicted_counts(counts: NgramCounts, order: int) -> Float64[ndarray, "R"]:
    """How often each n-gram occurs; the beginning of a document, which nothing predicts, never."""
    found = counts.counts[order - 1].astype(float)
    if order == 1:
        found[counts.begin] = 0
    return found


def per_context(counts: NgramCounts, order: int, amounts: Num[ndarray, "R"]) -> Float64[ndarray, "C"]:
    """The sum of `amounts` over the n-grams of each context, a row of the order below; order 1 has one context."""
    rows = len(counts.keys[order - 2]) if order > 1 else 1
    return np.bincount(counts.prefixes(order), amounts, minlength=rows).astype(float, copy=False)  # of none: integers


def checked(counts: NgramCounts, predicted: Bool[ndarray, "V"]) -> None:
    if predicted[counts.begin] or np.any(counts.vocabulary(counts.end) & ~predicted):
        raise DataError("a model must predict each token of its corpus and the end of a text, but never the beginning")


def estimates(counts: NgramCounts, orders: list[tuple[ndarray, ndarray]]) -> list[Estimates]:
    """The table of each order: its probabilities, and as back-offs the weights that the next order's contexts got."""
    weights = [weight for _, weight in orders[1:]] + [np.ones_like(orders[-1][0])]
    with np.errstate(divide="ignore"):  # the log of 0 is meant
        return [
            Estimates(keys, np.log10(np.minimum(probs, 1)).astype(np.float32), np.log10(weight).astype(np.float32))
            for keys, (probs, _), weight in zip(counts.keys, orders, weights, strict=True)
        ]
