"""Similarities and analogies as gensim scores them, and what is said of bad lists."""

import pytest
import torch

from lmlab.errors import DataError
from lmlab.evaluation import similarity

gensim = pytest.importorskip("gensim")


@pytest.fixture
def keyed():
    """Random vectors of half of the words that people have judged."""
    from gensim.models import KeyedVectors

    words = set()
    for name in similarity.PAIRS.values():
        for one, other, _ in similarity.scored_pairs(similarity.published(name)):
            words |= {one, other}
    for line in similarity.published(similarity.ANALOGIES).read_text(encoding="utf-8").lower().splitlines():
        words |= set() if line.startswith(":") else set(line.split())
    chosen = sorted(words)[::2]
    vectors = torch.randn(len(chosen), 6)
    made = KeyedVectors(6)
    made.add_vectors(chosen, vectors.numpy())
    return made, vectors, {word: number for number, word in enumerate(chosen)}


def test_agreement_is_that_of_gensim(keyed):
    theirs, vectors, ids = keyed
    for name in similarity.PAIRS.values():
        path = similarity.published(name)
        _, (expected, _), _ = theirs.evaluate_word_pairs(str(path), case_insensitive=True)
        found = similarity.agreement(vectors, ids, similarity.scored_pairs(path))
        assert found.spearman == pytest.approx(expected, abs=1e-6) and found.n_pairs > 50


def test_analogies_are_those_of_gensim(keyed):
    theirs, vectors, ids = keyed
    path = similarity.published(similarity.ANALOGIES)
    score, sections = theirs.evaluate_word_analogies(str(path), case_insensitive=True)
    found = similarity.analogies(vectors, ids, path)
    total = sections[-1]
    assert found["analogies"] == pytest.approx(score)
    assert found["analogies_rows"] == len(total["correct"]) + len(total["incorrect"]) > 100


def test_neighbours_are_those_of_gensim(keyed):
    theirs, vectors, ids = keyed
    (found,) = similarity.neighbours(vectors, ids, ["king" if "king" in ids else next(iter(ids))], 5)
    expected = theirs.most_similar("king" if "king" in ids else next(iter(ids)), topn=5)
    assert [word for word, _ in found] == [word for word, _ in expected]


def test_no_pair_known_is_no_agreement():
    assert similarity.agreement(torch.randn(2, 3), {"a": 0, "b": 1}, [("c", "d", 1.0)]) == (0.0, 0)


def test_a_line_that_is_no_pair_is_named(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("# a comment\nking\tqueen\t8.5\nking queen 8.5\n")
    with pytest.raises(DataError, match="pairs.tsv:3"):
        similarity.scored_pairs(path)
