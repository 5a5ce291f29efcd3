"""Where the rows of a corpus are read from: an installed package, the hub or the user's files."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from lmlab.data import raw_text, sources
from lmlab.data.cleaning import Cleaning
from lmlab.data.columns import Columns
from lmlab.data.loading import Loading
from lmlab.data.raw_text import Texts
from lmlab.data.rows import Splits
from lmlab.data.store import StoredRows
from lmlab.errors import ConfigError, InputMissing
from lmlab.ranges import Fraction, NonNegativeInt, PositiveInt, Probability

log = logging.getLogger(__name__)


class Reading(Loading):
    """The rows of a corpus, and the splits they are cut into; a subclass says what it reads, by the `read_` methods."""

    packages: ClassVar[tuple[sources.Package, ...]] = ()  # what `read_package` reads
    official_classes: ClassVar[dict[str, str] | None] = None  # what hub and official folders call them: our names
    official_splits: ClassVar[dict[str, str]] = {}  # our names: what the official files call them, where told apart

    def __init__(
        self,
        *,
        source: Literal["package", "hub", "files"] = "package",
        path: str | Path | None = None,
        path_split: Literal["train", "val", "test"] | None = None,
        hub: str | None = None,
        revision: str | None = None,
        encoding: str = "utf-8",
        text_column: str = "text",
        label_column: str | None = "label",
        lines: bool = False,
        pair_column: str | None = None,
        labels: Literal["classes", "scores"] = "classes",
        classes: Sequence[str] | None = None,
        max_blank: Probability = 0.1,
        unique: bool = False,
        val_share: Fraction = 0.1,
        test_share: Fraction = 0.1,
        train_rows: PositiveInt | None = None,
        block: PositiveInt = 1,
        split_seed: NonNegativeInt = 0,
        cleaning: Mapping[str, Callable[[str], str] | None] | None = None,
        **parts: Any,
    ) -> None:
        super().__init__(**parts)
        self.source = "files" if path else source
        self.path = Path(path).expanduser() if path else None
        self.path_split, self.hub, self.revision = path_split, hub, revision
        self.encoding, self.columns = encoding, Columns(text_column, label_column, pair_column)
        self.lines = lines and label_column is None
        self.labels: Literal["classes", "scores"] | None = labels  # None: rows have none
        self.configured_classes = None if classes is None else [str(name) for name in classes]
        self.max_blank, self.clean = max_blank, Cleaning(cleaning or {})
        self.cut: dict[str, Any] = {"unique": unique, "train_rows": train_rows}
        self.cut |= {"val_share": val_share, "test_share": test_share, "block": block, "seed": split_seed}
        self.counted: dict[str, int] = {}  # what a source left out and the manifest is to tell

    @property
    def raw(self) -> bool:
        """Whether rows are stretches of text without labels."""
        return self.columns.label is None

    @property
    def read_columns(self) -> Columns:
        """The columns that rows are read from."""
        return self.columns

    def read_package(self) -> Splits | Texts:
        """The rows that an installed package ships."""
        raise ConfigError(f"{type(self).__name__} has no package source", "data.source", "Use hub, or give data.path=")

    def read_hub(self) -> Splits | Texts:
        """The rows of a data set of the Hugging Face hub."""
        if not self.hub:
            raise ConfigError(f"{type(self).__name__} names no data set", "data.source=hub", "Give data.hub=<name>")
        if self.raw:
            return raw_text.hub(self.hub, self.revision, self.columns.text)
        return sources.hub(self.hub, self.revision, self.read_columns, self.official_classes)

    def read_files(self) -> Splits | Texts:
        """The rows at data.path=."""
        if self.path is None:
            raise InputMissing("no files given", "data.source=files", "Give data.path=<file or folder>")
        if self.raw:
            return raw_text.files(self.path, self.columns.text, self.encoding, self.path_split)
        names, split = self.official_classes, self.path_split
        return sources.files(self.path, self.read_columns, self.encoding, names=names, split=split)

    def _rows_key(self) -> dict[str, Any]:
        """Tells rows apart without reading them."""
        origin = {"package": self._package_stamp, "hub": lambda: [self.hub, self.revision], "files": self._path_stamp}
        columns = self.read_columns
        return ({"lines": True} if self.lines else {}) | {
            "corpus": type(self).__qualname__,
            "source": [self.source, origin[self.source]()],
            "columns": [columns.text, columns.label, columns.pair, self.labels == "scores"]
            + [name for name in (columns.negative,) if name],
            "reading": [self.encoding, self.path_split, self.max_blank, self.configured_classes],
            "cut": self.cut,
        }

    def _package_stamp(self) -> list[str]:
        return [f"{package.sha256} {sources.stamp(package.path())}" for package in self.packages]

    def _path_stamp(self) -> str:
        return sources.stamp(self.path) if self.path and self.path.exists() else ""

    def _write_rows(self, folder: Path) -> None:
        read = {"package": self.read_package, "hub": self.read_hub, "files": self.read_files}[self.source]
        log.info("reading %s (%s)", type(self).__name__, self.path or self.source)
        found: Any = read()
        if self.raw:
            shares = {name: self.cut[name] for name in ("val_share", "test_share")}
            found = {split: raw_text.by_line(texts) for split, texts in found.items()} if self.lines else found
            raw_text.write(folder, found, str(self.path or self.source), **shares)
        else:
            StoredRows.write(
                folder,
                found,
                self.configured_classes,
                labels=self.labels,
                sides=self.read_columns.sides,
                max_blank=self.max_blank,
                cut=self.cut,
                counted=self.counted,
            )
