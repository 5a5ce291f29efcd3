"""A real study in a real folder; the jobs are a function, as fast as it takes to write their record."""

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from lmlab.errors import ConfigError
from lmlab.sweeps import records
from lmlab.sweeps.search import Search

SETTINGS = {"n_trials": 4, "sampler": "TPESampler", "sampler_options": {}, "seed": 1, "on_error": "continue"}
SPACE = {"x": FloatDistribution(0, 1), "c": CategoricalDistribution(["a", "b"])}


class Jobs:
    """A launcher that keeps what it was asked for; trial number -> how it ends, else finished."""

    def __init__(self, folder, ends=None):
        self.folder, self.ends, self.asked = folder, ends or {}, []

    def __call__(self, batch):
        for overrides in batch:
            values = dict(override.split("=") for override in overrides)
            number = int(values["sweep.job"])
            self.asked.append(values)
            end = self.ends.get(number, "finished")
            if end == "killed":
                raise KeyboardInterrupt
            value = None if end == "failed" else float(values["x"])
            code = int(end == "failed")
            records.update(self.folder, number, overrides=overrides, status=end, objective=value, exit_code=code)


def search(folder, **changes):
    return Search(folder, SETTINGS | changes, SPACE, "max")


def states(search):
    return [trial.state.name for trial in search.study.trials]


def test_a_study_knows_how_each_trial_ended(tmp_path):
    jobs, found = Jobs(tmp_path, {1: "failed", 2: "pruned"}), search(tmp_path)
    found.run(["seed=1"], jobs)
    assert states(found) == ["COMPLETE", "FAIL", "PRUNED", "COMPLETE"]
    assert all(values["seed"] == "1" for values in jobs.asked)
    assert found.study.best_value == max(float(jobs.asked[number]["x"]) for number in (0, 3))


def test_the_same_command_runs_what_is_missing_as_if_never_stopped(tmp_path):
    for name in ("stopped", "whole"):
        (tmp_path / name).mkdir()
    whole = Jobs(tmp_path / "whole")
    search(tmp_path / "whole", n_trials=6).run([], whole)
    first, second = Jobs(tmp_path / "stopped"), Jobs(tmp_path / "stopped")
    search(tmp_path / "stopped", n_trials=2).run([], first)
    search(tmp_path / "stopped", n_trials=6).run([], second)
    assert [len(first.asked), len(second.asked)] == [2, 4]
    assert first.asked + second.asked == whole.asked


def test_a_trial_that_was_cut_short_is_tried_again_with_its_parameters(tmp_path):
    cut = Jobs(tmp_path, {1: "killed"})
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path).run([], cut)
    killed = search(tmp_path)
    killed.ask()  # as kill -9 leaves it: still running in the study
    again = Jobs(tmp_path)
    search(tmp_path).run([], again)
    assert len(again.asked) == 3 and again.asked[0]["x"] == cut.asked[1]["x"]
    assert sum(trial.state == TrialState.COMPLETE for trial in search(tmp_path).study.trials) == 4
    assert not search(tmp_path).study.get_trials(states=[TrialState.RUNNING, TrialState.WAITING])


def test_a_search_may_stop_at_the_first_failure(tmp_path):
    found = search(tmp_path, on_error="stop")
    found.run([], Jobs(tmp_path, {1: "failed"}))
    assert states(found) == ["COMPLETE", "FAIL"]


@pytest.mark.parametrize("sampler", ["RandomSampler", "QMCSampler", "NSGAIISampler", "BruteForceSampler"])
@pytest.mark.filterwarnings("ignore")
def test_any_sampler_by_name(sampler, tmp_path):
    jobs = Jobs(tmp_path)
    space = {"c": SPACE["c"], "x": CategoricalDistribution(["0.1", "0.2", "0.3"])}
    Search(tmp_path, SETTINGS | {"sampler": sampler}, space, "min").run([], jobs, n_parallel=2)
    assert len(jobs.asked) == 4


@pytest.mark.filterwarnings("ignore")
def test_a_grid_ends_when_all_has_been_tried(tmp_path):
    jobs = Jobs(tmp_path)
    space = {"c": SPACE["c"], "x": CategoricalDistribution(["0.1", "0.2"])}
    Search(tmp_path, SETTINGS | {"sampler": "GridSampler", "n_trials": 9}, space, "min").run([], jobs)
    assert len({(values["x"], values["c"]) for values in jobs.asked}) == len(jobs.asked) == 4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sampler": "TPSampler"}, "Did you mean TPESampler?"),
        ({"sampler_options": {"n_trails": 1}}, "sweep.sampler_options"),
        ({"sampler": "GridSampler"}, "x has bounds"),
    ],
)
def test_a_sampler_that_cannot_be_made_leaves_no_study(changes, said, tmp_path):
    with pytest.raises(ConfigError) as caught:
        search(tmp_path, **changes)
    assert said in str(caught.value) and not list(tmp_path.iterdir())
