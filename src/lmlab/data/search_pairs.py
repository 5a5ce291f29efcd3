"""Queries and the documents that answer them, for search by meaning."""

from dataclasses import replace
from typing import Any

from lmlab.data.columns import Columns
from lmlab.data.corpus import Corpus


class SearchPairs(Corpus):
    """A query and a document in each row of a table or of a data set of the hub, where there is one beside a document
    that does not answer it (`negative_column`), or a score (`label_column`); a subclass says where else they are from.
    """

    raw = False

    def __init__(self, *, negative_column: str | None = None, **parts: Any) -> None:
        super().__init__(**parts)
        self.negative_column = negative_column
        if self.columns.label is None:
            self.labels = None

    @property
    def read_columns(self) -> Columns:
        return replace(self.columns, negative=self.negative_column)
