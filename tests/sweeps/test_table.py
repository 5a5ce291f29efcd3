"""The table of a sweep and its plots, from records on disk; neither needs torch."""

import csv
import subprocess
import sys

import pytest

from jobs import ROOT
from lmlab.sweeps import records, table
from lmlab.sweeps.plots import importances, placed


def sweep_of(folder, n=6):
    for job in range(n):
        overrides = [
            "seed=1",
            "sweep=optuna",
            f"sweep.n_trials={job}",
            f"optimizer.lr={10.0**-job}",
            f"c={'ab'[job % 2]}",
        ]
        facts = {
            "status": "finished",
            "exit_code": 0,
            "objective": 0.5 + job / 100,
            "seconds": 1.5,
            "training_seconds": 1.0 + job,
            "parameters": 100,
            "run": f"runs/{job}",
        }
        records.update(folder, job, overrides=overrides, **facts)
    records.update(folder, 0, status="failed", exit_code=70, objective=None)
    records.update(folder, n - 1, status="pruned")


def test_the_best_job_comes_first_and_the_failed_one_last(tmp_path, capsys):
    sweep_of(tmp_path)
    table.conclude(tmp_path, "val/accuracy", "max")
    with (tmp_path / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["job"] for row in rows] == ["4", "3", "2", "1", "5", "0"]
    assert rows[0] | {"overrides": ""} == {
        **{"job": "4", "status": "finished", "exit_code": "0", "objective": "0.54", "seconds": "1.5", "run": "runs/4"},
        **{"training_seconds": "5.0", "parameters": "100"},
        **{"optimizer.lr": "0.0001", "c": "a", "overrides": ""},
    }
    assert rows[-1]["exit_code"] == "70" and "seed=1" in rows[-1]["overrides"]
    plots = {path.name for path in (tmp_path / "plots").iterdir()}
    assert plots == {"objective.png", "cost.png", "parallel_coordinates.png", "importance.png"}
    assert "val/accuracy" in capsys.readouterr().out


def test_a_loss_is_best_when_low(tmp_path):
    sweep_of(tmp_path)
    assert [row["job"] for row in table.by_objective(records.read(tmp_path), "min")] == [1, 2, 3, 4, 5, 0]


def test_jobs_judged_by_different_numbers_stand_side_by_side(tmp_path, capsys):
    judged = {
        "glue/cola": ("val/matthews", {"val/matthews": 0.5, "val/accuracy": 0.8}),
        "glue/mnli": ("val/accuracy", {"val/accuracy": 0.7, "test/accuracy": 0.71}),
        "glue/rte": ("val/accuracy", None),
    }
    for job, (data, (monitor, scores)) in enumerate(judged.items()):
        facts = {"status": "finished" if scores else "failed", "monitor": monitor, "mode": "max"}
        facts |= {"objective": scores[monitor], "scores": scores, "training_seconds": 60.0} if scores else {}
        records.update(tmp_path, job, overrides=["experiment=glue", f"data={data}"], **facts)
    table.conclude(tmp_path, "val/f1", "max")
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert [row for row in cells if row] == [
        ["0", "finished", "glue/cola", "matthews / accuracy", "0.5000 / 0.8000", "", "60"],
        ["1", "finished", "glue/mnli", "accuracy", "0.7000", "0.7100", "60"],
        ["2", "failed", "glue/rte", "", "", "", ""],
    ]
    with (tmp_path / "sweep.csv").open() as file:
        assert [row["monitor"] for row in csv.DictReader(file)] == ["val/matthews", "val/accuracy", "val/accuracy"]
    assert not (tmp_path / "plots").exists()


def test_jobs_that_agree_say_what_they_are_judged_by(tmp_path, capsys):
    for job, bits in enumerate((2.0, 1.5)):
        facts = {"status": "finished", "monitor": "val/bits_per_byte", "mode": "min", "objective": bits}
        records.update(tmp_path, job, overrides=[f"data={job}"], **facts)
    table.conclude(tmp_path, "val/accuracy", "max")
    said = capsys.readouterr().out
    assert "val/bits_per_byte" in said and said.index("1.5000") < said.index("2.0000")


def test_importance_finds_the_parameter_that_decides():
    rows = [
        {"overrides": [f"x={x}", f"y={y}"], "status": "finished", "objective": float(x)}
        for x in range(8)
        for y in range(4)
    ]
    shares = importances(rows, ["x", "y"], "max")
    assert shares["x"] > 0.9
    assert importances(rows[:3], ["x", "y"], "max") == {}


def test_wide_numbers_are_placed_by_their_logarithm_and_names_in_order():
    assert placed(["1e-4", "1e-3", "1e-2"])[0].tolist() == pytest.approx([0, 0.5, 1])
    assert placed(["1", "2", "3"])[0].tolist() == pytest.approx([0, 0.5, 1])
    assert placed(["b", "a", "b"])[0].tolist() == [1, 0, 1]


def test_the_objective_is_the_monitored_number_of_the_stage():
    results = {"fit": {"fit/seconds": 1.0}, "val": {"val/accuracy": 0.8}, "test": {"test/accuracy": 0.7}}
    assert records.facts(results, "val/accuracy") == {"objective": 0.8, "training_seconds": 1.0}
    assert records.facts({"test": {"test/accuracy": 0.7}}, "val/accuracy") == {"objective": 0.7}
    assert records.facts(None, "val/accuracy") == {"objective": None}


def test_the_scores_of_a_job_are_what_its_task_is_judged_by():
    results = {"val": {"val/loss": 1.0, "val/accuracy": 0.8, "val/f1": 0.7}, "test": {"test/f1": 0.6}, "fit": None}
    judged = {"val/f1": 0.7, "val/accuracy": 0.8, "test/f1": 0.6}
    assert records.scores(results, {"monitor": "val/f1", "metrics": ["accuracy", "f1"]}) == judged
    assert records.scores({"val": {"val/loss": 1.0}}, {"monitor": "val/loss"}) == {"val/loss": 1.0}
    assert records.scores(None, {"monitor": "val/loss"}) == {}


def test_no_torch_is_needed():
    code = "import sys, lmlab.sweeps.table, lmlab.sweeps.plots, lmlab.sweeps.sweep; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT / "src").returncode == 0
