"""Checkpoint files that are whole or absent: how they are written, told apart, and read (RELIABILITY, section 3)."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from safetensors.torch import save

from lmlab.errors import CheckpointError, DiskError
from lmlab.names import VALIDATED

FORMAT = 1  # of what a checkpoint holds; raised when an older reader could not understand it
TEMPORARY = ".partial"


class WholeCheckpoints(CheckpointIO):
    """Writes to a temporary name beside the file, to the disk, then under its name; a manifest with size and sha256
    comes last, so that a checkpoint without one is known to be unfinished."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        path = Path(path)
        facts = {"format": FORMAT, **checkpoint.get("facts", {})}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            facts |= written(path, lambda file: torch.save(checkpoint, file))
            text = json.dumps(facts, indent=2) + "\n"
            written(manifest_of(path), lambda file: file.write(text.encode()))
        except OSError as error:
            self.remove_checkpoint(path)
            raise DiskError(
                f"the checkpoint could not be written: {error.strerror}",
                str(path),
                "Free space or mend the folder, then go on from the checkpoint before it with resume=",
            ) from error

    def save_weights(self, weights: Mapping[str, torch.Tensor], path: Path) -> None:
        """The bare weights as safetensors, for other programs; tied tensors are written once for each name."""
        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
        written(path, lambda file: file.write(save(tensors)))

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """The verified content; `weights_only=False` is not on offer."""
        return load(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        for file in (manifest_of(Path(path)), Path(path)):  # the manifest first: never one without its file
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)

    def point(self, pointer: Path, path: Path) -> None:
        """Make `pointer` (best.ckpt, last.ckpt) another name of a checkpoint in the same folder."""
        temporary = pointer.with_name(f".{pointer.name}{TEMPORARY}")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(path.name)
        os.replace(temporary, pointer)


class Stream:
    """A file that is hashed as it is written, and remembers why it could not be: torch's writer tells nothing of it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.hash, self.size = file, hashlib.sha256(), 0
        self.error: OSError | None = None

    def write(self, part: Any) -> int:
        try:
            self.file.write(part)
        except OSError as error:
            self.error = error
            raise
        self.hash.update(part)
        self.size += memoryview(part).nbytes
        return memoryview(part).nbytes

    def flush(self) -> None:
        self.file.flush()


def written(path: Path, write: Callable[[Any], Any]) -> dict[str, Any]:
    """Let `write` fill a temporary file, bring it to the disk, and give it its name in one step; its size and hash."""
    temporary = path.with_name(f".{path.name}{TEMPORARY}")
    try:
        with temporary.open("wb") as file:
            stream = Stream(file)
            try:
                write(stream)
            except RuntimeError as error:
                raise stream.error or error from error
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    return {"size": stream.size, "sha256": stream.hash.hexdigest()}


def manifest_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load(path: Path) -> dict[str, Any]:
    """The content of a checkpoint; CheckpointError says what is wrong with one that cannot be used."""
    path = path.resolve()
    if fault := fault_of(path):
        raise CheckpointError(fault, str(path), "Restore it, or use another one")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        content["state_dict"]
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise CheckpointError(f"the checkpoint cannot be read: {reason}", str(path), "Use another one") from error
    return content


def another_kind(path: Path) -> str | None:
    """What stands in the place of a file of weights that was not fetched as it should have been."""
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    if not path.stat().st_size:
        return "the file is empty"
    if start.startswith(b"version https://git-lfs"):
        return "the file is a Git LFS pointer, not the one it points to"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "the file is a web page"
    return None


def fault_of(path: Path) -> str | None:
    """What is wrong with a checkpoint file, told without unpickling it; None if it is what its manifest says."""
    if not path.is_file():
        return "there is no such checkpoint"
    facts, size = manifest(path), path.stat().st_size
    if other := another_kind(path):
        return other
    with path.open("rb") as file:
        if file.read(4).lower() != b"pk\x03\x04":
            return "this is not a checkpoint"
    if facts is None:
        return "the checkpoint has no manifest beside it: it was not finished, or was copied without"
    if facts.get("format", 0) > FORMAT:
        return f"the checkpoint is of format {facts['format']}, this lmlab reads up to {FORMAT}"
    if size != facts["size"]:
        return f"the checkpoint is {'cut' if size < facts['size'] else 'too long'}: {size} of {facts['size']} bytes"
    if sha256(path) != facts["sha256"]:
        return "the checkpoint is damaged: its sha256 is not that of its manifest"
    return None


def manifest(path: Path) -> dict[str, Any] | None:
    """What was written down of a checkpoint when it was finished.

    A copy of the run may hold a file where best.ckpt was a link (`scp -r` follows links): it is known by its content.
    """
    if (facts := written_down(manifest_of(path))) or not path.is_file():
        return facts
    others = [facts for file in path.parent.glob("*.ckpt.json") if (facts := written_down(file))]
    digest = sha256(path) if others else None
    return next((facts for facts in others if facts["sha256"] == digest), None)


def written_down(file: Path) -> dict[str, Any] | None:
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        return facts if {"size", "sha256"} <= facts.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def newest_first(folder: Path) -> Iterator[Path]:
    """The checkpoints of a run from the last saved to the first, by their names; pointers are not among them.

    Of two from one step the validated one is the later.
    """
    found = (path for path in folder.glob("step-*.ckpt") if not path.is_symlink())
    yield from sorted(found, key=lambda path: path.stem, reverse=True)


def averaged(folder: Path, n: int) -> dict[str, Any]:
    """The last validated checkpoint with the mean weights of the last `n` (Vaswani et al., 2017, section 6.1).

    What is no floating number (a count, a key) is the last one's.
    """
    validated = [path for path in newest_first(folder) if path.stem.endswith(VALIDATED)]
    if len(validated) < n:
        what = f"average={n}: the run has kept {len(validated)} validated checkpoints"
        fix = f"Take fewer, or train with callbacks.checkpoint.keep_validated={n}"
        raise CheckpointError(what, str(folder), fix)
    content = load(validated[0])
    last = content["state_dict"]
    total = {name: tensor.double() for name, tensor in last.items() if tensor.is_floating_point()}
    for path in validated[1:n]:
        weights = load(path)["state_dict"]
        total = {name: tensor + weights[name].double() for name, tensor in total.items()}
    mean = {name: (tensor / n).to(last[name].dtype) for name, tensor in total.items()}
    return content | {"state_dict": last | mean}


def sweep(folder: Path) -> None:
    """Remove what a killed process was writing."""
    for file in folder.glob(f".*{TEMPORARY}"):
        file.unlink(missing_ok=True)


def set_aside(path: Path) -> None:
    """Keep an unusable checkpoint for whoever wants to look at it, under a name that nothing reads."""
    manifest_of(path).unlink(missing_ok=True)
    os.replace(path, path.with_name(f"{path.name}.damaged"))


def differences(then: Mapping[str, torch.Tensor], now: Mapping[str, torch.Tensor]) -> list[str]:
    """What keeps the weights of one model from being those of another, in words."""
    told = []
    for name in dict.fromkeys((*then, *now)):
        before, after = (tuple(weights[name].shape) if name in weights else None for weights in (then, now))
        if before != after:
            told.append(f"{name} {before or 'absent'} then, {after or 'absent'} now")
    return told
