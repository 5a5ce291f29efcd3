"""A folder of finished entries, each made once however many processes ask for it."""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from lmlab.errors import DiskError

LAYOUT = 2  # part of every key: raise it when what an entry holds, or how it is made, changes


def digest(key: dict) -> str:
    """The name under which the cache files `key`, a dict of plain types."""
    text = json.dumps(key | {"layout": LAYOUT}, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def entry(root: Path, kind: str, key: dict, build: Callable[[Path], None]) -> Path:
    """The folder that `build` filled for `key`, now or earlier; it is whole or absent, never half-written."""
    folder = root / kind / digest(key)
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not folder.is_dir():
                _fill(folder, key, build)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        fix = "Free some space, or name another folder with cache="
        raise DiskError(f"the cache cannot be written: {error.strerror}", str(root), fix) from error
    return folder


def _fill(folder: Path, key: dict, build: Callable[[Path], None]) -> None:
    for stale in folder.parent.glob(f"{folder.name}.*.partial"):  # of a process that died: we hold its lock
        shutil.rmtree(stale, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".partial", dir=folder.parent))
    try:
        build(partial)
        (partial / "key.json").write_text(json.dumps(key, indent=1, ensure_ascii=False), encoding="utf-8")
        partial.chmod(0o755)
        for file in partial.iterdir():
            with file.open("rb") as written:
                os.fsync(written.fileno())  # the name must not outlive a crash that the content does not
        os.replace(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
