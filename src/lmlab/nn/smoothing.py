"""From counts to probabilities: maximum likelihood, add-k, and modified Kneser-Ney as KenLM's lmplz estimates it.

Every estimator answers in the back-off form of Katz (1987): an n-gram that was seen has its own probability, any other
has that of the n-gram without its first token, times the back-off weight of its context.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from lmlab.errors import DataError
from lmlab.nn.ngram_counts import NgramCounts

FALLBACK = (0.5, 1.0, 1.5)  # what lmplz --discount_fallback takes off counts of 1, of 2, and of 3 or more


class Estimates(NamedTuple):
    """One order of a back-off model; a row each n-gram, as in `NgramCounts`."""

    keys: Tensor  # (R,)
    log_probs: Tensor  # (R,) log10 p(last token | those before it)
    backoffs: Tensor  # (R,) log10 of the weight of this n-gram as a context; 0 where it is none


def maximum_likelihood(counts: NgramCounts) -> list[Estimates]:
    """Relative frequencies: what never followed a context that was seen is impossible; unseen contexts are shortened."""
    orders = []
    for order in range(1, counts.order + 1):
        total = totals(counts, order, predicted_counts(counts, order))
        probs = predicted_counts(counts, order) / shared(counts, order, total)
        orders.append((probs, torch.where(total > 0, 0.0, 1.0)))
    return estimates(counts, orders)


def add_k(counts: NgramCounts, predicted: Bool[Tensor, "V"], *, k: float) -> list[Estimates]:
    """k is added to how often each predicted token follows each context (Lidstone, 1920); k = 1 is Laplace's.

    A context that was never seen, or is shorter than the model's and begins no document, predicts all tokens alike.
    """
    checked(counts, predicted)
    size = int(predicted.sum())
    orders = []
    for order in range(1, counts.order + 1):
        found = predicted_counts(counts, order)
        total = totals(counts, order, found)
        probs = torch.full_like(found, 1 / size)
        own = slice(None) if order == counts.order else counts.begun(order) if order > 1 else slice(0)
        probs[own] = (found[own] + k) / (shared(counts, order, total)[own] + k * size)
        weights = torch.ones_like(total)
        own = slice(None) if order == counts.order else counts.begun(order - 1) if order > 1 else slice(0)
        weights[own] = torch.where(total[own] > 0, k * size / (total[own] + k * size), 1.0)
        orders.append((torch.where(predicted, probs, 0.0) if order == 1 else probs, weights))
    return estimates(counts, orders)


def modified_kneser_ney(
    counts: NgramCounts, predicted: Bool[Tensor, "V"], *, fallback: tuple[float, float, float] | None = None
) -> list[Estimates]:
    """Interpolated modified Kneser-Ney (Chen and Goodman, 1998, section 3; Heafield et al., 2013, section 3.3).

    What the discounts set free at the lowest order is shared alike by all `predicted` tokens; the unknown token is one
    of them. `fallback` replaces the discounts of an order whose counts do not yield any; without it that is a DataError.
    """
    checked(counts, predicted)
    lower = predicted.double() / int(predicted.sum())  # order 0: uniform
    orders = []
    for order in range(1, counts.order + 1):
        adjusted = counts.adjusted(order)
        taken = discounts(adjusted, order, fallback)[adjusted.clamp(max=3)]
        total = totals(counts, order, adjusted.double())
        weights = torch.where(total > 0, totals(counts, order, taken) / total, 1.0)
        below = lower if order == 1 else lower[counts.suffixes[order - 2]]
        lower = (adjusted - taken) / shared(counts, order, total) + shared(counts, order, weights) * below
        orders.append((lower, weights))
    return estimates(counts, orders)


def discounts(
    adjusted: Int[Tensor, "R"], order: int, fallback: tuple[float, float, float] | None = None
) -> Float64[Tensor, "4"]:
    """What to take off counts of 0, 1, 2, and 3 or more (Chen and Goodman, 1998, equation 26)."""
    n = torch.bincount(adjusted.clamp(max=5), minlength=6).tolist()
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
    return torch.tensor([0.0, *found], dtype=torch.float64, device=adjusted.device)


def predicted_counts(counts: NgramCounts, order: int) -> Float64[Tensor, "R"]:
    """How often each n-gram occurs; the beginning of a document, which nothing predicts, never."""
    found = counts.counts[order - 1].double()
    return found if order > 1 else found.index_fill(0, torch.tensor(counts.begin, device=found.device), 0.0)


def totals(counts: NgramCounts, order: int, amounts: Float64[Tensor, "R"]) -> Float64[Tensor, "C"]:
    """The sum of `amounts` over the n-grams of each context, in the rows of the order below; order 1 has one context."""
    if order == 1:
        return amounts.sum(0, keepdim=True)
    return torch.bincount(counts.prefixes(order), amounts, minlength=len(counts.keys[order - 2]))


def shared(counts: NgramCounts, order: int, amounts: Float64[Tensor, "C"]) -> Float64[Tensor, "*R"]:
    """What belongs to a context, for each of its n-grams."""
    return amounts if order == 1 else amounts[counts.prefixes(order)]


def checked(counts: NgramCounts, predicted: Bool[Tensor, "V"]) -> None:
    if bool(predicted[counts.begin]) or bool((counts.vocabulary(counts.end) & ~predicted).any()):
        raise DataError("a model must predict each token of its corpus and the end of a text, but never the beginning")


def estimates(counts: NgramCounts, orders: list[tuple[Float[Tensor, "R"], Float[Tensor, "C"]]]) -> list[Estimates]:
    """The table of each order: its probabilities, and as back-offs the weights that the next order's contexts got."""
    weights = [weight for _, weight in orders[1:]] + [torch.ones_like(orders[-1][0])]
    return [
        Estimates(keys, probs.log10().clamp(max=0).float(), weight.log10().float())
        for keys, (probs, _), weight in zip(counts.keys, orders, weights, strict=True)
    ]
