"""Rankings judged as their definitions say, each computed by hand beside."""

import math

import pytest
import torch

from lmlab.evaluation import retrieval
from lmlab.evaluation.retrieval import Vectors, hits, measures


def by_hand(queries, documents, answers, same):
    """The five measures of vectors by text, of the answers to each query; `same` texts are not found."""
    told = []
    for query, vector in queries.items():
        known = [name for name in documents if name in answers[query] or name != same.get(query)]
        cosine = {name: float(torch.cosine_similarity(vector, documents[name], dim=0)) for name in known}
        ranking = sorted(known, key=lambda name, cosine=cosine: -cosine[name])
        right = [rank for rank, name in enumerate(ranking, 1) if name in answers[query]]
        ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(10, len(right)) + 1))
        told.append(
            {f"recall_{k}": sum(rank <= k for rank in right) / len(right) for k in (1, 5, 10)}
            | {"mrr_10": 1 / right[0] if right[0] <= 10 else 0.0}
            | {"ndcg_10": sum(1 / math.log2(rank + 1) for rank in right if rank <= 10) / ideal}
        )
    return {name: sum(one[name] for one in told) / len(told) for name in told[0]}


def test_a_ranking_is_judged_as_its_definition_says(monkeypatch):
    monkeypatch.setattr(retrieval, "AT_ONCE", 100)  # several blocks
    vectors = torch.randn(60, 6)
    pairs = [(int(q), int(d)) for q, d in zip(torch.randint(0, 15, (40,)), torch.randint(10, 60, (40,)), strict=True)]
    metric = Vectors()
    for some in (pairs[:13], pairs[13:]):
        contents = torch.tensor(some)
        metric.update([vectors[contents[:, 0]], vectors[contents[:, 1]]], contents)
    texts = metric.compute()
    answers = {query: {d for q, d in pairs if q == query} for query, _ in pairs}
    queries, documents = ({number: vectors[number] for number in {pair[side] for pair in pairs}} for side in (0, 1))
    expected = by_hand(queries, documents, answers, same={number: number for number in queries})
    assert any(query in documents for query in queries)  # the same text on both sides
    assert len(texts.queries) == len(queries) and len(texts.documents) == len(documents)
    assert measures(*hits(texts)) == pytest.approx(expected, abs=1e-12)


def test_documents_that_are_no_answers_are_found_too():
    metric = Vectors()
    contents = torch.tensor([[0, 1, 2], [3, 4, 5]])
    near, far = torch.eye(2)
    queries = torch.stack((near, far))
    metric.update([queries, queries.flip(0), queries], contents)
    assert metric.compute().documents.shape == (4, 2)
    assert measures(*hits(metric.compute()))["recall_1"] == 0


def test_few_documents_and_prefixes():
    metric = Vectors()
    vectors = torch.tensor([[1.0, 0.0, 9.0], [0.0, 1.0, 9.0]])
    metric.update([vectors, vectors], torch.tensor([[0, 2], [1, 3]]))
    assert measures(*hits(metric.compute(), 2)) == dict.fromkeys(
        ("recall_1", "recall_5", "recall_10", "mrr_10", "ndcg_10"), 1.0
    )


def test_a_single_row():
    metric = Vectors()
    metric.update([torch.ones(1, 3), torch.ones(1, 3)], torch.tensor([[0, 1]]))
    assert measures(*hits(metric.compute()))["mrr_10"] == 1
