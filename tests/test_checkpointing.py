"""A checkpoint is whole or absent, and what is wrong with one that cannot be used is told by name."""

import errno
import random
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lmlab import checkpointing
from lmlab.checkpointing import WholeCheckpoints, averaged, fault_of, load, manifest_of, newest_first, set_aside, sweep
from lmlab.errors import CheckpointError, DiskError

CONTENT = {"state_dict": {"weight": torch.arange(5000.0), "bias": torch.zeros(3)}, "facts": {"step": 7}}


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "step-00000007.ckpt"
    WholeCheckpoints().save_checkpoint(CONTENT, path)
    return path


def test_what_was_saved_is_loaded(saved):
    assert torch.equal(load(saved)["state_dict"]["weight"], torch.arange(5000.0))
    assert checkpointing.manifest(saved)["step"] == 7 and checkpointing.manifest(saved)["format"] == 1
    assert sorted(path.name for path in saved.parent.iterdir()) == [saved.name, manifest_of(saved).name]


def test_pointers_are_other_names_of_a_checkpoint(saved):
    files, pointer = WholeCheckpoints(), saved.with_name("last.ckpt")
    files.point(pointer, saved)
    files.point(pointer, saved)
    assert load(pointer)["facts"] == {"step": 7} and list(newest_first(saved.parent)) == [saved]


def test_the_average_is_of_the_last_validated_and_each_of_them_is_whole(tmp_path):
    weights = torch.rand(5, 1000).bfloat16()
    for step in range(5):
        content = {"state_dict": {"weight": weights[step], "count": torch.tensor(step)}, "facts": {"step": step}}
        for end in ("", "-validated"):
            WholeCheckpoints().save_checkpoint(content, tmp_path / f"step-0000000{step}{end}.ckpt")
    found = averaged(tmp_path, 3)
    assert torch.equal(found["state_dict"]["weight"], weights[2:].double().mean(0).bfloat16())
    assert found["state_dict"]["count"] == 4 and found["facts"] == {"step": 4}
    assert torch.equal(averaged(tmp_path, 1)["state_dict"]["weight"], weights[4])
    with pytest.raises(CheckpointError, match="kept 5 validated.*callbacks.checkpoint.keep_validated=6"):
        averaged(tmp_path, 6)
    (tmp_path / "step-00000003-validated.ckpt").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(CheckpointError, match="cut"):
        averaged(tmp_path, 2)


def test_of_two_checkpoints_of_one_step_the_validated_is_the_newer(tmp_path):
    names = ["step-00000008.ckpt", "step-00000007-validated.ckpt", "step-00000007.ckpt"]
    for name in reversed(names):
        (tmp_path / name).touch()
    assert [path.name for path in newest_first(tmp_path)] == names


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999])
def test_a_cut_checkpoint_is_never_loaded(saved, share):
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match="empty|cut: |not a checkpoint"):
        load(saved)


def test_a_flipped_bit_is_never_loaded(saved):
    whole, chance = saved.read_bytes(), random.Random(0)
    for _ in range(50):
        place, bit = chance.randrange(len(whole)), chance.randrange(8)
        saved.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
        assert "damaged" in fault_of(saved) or "not a checkpoint" in fault_of(saved)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>404", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "is a Git LFS pointer"),
        (b"\x80\x02}q\x00.", "not a checkpoint"),
    ],
)
def test_other_things_under_its_name_are_called_what_they_are(saved, content, said):
    saved.write_bytes(content)
    with pytest.raises(CheckpointError, match=said):
        load(saved)


def test_a_checkpoint_of_a_later_format_and_one_without_manifest_are_refused(saved):
    text = manifest_of(saved).read_text()
    manifest_of(saved).write_text(text.replace('"format": 1', '"format": 99'))
    with pytest.raises(CheckpointError, match="of format 99, this lmlab reads up to 1"):
        load(saved)
    manifest_of(saved).write_text(text[:30])
    with pytest.raises(CheckpointError, match="no manifest beside it"):
        load(saved)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load(saved.with_name("step-00000099.ckpt"))


class Bomb:
    def __reduce__(self):
        return (print, ("unpickled",))


def test_nothing_is_unpickled_from_outside(tmp_path, capsys):
    path = tmp_path / "step-00000001.ckpt"
    WholeCheckpoints().save_checkpoint({"state_dict": {}, "bomb": Bomb()}, path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load(path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        WholeCheckpoints().load_checkpoint(path, weights_only=False)
    assert "unpickled" not in capsys.readouterr().out


@pytest.mark.parametrize("moment", ["torch.save", "os.replace", "os.fsync"])
def test_a_failed_save_leaves_the_one_before_and_no_rubbish(saved, monkeypatch, moment):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    module, _, name = moment.partition(".")
    monkeypatch.setattr(getattr(checkpointing, module), name, full)
    later = saved.with_name("step-00000009.ckpt")
    with pytest.raises(DiskError, match="No space left on device .*step-00000009.ckpt"):
        WholeCheckpoints().save_checkpoint(CONTENT, later)
    monkeypatch.undo()
    assert list(newest_first(saved.parent)) == [saved] and fault_of(saved) is None
    assert not list(saved.parent.glob(".*"))


def test_a_full_disk_is_told_and_the_last_good_checkpoint_loads(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no permission to mount a small disk")
    try:
        files = WholeCheckpoints()
        files.save_checkpoint(CONTENT, disk / "step-00000001.ckpt")
        with pytest.raises(DiskError, match="No space left on device"):
            for step in range(2, 20):
                files.save_checkpoint(CONTENT, disk / f"step-{step:08d}.ckpt")
        assert all(fault_of(path) is None for path in newest_first(disk))
        assert torch.equal(load(disk / "step-00000001.ckpt")["state_dict"]["weight"], torch.arange(5000.0))
        assert not list(disk.glob(".*"))
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_what_a_killed_process_left_is_swept_and_the_unusable_set_aside(saved):
    (saved.parent / f".{saved.name}.partial").write_bytes(b"half")
    sweep(saved.parent)
    set_aside(saved)
    assert [path.name for path in saved.parent.iterdir()] == [f"{saved.name}.damaged"]


def test_weights_are_also_written_for_other_programs(tmp_path):
    tied = torch.randn(4, 3)
    WholeCheckpoints().save_weights({"embedding": tied, "output": tied}, tmp_path / "best.safetensors")
    assert torch.equal(load_file(tmp_path / "best.safetensors")["output"], tied)


def test_checkpoints_of_every_released_format_still_load(tmp_path):
    """tests/checkpoints holds one of each format, written by the lmlab that introduced it."""
    for path in (Path(__file__).parent / "checkpoints").glob("format-*.ckpt"):
        for file in (path, manifest_of(path)):
            shutil.copy(file, tmp_path)
        assert load(tmp_path / path.name)["state_dict"]["weight"].tolist() == [1.0, 2.0]
