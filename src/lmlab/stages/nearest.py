"""Three ways to the vectors that lie nearest: all of them compared, faiss, hnswlib."""

import importlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from lmlab.errors import ConfigError, DataError

AT_ONCE = 2**16  # vectors that are read at one time
CANDIDATES = 100
FILES = FAISS, HNSW = "index.faiss", "index.hnsw"


class Exact:
    """Every vector is compared with a query; files in the folder, where there are some, are those of `build`."""

    package: ClassVar[str | None] = None

    def __init__(self, folder: Path, vectors: np.ndarray) -> None:
        self.vectors = vectors

    @classmethod
    def library(cls) -> Any:
        """The package that the kind needs; ConfigError if it is not installed."""
        if cls.package is None:
            return None
        try:
            return importlib.import_module(cls.package)
        except ModuleNotFoundError:
            fix = "pip install 'lmlab[search]'"
            raise ConfigError(f"{cls.package} is not installed", "stage.index", fix) from None

    @classmethod
    def build(cls, folder: Path, vectors: np.ndarray, **options: Any) -> None:
        """Make what the search needs beside the vectors."""

    def search(self, queries: np.ndarray, n: int, **options: Any) -> tuple[np.ndarray, np.ndarray]:
        """(cosines, rows) of the `n` nearest, both (B, n), the nearest first; vectors and queries are of length 1."""
        cosines, rows = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        for first in range(0, len(self.vectors), AT_ONCE):
            part = queries @ self.vectors[first : first + AT_ONCE].T
            new = np.broadcast_to(np.arange(first, first + part.shape[1]), part.shape)
            cosines, rows = best(np.hstack((cosines, part)), np.hstack((rows, new)), n)
        return cosines, rows


class Faiss(Exact):
    """An index by faiss (Douze et al., 2024), of the kind that `factory` names; what it finds is compared exactly."""

    package = "faiss"

    def __init__(self, folder: Path, vectors: np.ndarray) -> None:
        super().__init__(folder, vectors)
        try:
            self.index = self.library().read_index(str(folder / FAISS))
        except RuntimeError as error:
            raise DataError(f"faiss: {told(error)}", str(folder), "Make the index again: stage=index") from None

    @classmethod
    def build(cls, folder: Path, vectors: np.ndarray, factory: str = "SQ8", **options: Any) -> None:
        faiss = cls.library()
        try:
            index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
            index.train(np.ascontiguousarray(vectors[: 4 * AT_ONCE]))
        except RuntimeError as error:
            what = f"faiss cannot make '{factory}' of these vectors: {told(error)}"
            raise ConfigError(what, "stage.factory", "Try SQ8 or Flat") from None
        for first in range(0, len(vectors), AT_ONCE):
            index.add(np.ascontiguousarray(vectors[first : first + AT_ONCE]))
        faiss.write_index(index, str(folder / FAISS))

    def search(
        self, queries: np.ndarray, n: int, candidates: int = CANDIDATES, parameters: str | None = None, **options: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        if parameters:
            try:
                self.library().ParameterSpace().set_index_parameters(self.index, parameters)
            except RuntimeError as error:
                raise ConfigError(f"faiss: {told(error)}", f"stage.parameters={parameters}", "Try nprobe=32") from None
        if (wanted := max(n, candidates)) >= len(self.vectors):
            return super().search(queries, n)
        return compared(self.vectors, queries, self.index.search(np.ascontiguousarray(queries), wanted)[1], n)


class Hnsw(Exact):
    """A graph of neighbours by hnswlib (Malkov and Yashunin, 2018); what it finds is compared exactly."""

    package = "hnswlib"

    def __init__(self, folder: Path, vectors: np.ndarray) -> None:
        super().__init__(folder, vectors)
        self.graph = self.library().Index(space="ip", dim=vectors.shape[1])
        try:
            self.graph.load_index(str(folder / HNSW))
        except RuntimeError as error:
            raise DataError(f"hnswlib: {told(error)}", str(folder), "Make the index again: stage=index") from None

    @classmethod
    def build(cls, folder: Path, vectors: np.ndarray, links: int = 32, **options: Any) -> None:
        graph = cls.library().Index(space="ip", dim=vectors.shape[1])
        graph.init_index(max_elements=len(vectors), M=links, ef_construction=200, random_seed=0)
        for first in range(0, len(vectors), AT_ONCE):
            graph.add_items(vectors[first : first + AT_ONCE])
        graph.save_index(str(folder / HNSW))

    def search(
        self, queries: np.ndarray, n: int, candidates: int = CANDIDATES, **options: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        if (wanted := max(n, candidates)) >= len(self.vectors):
            return super().search(queries, n)
        self.graph.set_ef(wanted)
        return compared(self.vectors, queries, self.graph.knn_query(queries, k=wanted)[0].astype(np.int64), n)


def told(error: RuntimeError) -> str:
    """The last line of what a library of C++ says."""
    return str(error).strip().splitlines()[-1]


def best(cosines: np.ndarray, rows: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The `n` highest of each line and their rows, the highest first; of equal ones the first row."""
    if cosines.shape[1] > 4 * n:  # sorting all of them would take longer than comparing did
        some = np.argpartition(-cosines, n - 1, axis=1)[:, :n]
        cosines, rows = np.take_along_axis(cosines, some, 1), np.take_along_axis(rows, some, 1)
    order = np.lexsort((rows, -cosines), axis=1)[:, :n]
    return np.take_along_axis(cosines, order, 1), np.take_along_axis(rows, order, 1)


def compared(vectors: np.ndarray, queries: np.ndarray, rows: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The `n` nearest of the candidates that an approximate search has found; -1 stands for none."""
    cosines = np.stack([vectors[np.maximum(some, 0)] @ query for some, query in zip(rows, queries, strict=True)])
    return best(np.where(rows < 0, -np.inf, cosines).astype(np.float32), rows, n)


KINDS: dict[str, type[Exact]] = {"exact": Exact, "faiss": Faiss, "hnsw": Hnsw}
