"""A back-off model for each class of documents, estimated together: what n-grams say of the class has a prior."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from lmlab.nn.ngram_counts import NgramCounts
from lmlab.nn.smoothing import Estimates


def class_models(shared: Sequence[Estimates], counts: NgramCounts, concentration: int | float) -> list[list[Estimates]]:
    """p(token | context, class) = p(token | context) P(class | context, token) / P(class | context): Bayes' rule.

    `shared` is the model of all documents; `counts` has those of each class. P(class | n-gram) has a Dirichlet prior of
    this concentration, whose mean is what the n-gram without its first token says (MacKay and Peto, 1995, of classes);
    P(class | context) sums it over all tokens, so each class's probabilities add up to one as the shared ones do.
    """
    sizes = counts.by_class[0].sum(0) + 1.0  # a class without documents is unlikely, not impossible
    posterior = np.tile(sizes / sizes.sum(), (counts.vocab_size, 1))  # (R, G) of the order below
    evidence = np.zeros((1, len(sizes)))  # (C, G) log10 P(class | context)
    scores: list[ndarray] = []  # of each order: (R, G) log10 p
    backoffs: list[ndarray] = []  # of each order: (R, G)
    for order, estimate in enumerate(shared, 1):
        suffixes = counts.suffixes[order - 2] if order > 1 else np.arange(counts.vocab_size)
        below = posterior[suffixes]
        found = counts.by_class[order - 1]
        posterior = (found + concentration * below) / (found.sum(1, keepdims=True) + concentration)
        joint = weighted(estimate.log_probs, posterior)
        if order == 1:
            evidence = np.log10(joint.sum(0, keepdims=True))
        else:
            shorter = evidence[counts.suffixes[order - 3]] if order > 2 else evidence
            seen_below = summed(counts, order, weighted(shared[order - 2].log_probs[suffixes], below))
            weights = shared[order - 2].backoffs[:, None]
            unseen = weighted(weights[:, 0], np.maximum(10**shorter - seen_below, 0))
            evidence = np.log10(summed(counts, order, joint) + unseen)
            backoffs.append(weights + shorter - evidence)
        scores.append(estimate.log_probs[:, None] + np.log10(posterior) - evidence[counts.prefixes(order)])
    backoffs.append(np.zeros_like(scores[-1]))
    return [
        [
            Estimates(keys, score[:, number].astype(np.float32), backoff[:, number].astype(np.float32))
            for keys, score, backoff in zip(counts.keys, scores, backoffs, strict=True)
        ]
        for number in range(len(sizes))
    ]


def weighted(logs: ndarray, shares: Float64[ndarray, "R G"]) -> Float64[ndarray, "R G"]:
    return 10.0 ** logs.astype(float)[:, None] * shares


def summed(counts: NgramCounts, order: int, amounts: Float64[ndarray, "R G"]) -> Float64[ndarray, "C G"]:
    """The sum over the n-grams of each context, by class."""
    contexts = counts.prefixes(order)
    size = len(counts.keys[order - 2])
    return np.stack([np.bincount(contexts, column, minlength=size) for column in amounts.T], axis=1)
