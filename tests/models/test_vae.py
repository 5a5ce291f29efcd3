"""How much a code costs, by the number of the step."""

import pytest

from lmlab.models.vae import annealed


@pytest.mark.parametrize("annealing", ["linear", "sigmoid", "cyclical"])
def test_a_weight_begins_near_zero_rises_and_ends_at_one(annealing):
    weights = [annealed(step / 100, annealing, 0.5, 1) for step in range(101)]
    risen = weights[:51] if annealing == "cyclical" else weights
    assert weights[0] < 0.01 and all(0 <= weight <= 1 for weight in weights)
    assert risen == sorted(risen) and risen[-1] > 0.99
    assert weights[25] == pytest.approx(0.5, abs=0.01)


def test_a_line_is_a_line_and_a_constant_constant():
    assert [annealed(done, "linear", 0.4) for done in (0.1, 0.2, 0.4, 0.9)] == pytest.approx([0.25, 0.5, 1.0, 1.0])
    assert [annealed(done, "constant", 0.4) for done in (0.0, 0.5, 1.0)] == [1.0, 1.0, 1.0]


def test_a_cycle_is_repeated():
    first = [annealed(step / 400, "cyclical", 0.5, 4) for step in range(100)]
    assert first[25] == pytest.approx(0.5) and first[50:] == [1.0] * 50
    for cycle in range(1, 4):
        assert [annealed(cycle / 4 + step / 400, "cyclical", 0.5, 4) for step in range(100)] == pytest.approx(first)
