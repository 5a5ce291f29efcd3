"""BBC News as a search: the headline that an article of 2004 or 2005 had, and the article without it."""

from lmlab.data.bbc_headlines import headed
from lmlab.data.bbc_news import ARTICLES
from lmlab.data.rows import Row, Splits
from lmlab.data.search_pairs import SearchPairs


class BbcSearch(SearchPairs):
    """Which article a headline stands above; the first one of each article is kept, so that none is in two splits."""

    packages = (ARTICLES,)

    def read_package(self) -> Splits:
        rows, self.counted["copies_dropped"] = headed()
        return {"train": [Row(row.pair or "", None, row.place, row.text) for row in rows]}
