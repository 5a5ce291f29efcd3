"""A folder of texts and their vectors, which knows the model that made them."""

import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lmlab import checkpointing
from lmlab.data.ragged import Ragged, RaggedWriter
from lmlab.errors import CheckpointError, ConfigError, DataError, InputMissing
from lmlab.experiment import Experiment
from lmlab.run_directory import replace
from lmlab.stages import nearest

FORMAT = 1
MANIFEST, VECTORS, TEXTS = "index.json", "vectors.npy", "texts"


class VectorIndex:
    """What `write` left in a folder: unit vectors (N, D), mapped from disk, and the text of each."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.facts = folder, manifest(folder)
        try:
            self.vectors: np.ndarray = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False).view(np.ndarray)
            self.texts = Ragged.load(folder, TEXTS)
        except (OSError, ValueError) as error:
            raise DataError(f"the index is not whole: {error}", str(folder), "Make it again with stage=index") from None
        shape = (self.facts["rows"], self.facts["width"])
        if self.vectors.shape != shape or len(self.texts) != shape[0]:
            what = f"the index is not whole: vectors {self.vectors.shape}, {len(self.texts)} texts, expected {shape}"
            raise DataError(what, str(folder), "Make it again with stage=index")

    @cached_property
    def kind(self) -> nearest.Exact:
        return nearest.KINDS[self.facts["kind"]](self.folder, self.vectors)

    def search(self, queries: np.ndarray, n: int, **options: Any) -> tuple[np.ndarray, np.ndarray]:
        """(cosines, rows), both (B, n), the nearest first, of queries of length 1; `options` are those of the kind."""
        return self.kind.search(queries, min(n, len(self.texts)), **options)

    def refuse_other(self, model: str) -> None:
        """Raises CheckpointError if another model made the vectors than that which a query's is made with."""
        if self.facts["model"] != model:
            what = f"the index was made by another model, of {self.facts['run']}"
            raise CheckpointError(what, str(self.folder), "Search it with run= that one, or make it again: stage=index")


def manifest(folder: Path) -> dict[str, Any]:
    file = folder / MANIFEST
    if not file.is_file():
        raise InputMissing(
            "there is no index", str(folder), "Make one: stage=index run=<run folder> stage.input=texts.txt"
        )
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        known = facts["format"] == FORMAT and facts["kind"] in nearest.KINDS
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise DataError("this is not an index that this lmlab reads", str(file), "Make it again with stage=index")
    return facts


def write(
    folder: Path, parts: Iterable[tuple[list[str], np.ndarray]], kind: str, told: dict[str, Any], **options: Any
) -> dict[str, Any]:
    """Fill a folder with texts and their vectors as they come; the manifest, without which it is none, comes last."""
    nearest.KINDS[kind].library()  # what is missing is told before anything is made
    folder.mkdir(parents=True, exist_ok=True)
    for left in (MANIFEST, *nearest.FILES):  # of an index that was here before
        (folder / left).unlink(missing_ok=True)
    n_rows = 0
    header: dict[str, Any] = {"descr": "<f4", "fortran_order": False}
    with (folder / VECTORS).open("wb") as file, RaggedWriter(folder, TEXTS, np.uint8) as texts:
        for group, vectors in parts:
            if not n_rows:
                np.lib.format.write_array_header_1_0(file, header | {"shape": (0, vectors.shape[1])})
            raw = [text.encode("utf-8", "surrogatepass") for text in group]
            texts.add(np.frombuffer(b"".join(raw), np.uint8), [len(text) for text in raw])
            np.asarray(vectors, "<f4").tofile(file)
            n_rows += len(group)
        if not n_rows:
            raise DataError("there is no text to index", str(told["input"]), "Give a file with texts")
        file.seek(0)  # numpy leaves room in the header for the length to grow
        np.lib.format.write_array_header_1_0(file, header | {"shape": (n_rows, vectors.shape[1])})
    made = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
    nearest.KINDS[kind].build(folder, made, **options)
    facts = {"format": FORMAT, "kind": kind, "rows": n_rows, "width": vectors.shape[1], **told}
    replace(folder / MANIFEST, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    return facts


def model_of(experiment: Experiment, checkpoint: str) -> str:
    """What tells the weights apart that make vectors: the hash of their checkpoint, and of how many they are a mean."""
    path = experiment.run.checkpoints / checkpoint
    if not path.exists():
        raise CheckpointError("the run has no such checkpoint", str(path), "Finish its stage=fit first")
    facts = checkpointing.manifest(path.resolve()) or {"sha256": checkpointing.sha256(path)}
    average = experiment.config.get("average")
    return facts["sha256"] + (f" average={average}" if average else "")


def folder_of(experiment: Experiment, given: str | None) -> Path:
    return Path(given).expanduser() if given else experiment.run.path / "index"


def cut(vectors: np.ndarray, width: int | None) -> np.ndarray:
    """The first `width` numbers of vectors, of length 1 again."""
    if width is not None and width > vectors.shape[1]:
        raise ConfigError(f"stage.width={width} is more than the {vectors.shape[1]} numbers of a vector")
    part = vectors[:, :width]
    return part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12)
