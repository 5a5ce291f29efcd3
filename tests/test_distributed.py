"""Two real processes over gloo, from one command line: one folder, a log each, the numbers of one process."""

import csv
import json

import pytest
import torch

from glue_files import write_glue
from jobs import TINY, inside, lmlab, only_run, write_reviews

SHORT = ["trainer.max_steps=6", "optimizer=sgd"]  # with all the dropout there is: it belongs to the texts
SHORT += ["optimizer.prior_std=0.5", "callbacks.ema.decay=0.9"]


def trained(tmp_path, name, *overrides):
    cwd = tmp_path / name
    write_reviews(cwd / "reviews")
    words = ["data=text_files", "data.path=reviews", *TINY, *SHORT, *overrides]
    (inside if "trainer=cpu" in overrides else lmlab)(*words, cwd=cwd)
    run = only_run(cwd)
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    with (run / "metrics.csv").open() as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row.get("train/loss")]
    return run, state, losses


def test_two_processes_equal_one_with_the_same_global_batches(tmp_path):
    alone, expected, losses = trained(tmp_path, "one", "trainer=cpu")
    together, found, shared_losses = trained(tmp_path, "two", "trainer=ddp")
    assert shared_losses == pytest.approx(losses, abs=1e-6) and len(losses) == 6
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=1e-6, rtol=1e-5)
    assert (together / "run.rank1.log").exists() and not (alone / "run.rank1.log").exists()
    scores = [json.loads((run / "metrics.json").read_text()) for run in (alone, together)]
    for split in ("val", "test"):
        assert scores[1][split] == pytest.approx(scores[0][split], abs=1e-6)
    assert all(0 < score["fit"]["throughput/mfu"] < 1 for score in scores)
    assert scores[1]["test"]["test/rows"] == 11  # each row once, though two do not divide them


def test_correlations_are_of_all_ranks_rows(tmp_path):
    told = []
    for machine in ("cpu", "ddp"):
        cwd = tmp_path / machine
        write_glue(cwd / "glue")
        words = ["data=glue/stsb", "data.path=glue", *TINY, *SHORT, f"trainer={machine}", "logger=csv"]
        (inside if machine == "cpu" else lmlab)(*words, cwd=cwd)
        told.append(json.loads((only_run(cwd) / "metrics.json").read_text())["val"])
    assert told[1] == pytest.approx(told[0], abs=1e-5) and told[1]["val/rows"] == 10 and told[1]["val/spearman"] != 0


BROKEN = """
import os, sys
if os.environ.get("LOCAL_RANK") == "1" and "-m" in sys.orig_argv:
    sys.exit("rank 1 is broken")
"""


def test_a_failing_rank_ends_the_job_and_leaves_no_process(tmp_path, monkeypatch):
    write_reviews(tmp_path / "reviews")
    (tmp_path / "sitecustomize.py").write_text(BROKEN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = lmlab("data=text_files", "data.path=reviews", *TINY, "trainer=ddp", cwd=tmp_path, check=False)
    assert done.returncode == 1 and "error: rank 1 failed" in done.stderr
    run = only_run(tmp_path)
    assert "rank 1 is broken" in (run / "run.rank1.log").read_text()
    assert json.loads((run / "manifest.json").read_text())["status"] == "failed"
