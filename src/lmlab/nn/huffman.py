"""Huffman's binary tree over a vocabulary: frequent words are few decisions away from its root."""

import heapq
from collections.abc import Sequence

import numpy as np


def paths(counts: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(inner nodes (V, L) from the root down, the turn taken at each (V, L): 1 is right, how many (V,)) of each word.

    There are V - 1 inner nodes, numbered from the leaves up; what is behind a word's last one is 0.
    """
    size = len(counts)
    parent, right = np.zeros(2 * size - 1, np.int64), np.zeros(2 * size - 1, bool)
    heap = [(int(count), number) for number, count in enumerate(counts)]
    heapq.heapify(heap)
    for inner in range(size, 2 * size - 1):
        (one, left), (other, second) = heapq.heappop(heap), heapq.heappop(heap)
        parent[[left, second]], right[second] = inner, True
        heapq.heappush(heap, (one + other, inner))
    root = 2 * size - 2
    found: list[list[tuple[int, bool]]] = []
    for word in range(size):
        way, node = [], word
        while node != root:
            way.append((int(parent[node]) - size, bool(right[node])))
            node = int(parent[node])
        found.append(way[::-1])
    lengths = np.array([len(way) for way in found])
    nodes, turns = np.zeros((2, size, int(lengths.max(initial=1))), np.int64)
    for word, way in enumerate(found):
        if way:
            nodes[word, : len(way)], turns[word, : len(way)] = zip(*way, strict=True)
    return nodes, turns, lengths
