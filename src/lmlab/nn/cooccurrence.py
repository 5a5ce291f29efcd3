"""How often words stand near each other, the nearer the more: what GloVe learns from."""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

PAIRS_AT_ONCE = 1 << 22  # sorted in one piece: 32 MiB
Counts = tuple[np.ndarray, np.ndarray]  # sorted keys, each once, and what belongs to each
NOWHERE = np.iinfo(np.int64).max  # a key behind all others, of words that are in different texts


class Cooccurrences(NamedTuple):
    """The pairs of words that stand near each other in either order, each once, by their ids."""

    first: np.ndarray  # (N,), sorted, not above the second
    second: np.ndarray  # (N,)
    weight: np.ndarray  # (N,) float64: the sum over all times of 1 / distance


def cooccurrences(values: np.ndarray, offsets: np.ndarray, window: int, *, ordinary: int = 0) -> Cooccurrences:
    """Count the documents values[offsets[d]:offsets[d + 1]] up to `window` words apart (Pennington et al., 2014, 3.1).

    Ids below `ordinary` are no words, but keep their places. The stream is gone through in pieces, whose pairs are
    sorted, one piece a core at a time, and merged with counts of about as many: there are never more than two counts
    of a size. All sums are of whole numbers, so that no order of adding changes them.
    """
    size, bits = int(values.max(initial=0)) + 1, window.bit_length()
    if size**2 << bits >= NOWHERE:
        raise ValueError(f"pairs of {size} words do not fit in 63 bits")
    unit = math.lcm(*range(1, window + 1))
    share = np.array([0, *(unit // distance for distance in range(1, window + 1))], np.int64)
    document = np.repeat(np.arange(len(offsets) - 1, dtype=np.int32), np.diff(offsets))
    stream = values[offsets[0] : offsets[-1]].astype(np.int64)
    step = max(1, PAIRS_AT_ONCE // window)

    def piece(begin: int) -> Counts:
        found = []
        for distance in range(1, window + 1):
            other = stream[begin + distance : begin + distance + step]
            one = stream[begin : begin + len(other)]
            low = np.minimum(one, other)
            apart = document[begin : begin + len(one)] != document[begin + distance : begin + distance + len(one)]
            pair = (low * size + np.maximum(one, other)) << bits | distance
            found.append(np.where(apart | (low < ordinary), NOWHERE, pair))
        pairs = np.concatenate(found)
        pairs.sort()
        pairs = pairs[: np.searchsorted(pairs, NOWHERE)]
        keys, weights = pairs >> bits, share[pairs & ((1 << bits) - 1)]
        begins = np.flatnonzero(np.diff(keys, prepend=-1))
        return keys[begins], np.add.reduceat(weights, begins) if len(begins) else weights

    counts: list[Counts] = []  # each at least twice as many as the next
    with ThreadPoolExecutor(n_cores := os.cpu_count() or 1) as cores:  # numpy sorts outside of the interpreter's lock
        for begin in range(0, len(stream), step * n_cores):
            for found in cores.map(piece, range(begin, min(begin + step * n_cores, len(stream)), step)):
                counts.append(found)
                while len(counts) > 1 and len(counts[-2][0]) < 2 * len(counts[-1][0]):
                    counts[-2:] = [merged(*counts[-2], *counts[-1])]
    keys, sums = np.empty((2, 0), np.int64)
    for found in reversed(counts):
        keys, sums = merged(*found, keys, sums)
    return Cooccurrences(keys // size, keys % size, sums / unit)


def merged(keys: np.ndarray, sums: np.ndarray, others: np.ndarray, more: np.ndarray) -> Counts:
    """Two such counts, each sorted and without repetition, as one."""
    place = np.searchsorted(keys, others)
    known = np.zeros(len(others), bool)
    inside = place < len(keys)
    known[inside] = keys[place[inside]] == others[inside]
    sums[place[known]] += more[known]
    new = ~known
    return np.insert(keys, place[new], others[new]), np.insert(sums, place[new], more[new])
