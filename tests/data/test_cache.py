import errno
from concurrent.futures import ThreadPoolExecutor

import pytest

from lmlab.data.cache import entry
from lmlab.errors import DiskError


def test_an_entry_is_built_once_however_many_ask(tmp_path):
    built = []

    def build(folder):
        built.append(folder)
        (folder / "x").write_text("content")

    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(lambda _: entry(tmp_path, "rows", {"a": 1}, build), range(8)))
    assert len(built) == 1
    assert len(set(folders)) == 1
    assert (folders[0] / "x").read_text() == "content"
    assert entry(tmp_path, "rows", {"a": 2}, build) != folders[0]


def test_a_failed_build_leaves_nothing(tmp_path):
    def build(folder):
        (folder / "x").write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        entry(tmp_path, "rows", {"a": 1}, build)
    assert not [path for path in (tmp_path / "rows").iterdir() if path.is_dir()]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_full_or_closed_disk_is_told(tmp_path, number):
    def build(folder):
        raise OSError(number, "no")

    with pytest.raises(DiskError, match="the cache cannot be written"):
        entry(tmp_path, "rows", {"a": 1}, build)
