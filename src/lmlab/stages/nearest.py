"""Three ways to the vectors that lie nearest: all of them compared, faiss, hnswlib."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from lmlab.errors import ConfigError, DataError

AT_ONCE = 2**16  # vectors that are read at one time
CANDIDATES = 100


class Exact:
    """Every vector is compared."""

    name: ClassVar[str | None] = None

    @classmethod
    def library(cls) -> ModuleType | None:
        """What the kind needs; ConfigError if it is not installed."""
        if cls.name is None:
            return None
        try:
            return importlib.import_module(cls.name)
        except ModuleNotFoundError:
            raise ConfigError(f"{cls.name} is not installed", "stage.index", "pip install 'lmlab[search]'") from None

    @classmethod
    def build(cls, folder: Path, vectors: np.ndarray, **options: Any) -> None:
        """Make the files that the search needs beside the vectors."""

    @classmethod
    def search(
        cls, folder: Path, vectors: np.ndarray, queries: np.ndarray, n: int, **options: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        cosines, rows = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        for first in range(0, len(vectors), AT_ONCE):
            part = queries @ vectors[first : first + AT_ONCE].T
            new = np.broadcast_to(np.arange(first, first + part.shape[1]), part.shape)
            cosines, rows = best(np.hstack((cosines, part)), np.hstack((rows, new)), n)
        return cosines, rows


class Faiss(Exact):
    """An index by faiss (Douze et al., 2024), of the kind that `factory` names; what it finds is compared exactly."""

    name = "faiss"

    @classmethod
    def build(cls, folder: Path, vectors: np.ndarray, factory: str = "SQ8", **options: Any) -> None:
        faiss: Any = cls.library()
        try:
            index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
            index.train(np.ascontiguousarray(vectors[: 4 * AT_ONCE]))
        except RuntimeError as error:
            what = str(error).strip().splitlines()[-1]
            raise ConfigError(f"faiss cannot make '{factory}': {what}", "stage.factory", "Try SQ8 or Flat") from None
        for first in range(0, len(vectors), AT_ONCE):
            index.add(np.ascontiguousarray(vectors[first : first + AT_ONCE]))
        faiss.write_index(index, str(folder / "index.faiss"))

    @classmethod
    def search(
        cls,
        folder: Path,
        vectors: np.ndarray,
        queries: np.ndarray,
        n: int,
        candidates: int = CANDIDATES,
        parameters: str | None = None,
        **options: Any,
    ) -> tuple[np.ndarray, np.ndarray]:
        faiss: Any = cls.library()
        try:
            index = faiss.read_index(str(folder / "index.faiss"))
            if parameters:
                faiss.ParameterSpace().set_index_parameters(index, parameters)
        except RuntimeError as error:
            what = str(error).strip().splitlines()[-1]
            raise DataError(
                f"faiss: {what}", str(folder), "Correct stage.parameters, or make the index again"
            ) from None
        rows = index.search(np.ascontiguousarray(queries), min(max(n, candidates), len(vectors)))[1]
        return compared(vectors, queries, rows, n)


class Hnsw(Exact):
    """A graph of neighbours by hnswlib (Malkov and Yashunin, 2018); what it finds is compared exactly."""

    name = "hnswlib"

    @classmethod
    def build(cls, folder: Path, vectors: np.ndarray, links: int = 32, **options: Any) -> None:
        graph = cls.library().Index(space="ip", dim=vectors.shape[1])  # type: ignore[union-attr]
        graph.init_index(max_elements=len(vectors), M=links, ef_construction=200, random_seed=0)
        for first in range(0, len(vectors), AT_ONCE):
            graph.add_items(vectors[first : first + AT_ONCE])
        graph.save_index(str(folder / "index.hnsw"))

    @classmethod
    def search(
        cls,
        folder: Path,
        vectors: np.ndarray,
        queries: np.ndarray,
        n: int,
        candidates: int = CANDIDATES,
        **options: Any,
    ) -> tuple[np.ndarray, np.ndarray]:
        graph = cls.library().Index(space="ip", dim=vectors.shape[1])  # type: ignore[union-attr]
        try:
            graph.load_index(str(folder / "index.hnsw"))
        except RuntimeError as error:
            raise DataError(f"hnswlib: {error}", str(folder), "Make the index again") from None
        wanted = min(max(n, candidates), len(vectors))
        graph.set_ef(wanted)
        return compared(vectors, queries, graph.knn_query(queries, k=wanted)[0].astype(np.int64), n)


def best(cosines: np.ndarray, rows: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The `n` highest of each line and their rows, the highest first; of equal ones the first row."""
    order = np.lexsort((rows, -cosines), axis=1)[:, :n] if cosines.shape[1] <= 4 * n else None
    if order is None:
        some = np.argpartition(-cosines, n - 1, axis=1)[:, :n]
        cosines, rows = np.take_along_axis(cosines, some, 1), np.take_along_axis(rows, some, 1)
        order = np.lexsort((rows, -cosines), axis=1)
    return np.take_along_axis(cosines, order, 1), np.take_along_axis(rows, order, 1)


def compared(vectors: np.ndarray, queries: np.ndarray, rows: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The `n` nearest of the candidates that an approximate search has found; -1 stands for none."""
    cosines = np.stack([vectors[np.maximum(some, 0)] @ query for some, query in zip(rows, queries, strict=True)])
    return best(np.where(rows < 0, -np.inf, cosines).astype(np.float32), rows, n)


KINDS: dict[str, type[Exact]] = {"exact": Exact, "faiss": Faiss, "hnsw": Hnsw}
