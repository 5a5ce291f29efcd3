"""The baselines that searches by meaning are printed beside: BM25, and means of word vectors.

    python scripts/baseline_bm25.py data=bbc_search

It reads the same rows in the same splits as `python src/run.py data=<corpus>` and prints the same metrics. BM25 is
Robertson's as Lucene has it (package bm25s, k1 1.5, b 0.75, English stop words); word vectors are gensim's skip-gram,
learned from the training rows, and a text is the mean of its words.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import bm25s
import numpy as np
import torch
from gensim.models import Word2Vec
from gensim.utils import simple_preprocess
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from lmlab.data.corpus import Corpus
from lmlab.data.sides import contents
from lmlab.evaluation.retrieval import DEPTH, measures
from lmlab.experiment import instantiate
from lmlab.terminal import print_columns

Scores = Callable[[Sequence[str], Sequence[str]], np.ndarray]  # queries, documents -> (queries, documents)
METRICS = ("ndcg_10", "recall_1", "recall_5", "recall_10", "mrr_10")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", default=["data=bbc_search"], help="as for src/run.py")
    parser.add_argument("--epochs", type=int, default=10, help="of the word vectors")
    arguments = parser.parse_args()
    conf = Path(__file__).resolve().parents[1] / "conf"
    with initialize_config_dir(str(conf), version_base="1.3"):
        config = OmegaConf.to_container(compose("config", arguments.overrides).data, resolve=True)
    corpus = instantiate(config, "data")
    corpus.prepare()
    began = time.perf_counter()
    words = [simple_preprocess(text) for text in corpus.stored.read("train", corpus.clean)]
    vectors = Word2Vec(
        words, vector_size=100, sg=1, negative=5, min_count=2, epochs=arguments.epochs, workers=1, seed=1
    )
    seconds = time.perf_counter() - began
    rows = []
    for split in ("val", "test"):
        for name, scores in (("BM25", bm25), ("word vectors", lambda *texts: means(vectors, *texts))):
            told = judged(corpus, split, scores)
            rows.append([f"{name}, {split}", *(f"{told[metric]:.4f}" for metric in METRICS)])
    print_columns(f"Baselines: {' '.join(arguments.overrides)}", ["", *METRICS], rows)
    print(f"word vectors {len(vectors.wv):,} words, {seconds:.0f} s")


def bm25(queries: Sequence[str], documents: Sequence[str]) -> np.ndarray:
    index = bm25s.BM25()
    index.index(bm25s.tokenize(documents, stopwords="en", show_progress=False), show_progress=False)
    asked = bm25s.tokenize(queries, stopwords="en", return_ids=False, show_progress=False)
    return np.stack([index.get_scores(words) if words else np.zeros(len(documents)) for words in asked])


def means(vectors: Word2Vec, queries: Sequence[str], documents: Sequence[str]) -> np.ndarray:
    """Cosines of the means of the words' vectors; a text of unknown words is far from all."""

    def mean(text: str) -> np.ndarray:
        known = [vectors.wv[word] for word in simple_preprocess(text) if word in vectors.wv]
        whole = np.mean(known, axis=0) if known else np.zeros(vectors.vector_size)
        return whole / max(float(np.linalg.norm(whole)), 1e-12)

    return np.stack([mean(text) for text in queries]) @ np.stack([mean(text) for text in documents]).T


def judged(corpus: Corpus, split: str, scores: Scores) -> dict[str, float]:
    """The metrics of a split, whose documents are all that stand on the second and the third side."""
    sides = [corpus.stored.texts(split, side) for side in corpus.stored.sides]
    numbers = contents(sides)
    texts = {int(number): corpus.clean(side.text(row)) for side, column in zip(sides, numbers.T, strict=True)
             for row, number in enumerate(column)}  # fmt: skip
    queries, documents = np.unique(numbers[:, 0]), np.unique(numbers[:, 1:])
    relevant = np.zeros((len(queries), len(documents)), bool)
    relevant[np.searchsorted(queries, numbers[:, 0]), np.searchsorted(documents, numbers[:, 1])] = True
    found = scores([texts[number] for number in queries], [texts[number] for number in documents])
    found[(queries[:, None] == documents) & ~relevant] = -np.inf  # a query does not find itself
    nearest = np.argsort(-found, axis=1, kind="stable")[:, :DEPTH]
    answered = np.pad(np.take_along_axis(relevant, nearest, 1), ((0, 0), (0, DEPTH - nearest.shape[1])))
    return measures(torch.from_numpy(answered), torch.from_numpy(relevant.sum(1)))


if __name__ == "__main__":
    main()
