"""The words whose vectors lie nearest to those of given words."""

from collections.abc import Sequence
from difflib import get_close_matches

from lmlab.errors import InputMissing
from lmlab.evaluation import similarity
from lmlab.experiment import Experiment
from lmlab.ranges import PositiveInt
from lmlab.terminal import print_columns


def neighbours(
    experiment: Experiment, words: Sequence[str] | None = None, n: PositiveInt = 10, checkpoint: str = "best.ckpt"
) -> None:
    """Print the `n` words of the highest cosine to each of `words`, and it."""
    if not words:
        raise InputMissing("no words are given", "stage.words", "Add stage.words=[good,bad]")
    experiment.load_weights(experiment.run.checkpoints / checkpoint)
    module = experiment.module
    ids = similarity.word_ids(experiment.corpus.tokenizer)
    asked = [word.lower() for word in words]
    if unknown := [word for word in asked if word not in ids]:
        near = get_close_matches(unknown[0], ids, 1)
        fix = f"Did you mean {near[0]}?" if near else "Ask for words of the training text"
        raise InputMissing(f"the model has no vector for {', '.join(unknown)}", "stage.words", fix)
    found = similarity.neighbours(module.network.word_vectors().detach(), ids, asked, n)
    columns = [column for word in asked for column in (word, "cosine")]
    rows = [[text for word, cosine in row for text in (word, f"{cosine:.3f}")] for row in zip(*found, strict=True)]
    print_columns(f"The {len(rows)} nearest words", columns, rows)
