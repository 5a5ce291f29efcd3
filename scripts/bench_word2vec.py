"""word2vec beside `gensim.models.Word2Vec`: skip-gram on IMDb's reviews, the same words and epochs, in turns.

    python scripts/bench_word2vec.py --rounds 3

Both sides: 100 wide, window 5 (1 to 5 words, drawn), 5 negatives, words that occur 5 times, frequent ones left out
above a share of 1e-3, learning rate 0.025 falling to 0, as many threads as there are cores. Ours is the whole training
as src/run.py does it but for callbacks; gensim's its train(), which has counted the words before. Printed: words a
second, their ratio, and Spearman's r with people's scores of pairs of words (WordSim-353, SimLex-999).
"""

import argparse
import os
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

import side_by_side

SETTINGS = [
    *("model=word2vec", "data=imdb", "task=word_vectors", "logger=csv", "trainer.max_steps=-1"),
    *("data.val_share=0.004", "data.test_share=0.004", "model.network.window=5", "model.network.negatives=5"),
]


def main() -> None:
    parser = side_by_side.parser(__doc__, steps=0, warmup=1)
    parser.add_argument("--epochs", type=int, default=3, help="passes over the reviews")
    arguments = parser.parse_args()
    side_by_side.run(arguments, {"lmlab": measure_lmlab, "gensim": measure_gensim}, compare)


def compare(arguments: argparse.Namespace) -> None:
    from lmlab.evaluation.similarity import PAIRS
    from lmlab.terminal import print_columns

    found, _ = side_by_side.in_turns(["lmlab", "gensim"], "32-true", arguments, "words_per_second")
    rows = [
        [
            side,
            f"{median(one['words_per_second'] for one in each):,.0f}",
            *(side_by_side.spread([one[name] for one in each], ".3f") for name in PAIRS),
        ]
        for side, each in found.items()
    ]
    rows[0].append(side_by_side.spread(side_by_side.ratios(found, "words_per_second")))
    rows[1].append("")
    title = f"Skip-gram, {arguments.epochs} epochs, {os.cpu_count()} threads"
    print_columns(title, ["", "words/s", *PAIRS, "ratio of words/s"], rows)


def settings(arguments: argparse.Namespace) -> list[str]:
    return [*SETTINGS, f"trainer.max_epochs={arguments.epochs}"]


def measure_lmlab(arguments: argparse.Namespace) -> dict[str, float]:
    from lmlab.evaluation.similarity import word_ids
    from lmlab.models.word2vec import ORDINARY

    def words(batch: Any) -> int:
        return int(((batch["tokens"] >= ORDINARY) & batch["mask"]).sum())

    with side_by_side.job(arguments, settings(arguments), bare=True) as job:
        n_words, seconds = side_by_side.fitted(job, arguments.warmup, words)
        vectors = job.module.network.word_vectors().detach()
        return {"words_per_second": n_words / seconds} | agreements(vectors, word_ids(job.corpus.tokenizer))


def measure_gensim(arguments: argparse.Namespace) -> dict[str, float]:
    import torch
    from gensim.models import Word2Vec

    with side_by_side.job(arguments, settings(arguments), bare=True) as job:
        reviews = list(documents(job.corpus))
    model = Word2Vec(
        vector_size=job.config["model"]["network"]["d_model"],
        window=5,
        negative=5,
        min_count=1,  # what is rarer than 5 is in no review any more
        sg=1,
        min_alpha=1e-9,
        workers=os.cpu_count(),
        seed=1,
    )
    model.build_vocab(reviews)
    started = time.perf_counter()
    model.train(reviews, total_examples=len(reviews), epochs=arguments.epochs)
    seconds = time.perf_counter() - started
    n_words = sum(map(len, reviews)) * arguments.epochs
    found = agreements(torch.from_numpy(model.wv.vectors), model.wv.key_to_index)
    return {"words_per_second": n_words / seconds} | found


def documents(corpus: Any) -> Iterator[list[str]]:
    """The training reviews as words, as the tokenizer of the other side has them."""
    from lmlab.models.word2vec import ORDINARY

    entries = corpus.tokenizer.entries()
    values, offsets, _ = corpus.documents("train")
    for begin, end in zip(offsets[:-1], offsets[1:], strict=True):
        yield [entries[id] for id in values[begin:end].tolist() if id >= ORDINARY]


def agreements(vectors: Any, ids: dict[str, int]) -> dict[str, float]:
    from lmlab.evaluation import similarity

    paths = {name: similarity.published(file) for name, file in similarity.PAIRS.items()}
    return {
        name: similarity.agreement(vectors, ids, similarity.scored_pairs(path)).spearman
        for name, path in paths.items()
        if path
    }


if __name__ == "__main__":
    main()
