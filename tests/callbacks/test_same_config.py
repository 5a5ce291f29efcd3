"""Ranks with different configs do not train."""

import pytest

from lmlab.callbacks.same_config import SameConfig, refuse_difference
from lmlab.errors import ConfigError


def test_a_rank_with_another_config_is_named():
    one, other = ({"optimizer": {"lr": lr}, "seed": 1} for lr in (0.1, 0.2))
    refuse_difference([SameConfig(one).digest, SameConfig({"seed": 1, **one}).digest])
    with pytest.raises(ConfigError, match="rank 1 has"):
        refuse_difference([SameConfig(one).digest, SameConfig(other).digest])
