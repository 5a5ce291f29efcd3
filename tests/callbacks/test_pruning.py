"""A real trial beside better ones in a real study."""

import json
from pathlib import Path

import hydra
import optuna
import pytest

from jobs import TINY, write_reviews
from lmlab import check
from lmlab.job import run
from lmlab.sweeps import records

TRIAL = ["data=text_files", "data.path=reviews", "trainer=cpu", "logger=csv"]
TRIAL += ["sweep=optuna", "sweep.name=s", "sweep.job=2"]


def study_of_good_trials():
    """Two finished trials whose scores no other can reach, and a running one."""
    Path("outputs/sweeps/s").mkdir(parents=True)
    study = optuna.create_study(storage="sqlite:///outputs/sweeps/s/study.db", study_name="s", direction="maximize")
    for _ in range(2):
        trial = study.ask()
        for step in range(9):
            trial.report(2.0, step)
        study.tell(trial, 2.0)
    study.ask()
    return study


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("pruner", ["MedianPruner", "null"])
def test_a_hopeless_trial_ends_at_its_first_validation(pruner, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    write_reviews(Path("reviews"))
    study = study_of_good_trials()
    changes = [f"sweep.pruner={pruner}"]
    if pruner == "MedianPruner":
        changes.append("sweep.pruner_options={n_startup_trials: 1, n_min_trials: 1}")
    with hydra.initialize_config_dir(str(check.CONF), version_base="1.3"):
        config = hydra.compose("config", [*TINY, *TRIAL, *changes])
    check.composed(config, [])
    results = run(config, [], {"model": "transformer", "data": "text_files"})
    manifest = json.loads((Path(config.run.folder) / "manifest.json").read_text())
    reported = study.trials[2].intermediate_values
    if pruner == "null":
        assert manifest["status"] == "finished" and len(reported) == 2 and "test" in results
        return
    assert manifest["status"] == records.status(config.run.folder, 0) == "pruned"
    assert len(reported) == 1 and results["fit"]["fit/steps"] == 4 and "test" not in results
    assert records.facts(results, "val/accuracy")["objective"] == pytest.approx(reported[0])
