"""What a search may choose, from YAML and from the command line."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from lmlab.check import command_line, sweep_keys
from lmlab.errors import ConfigError
from lmlab.sweeps.space import search_space

YAML = {
    "optimizer.lr": {"low": 1e-4, "high": 1e-2, "log": True},
    "model.network.n_layers": {"low": 1, "high": 5, "step": 2},
    "model.network.ngram_orders": {"choices": [[2], [2, 3]]},
}


def space(*typed):
    return search_space(YAML, OverridesParser.create().parse_overrides(list(typed)))


def test_yaml_says_numbers_whole_numbers_and_choices():
    found, fixed = space("seed=1")
    assert found == {
        "optimizer.lr": FloatDistribution(1e-4, 1e-2, log=True),
        "model.network.n_layers": IntDistribution(1, 5, step=2),
        "model.network.ngram_orders": CategoricalDistribution(["[2]", "[2, 3]"]),
    }
    assert fixed == ["seed=1"]


def test_what_is_typed_wins():
    found, fixed = space("optimizer.lr=0.1", "task.dropout=interval(0,0.5)", "model.network.n_layers=1,2", "seed=3")
    assert found["task.dropout"] == FloatDistribution(0, 0.5)
    assert found["model.network.n_layers"] == CategoricalDistribution(["1", "2"])
    assert "optimizer.lr" not in found and fixed == ["optimizer.lr=0.1", "seed=3"]


def test_the_logarithm_and_whole_numbers_of_hydra():
    found, _ = space("optimizer.lr=tag(log,interval(1e-3,1))", "model.network.n_layers=int(interval(1,4))")
    assert found["optimizer.lr"] == FloatDistribution(1e-3, 1, log=True)
    assert found["model.network.n_layers"] == IntDistribution(1, 4)


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        ({"on_eror": "stop"}, "Did you mean on_error?"),
        ({"on_error": "ignore"}, "one of continue, stop expected, got 'ignore'"),
        ({"n_trials": 0}, "sweep.n_trials: whole number >= 1 expected, got 0"),
        ({"name": "../elsewhere"}, "sweep.name: a name expected"),
        ({"space": {"optimizer.lr": {"lower": 1, "high": 2}}}, "Did you mean low?"),
        ({"space": {"optimizer.lr": {"low": 1}}}, "has no bounds"),
    ],
)
def test_a_mistake_in_the_sweep_is_answered(sweep, said):
    with pytest.raises(ConfigError) as caught:
        sweep_keys(sweep)
    assert said in str(caught.value)


def test_a_search_needs_many_runs():
    with pytest.raises(ConfigError, match="Add -m"):
        command_line(["sweep=optuna"])
    assert command_line(["-m", "sweep=optuna", "sweep.n_trials=3"]).flags == []
    with pytest.raises(ConfigError, match="Did you mean sweep.n_trials"):
        command_line(["-m", "sweep=optuna", "sweep.n_trails=3"])


def test_bounds_the_wrong_way_round_are_told():
    with pytest.raises(ConfigError, match="optimizer.lr"):
        search_space({"optimizer.lr": {"low": 2.0, "high": 1.0}}, [])
