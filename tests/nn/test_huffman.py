"""Huffman's tree: as short as it can be, and each word at the end of a way of its own."""

import heapq

import numpy as np

from lmlab.nn.huffman import paths


def shortest(counts):
    """The least that all turns can cost: each merge of the two rarest costs their counts."""
    heap, cost = list(counts), 0
    heapq.heapify(heap)
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        cost += merged
        heapq.heappush(heap, merged)
    return cost


def test_ways_are_shortest_and_no_way_begins_another():
    counts = np.random.default_rng(0).integers(1, 1000, 60).tolist()
    nodes, turns, lengths = paths(counts)
    assert (np.array(counts) * lengths).sum() == shortest(counts)
    ways = {tuple(turns[word, : lengths[word]]) for word in range(60)}
    assert len(ways) == 60
    assert not any(one != other and other[: len(one)] == one for one in ways for other in ways)


def test_the_same_turns_lead_to_the_same_node():
    nodes, turns, lengths = paths([5, 9, 12, 13, 16, 45])
    at = {}
    for word in range(6):
        for step in range(lengths[word]):
            assert at.setdefault(tuple(turns[word, :step]), nodes[word, step]) == nodes[word, step]
    assert sorted(at.values()) == list(range(5))
    assert lengths.tolist() == [4, 4, 3, 3, 3, 1]


def test_one_word_needs_no_turn():
    nodes, turns, lengths = paths([7])
    assert lengths.tolist() == [0] and nodes.shape == turns.shape == (1, 1)
