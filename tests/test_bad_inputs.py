"""Each row of RELIABILITY section 4: the exit code, one line that says what, where and what to do, and no traceback."""

import re
import shutil
import signal
import socket
import subprocess
import sys

import pytest

import run as front
from jobs import TINY, write_reviews
from lmlab.checkpointing import load, newest_first

GOOD = "text,label\n" + "".join(f"a film number {row},{'no' if row % 2 else 'yes'}\n" for row in range(40))
CHECK = ["stage=check", "data=text_files", *TINY]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run on reviews/, made by this process."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("trained")
        patch.chdir(home)
        patch.setattr(sys, "argv", ["src/run.py"])
        write_reviews(home / "reviews")
        saving = "callbacks.checkpoint.every_n_steps=3"
        assert front.main(["data=text_files", "data.path=reviews", "run.id=one", "logger=csv", saving, *TINY]) == 0
    return home


@pytest.fixture
def answer(tmp_path, monkeypatch, capsys):
    """`python src/run.py ...` in this process: its exit code, and what it said."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["src/run.py"])
        code = front.main(arguments)
        told, said = capsys.readouterr()
        assert "Traceback" not in said and said.count("error: ") == (code != 0)
        assert code == 0 or said.splitlines()[-1].startswith("error: ")
        return code, said + told

    yield call
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def copy(trained, tmp_path):
    """The finished run in the folder of this test, and unfinished, as a killed one is."""
    shutil.copytree(trained, tmp_path, symlinks=True, dirs_exist_ok=True)
    run = tmp_path / "outputs" / "transformer-text_files" / "one"
    manifest = run / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"finished"', '"preempted"'))
    return run


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["model=transfomer"], 2, "Did you mean transformer?"),
        (["model.network.d_modle=3"], 2, "Did you mean model.network.d_model (whole number >= 1, default 128)"),
        (["model.network.d_model=abc"], 2, "model.network.d_model: whole number >= 1 expected, got 'abc'"),
        (["model.network.d_model=-4"], 2, "model.network.d_model: whole number >= 1 expected, got -4"),
        (["trainer.max_epochs="], 2, "trainer.max_epochs"),
        (["optimizer.lr=nan"], 2, "optimizer.lr: number > 0 expected, got nan"),
        (["seed=1", "seed=2"], 2, "seed is given twice, as '1' and as '2'"),
        (["model.network.d_model=65", "model.network.n_heads=4"], 2, "65 is not divisible by"),
        (["data.api_key=x"], 2, "looks like a secret"),
        (["run.id=../../away"], 2, "run.id"),
        (["trainer=gpu", "data=bbc_news"], 2, "no GPU is visible"),
        (["trainer.devices=4", "data=bbc_news"], 2, "4 devices need a strategy"),
        (["data=text_files", "data.path=nowhere.csv"], 66, "nowhere.csv"),
        (["data.source=hub", "data.hub=no/such_corpus"], 66, "no/such_corpus"),
        (["stage=test", "run=nowhere"], 66, "a run folder holds"),
        (["resume=nowhere"], 66, "no run folder nowhere"),
    ],
)
def test_a_wrong_command_line(answer, arguments, code, said):
    got, line = answer(*arguments)
    assert got == code and said in line, line


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", "", "t.csv is empty"),
        ("t.csv", "text,label\n", "t.csv has 0 rows"),
        ("t.csv", "text,label\na,0\nb,c,1\n", "line 3: 2 columns expected (text, label), found 3"),
        ("t.csv", 'text,label\na,0\n"b,1\nc,1\n', "line 3: an open quotation mark"),
        ("t.jsonl", '{"text": "a", "label": 0}\n{"text": "b",\n', "line 2, column 14: JSON"),
        ("t.parquet", b"PAR1 and then nothing", "not a whole parquet file"),
        ("t.csv", GOOD + "one more,7\n", "label"),
        ("t.jsonl", '{"text": "a", "label": 0}\n{"text": "b", "label": "x"}\n', "line 2"),
        ("t.csv", GOOD.replace("film", "café").encode("latin-1"), "Set data.encoding=latin-1"),
        ("t.csv", GOOD.encode("utf-16"), "Set data.encoding=utf-16"),
        ("t.csv", GOOD.replace("text,", "txt,"), "column 'text' not found; the file has: txt, label"),
        ("t.csv", GOOD + " ,yes\n" * 30, "30 of 70"),
        ("t.csv", GOOD.replace("no\n", "yes\n"), "yes"),
    ],
)
def test_a_wrong_file(answer, tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    code, line = answer(*CHECK, f"data.path={name}")
    assert code == 65 and said in line, line


def test_a_label_of_the_test_rows_that_training_has_not(answer, tmp_path):
    (tmp_path / "train.csv").write_text(GOOD)
    (tmp_path / "test.csv").write_text("text,label\nwell,maybe\n")
    code, line = answer(*CHECK, "data.path=.")
    assert code == 65 and "maybe" in line and "test.csv line 2" in line and "no, yes" in line


@pytest.mark.parametrize(
    ("content", "arguments", "said"),
    [
        (b"\xef\xbb\xbf" + GOOD.encode(), [], ""),
        (GOOD.encode() + b" ,yes\n", [], r"blank_dropped +│ 1"),
        (GOOD.encode() + b"long " * 300 + b",yes\n", ["data.max_length=8"], r"truncated +│ .*0\.0\d"),
    ],
)
def test_what_is_counted_and_goes_on(answer, tmp_path, content, arguments, said):
    (tmp_path / "t.csv").write_bytes(content)
    code, told = answer(*CHECK, "data.path=t.csv", *arguments)
    assert code == 0 and re.search(said, told), told


def test_rows_that_training_and_test_share(answer, tmp_path):
    (tmp_path / "train.csv").write_text(GOOD)
    (tmp_path / "test.csv").write_text("text,label\na film number 3,no\nanother film,yes\n")
    code, told = answer(*CHECK, "data.path=.")
    assert (
        code == 0
        and "warning: 1 test texts also stand in the training split" in told
        and re.search(r"shared_train_test +│ 1", told)
    ), told


def test_a_global_batch_that_the_processes_do_not_divide(answer, tmp_path):
    write_reviews(tmp_path / "reviews")
    code, line = answer(*CHECK, "data.path=reviews", "trainer=ddp", "trainer.devices=20")
    assert code == 2 and "rows cannot be shared by 20 processes" in line, line


def damaged(name):
    """The content of a checkpoint after what can become of a file."""
    return {
        "empty": lambda content: b"",
        "cut": lambda content: content[:-100],
        "damaged": lambda content: content[:9000] + bytes([content[9000] ^ 1]) + content[9001:],
        "web page": lambda content: b"<!DOCTYPE html><title>404</title>",
        "Git LFS pointer": lambda content: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    }[name]


@pytest.mark.parametrize("kind", ["empty", "cut", "damaged", "web page", "Git LFS pointer"])
def test_an_unusable_checkpoint_is_named_and_the_one_before_it_taken(answer, copy, kind):
    last, before = list(newest_first(copy / "checkpoints"))[:2]
    last.write_bytes(damaged(kind)(last.read_bytes()))
    code, said = answer(f"resume={copy}")
    assert code == 0 and kind in said and last.name in said
    assert f"going on from step {int(before.name[5:13])} " in said


def test_no_checkpoint_is_usable_for_a_test(answer, copy):
    best = (copy / "checkpoints" / "best.ckpt").resolve()
    best.write_bytes(best.read_bytes()[:-1])
    code, line = answer("stage=test", f"run={copy}")
    assert code == 76 and "the checkpoint is cut" in line and best.name in line


def test_a_checkpoint_of_another_model(answer, copy):
    code, line = answer("stage=test", f"run={copy}", "model.network.d_ff=48")
    assert code == 76 and "of another model" in line and line.count(" then, ") == 3, line
    code, line = answer(f"resume={copy}", "model.network.d_ff=48")
    assert code == 2 and "model.network.d_ff: 32 then, 48 now" in line


def test_another_tokenizer_than_the_checkpoints(answer, copy):
    tokenizer = copy / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"film"', '"movie"'))
    code, line = answer(f"resume={copy}")
    assert code == 76 and "tokenizer.fingerprint" in line and " then, " in line, line


def test_a_token_that_the_model_has_no_row_for(answer, copy):
    given = [f"tokenizer.path={copy}/tokenizer.json", "tokenizer.vocab_size=20", "data.path=reviews"]
    code, line = answer("stage=check", "data=text_files", "tokenizer=word", *given)
    assert code == 2 and "entries, the model 20 rows" in line, line


def test_an_output_folder_that_cannot_be(answer, tmp_path):
    write_reviews(tmp_path / "reviews")
    (tmp_path / "file").touch()
    code, line = answer("data=text_files", "data.path=reviews", *TINY, "run.output=file/outputs")
    assert code == 74 and "file/outputs" in line and "run.output=" in line


def test_a_folder_that_becomes_read_only_ends_the_run_with_its_last_good_checkpoint(answer, copy):
    if subprocess.run(["mount", "--bind", copy, copy], capture_output=True).returncode:
        pytest.skip("no permission to mount")
    newest = next(newest_first(copy / "checkpoints"))
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", copy], check=True)
        code, line = answer(f"resume={copy}")
    finally:
        subprocess.run(["umount", "-l", copy], check=True)
    assert code == 74 and "Read-only file system" in line
    assert load(newest)["facts"]["step"] > 1


def test_a_port_that_is_taken(answer, tmp_path, monkeypatch):
    write_reviews(tmp_path / "reviews")
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("MASTER_PORT", str(server.getsockname()[1]))
        code, line = answer("data=text_files", "data.path=reviews", *TINY, "trainer=ddp")
    assert code == 1 and "port" in line, line
