"""The command line as a user meets it: real processes, exit codes, one line on stderr."""

import subprocess
import sys

import pytest

from jobs import ROOT, lmlab


def one_line(done: subprocess.CompletedProcess) -> str:
    """What was said on stderr, which must be one line that begins as all errors do."""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and "Traceback" not in done.stderr and done.stdout == ""
    return line


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["model=transfomer"], 2, "Did you mean transformer?"),
        (["model.network.d_modle=3"], 2, "Did you mean model.network.d_model (whole number >= 1, default"),
        (["model.d_model=3"], 2, "Did you mean model.network.d_model (whole number >= 1, default"),
        (
            ["model=lstm", "model.lora_rank=8"],
            2,
            "model.lora_rank is not in this config (command line). These have it: ",
        ),
        (
            ["model.network.d_model=abc"],
            2,
            "model.network.d_model: whole number >= 1 expected, got 'abc' (command line)",
        ),
        (["seed=1", "seed=2"], 2, "seed is given twice, as '1' and as '2' (command line). Remove seed=1 or seed=2."),
        (["data.path=a=b"], 2, "two pairs of quotes"),
        (["tokenizer.vocab_size=${nope}"], 2, "nope"),
        (["seed=日本"], 2, "seed=日本 cannot be read (command line)"),
        (["stage=test", "run=nowhere"], 66, "a run folder holds config.yaml, manifest.json"),
    ],
)
def test_a_mistake_is_answered_in_one_line(arguments, code, said, tmp_path):
    done = lmlab(*arguments, cwd=tmp_path, check=False)
    assert done.returncode == code and said in one_line(done)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [["--help"], ["model=transfomer"], ["model.d_model=3"], ["seed=-1"]])
def test_answers_come_before_torch(arguments, tmp_path):
    command = [sys.executable, "-X", "importtime", str(ROOT / "src" / "run.py"), *arguments]
    imports = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stderr
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in imports.splitlines() if "|" in line}
    assert "lmlab" in imported and not imported & {"torch", "lightning", "numpy", "pandas", "wandb"}


def test_help_names_groups_examples_and_exit_codes(tmp_path):
    said = lmlab("--help", cwd=tmp_path).stdout
    for word in ("transformer", "imdb", "trainer", "stage=predict", "exit codes", "130 Ctrl-C"):
        assert word in said


def test_a_sweep_is_refused_before_its_first_job(tmp_path):
    done = lmlab("-m", "optimizer.lr=0.1,-1", cwd=tmp_path, check=False)
    assert done.returncode == 2 and "got -1" in one_line(done)


def test_a_sweep_answers_each_job_and_fails_as_a_whole(tmp_path):
    done = lmlab("-m", "seed=-1,-2", cwd=tmp_path, check=False)
    assert done.returncode == 2 and done.stderr.count("error: seed: whole number from 0 to 4294967295 expected") == 2
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == ["sweeps"]
    (table,) = tmp_path.glob("outputs/sweeps/*/sweep.csv")
    assert table.read_text().count(",failed,2,") == 2


def test_a_sweep_may_stop_at_its_first_failure(tmp_path):
    done = lmlab("-m", "seed=-1,-2", "sweep.on_error=stop", "sweep.name=short", cwd=tmp_path, check=False)
    assert done.returncode == 2 and done.stderr.count("error: ") == 1
    assert len((tmp_path / "outputs/sweeps/short/sweep.csv").read_text().splitlines()) == 2


def test_a_traceback_only_when_asked(tmp_path):
    done = lmlab("debug=true", "seed=-1", cwd=tmp_path, check=False)
    assert done.returncode == 2 and "Traceback" in done.stderr
    assert (
        done.stderr.splitlines()[-1]
        == "error: seed: whole number from 0 to 4294967295 expected, got -1 (command line)."
    )


def test_a_secret_is_refused_unseen(tmp_path):
    done = lmlab("logger.wandb.api_key=s3cr3t", cwd=tmp_path, check=False)
    assert done.returncode == 2 and "WANDB_API_KEY" in one_line(done) and "s3cr3t" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sweep=optuna"], "Add -m"),
        (["-m", "sweep=optuna", "stage=check"], "Use stage=fit"),
        (["-m", "sweep=optuna", "optimizer.lr=0.1", "optimizer.weight_decay=0.1"], "nothing is left to search"),
        (["-m", "sweep=optuna", "sweep.sampler=TPSampler"], "Did you mean TPESampler?"),
        (["-m", "sweep.n_trials=3"], "Add sweep=optuna"),
    ],
)
def test_a_search_that_cannot_be_is_answered_before_its_first_trial(arguments, said, tmp_path):
    done = lmlab(*arguments, cwd=tmp_path, check=False)
    assert done.returncode == 2 and said in one_line(done)
    assert not list(tmp_path.rglob("study.db"))
