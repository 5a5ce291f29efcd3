"""BBC News once more: an article of 2004 or 2005, and the headline that its editors gave it."""

from lmlab.data.bbc_news import ARTICLES, articles
from lmlab.data.parallel import Parallel
from lmlab.data.rows import Row, Splits


class BbcHeadlines(Parallel):
    """The first line of a file is the headline, all others are the article; 100 files repeat another, and 36 do so
    under another headline. The first one of each article is kept, so that none stands in two splits."""

    packages = (ARTICLES,)

    def read_package(self) -> Splits:
        rows, self.counted["copies_dropped"] = headed()
        return {"train": rows}


def headed() -> tuple[list[Row], int]:
    """(an article and its headline in each row, how many files repeat an article)."""
    rows: dict[str, Row] = {}
    files = list(articles())
    for file, text in files:
        headline, _, body = text.partition("\n")
        rows.setdefault(" ".join(body.split()), Row(body.strip(), None, str(file), headline.strip()))
    return [*rows.values()], len(files) - len(rows)
