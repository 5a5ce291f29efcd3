"""What a config may call, and what its nodes are without their metadata."""

import pytest

from lmlab.data.cleaning import HtmlBreaks
from lmlab.errors import ConfigError
from lmlab.experiment import instantiate


@pytest.mark.parametrize(
    "target",
    ["builtins.open", "os.system", "torch.load", "pandas.read_pickle", "subprocess.run", "lmlab.experiment.os.system"],
)
def test_a_config_calls_nothing_foreign_at_any_depth(target):
    with pytest.raises(ConfigError, match="not something a config may call"):
        instantiate({"_target_": "lmlab.data.cleaning.Cleaning", "steps": {"evil": {"_target_": target}}})


def test_metadata_is_for_the_checks_alone():
    made = instantiate({"_target_": "lmlab.data.cleaning.HtmlBreaks", "provides": ["text"]}, "data")
    assert isinstance(made, HtmlBreaks)


def test_an_error_of_ours_is_not_wrapped_by_hydra():
    with pytest.raises(ConfigError, match="got 3"):
        instantiate({"_target_": "lmlab.tokenizer.Tokenizer", "kind": "bpe", "vocab_size": 3})
