"""A training that gets no better ends after so many validations, counted over a stop and going on."""

import functools

import pytest
import torch

from jobs import write_reviews
from lmlab.callbacks.early_stopping import EarlyStopping
from lmlab.errors import ConfigError
from trainings import trained

pytestmark = pytest.mark.filterwarnings("ignore")
STILL = functools.partial(torch.optim.SGD, lr=0.0)


def validations(seen):
    return [event[1] for event in seen if event[0] == "val"]


def test_it_ends_after_patience_and_never_without(tmp_path):
    reviews = write_reviews(tmp_path / "reviews")
    whole, *_ = trained(reviews, tmp_path / "whole", EarlyStopping("val/loss", "min"), optimizer=STILL, checks=2)
    assert len(validations(whole)) > 4
    for patience in (1, 3):
        stopper = EarlyStopping("val/loss", "min", patience)
        seen, *_ = trained(reviews, tmp_path / str(patience), stopper, optimizer=STILL, checks=2)
        assert validations(seen) == validations(whole)[: patience + 1]
    second = sorted((tmp_path / "3").glob("*validated.ckpt"))[1]
    stopper = EarlyStopping("val/loss", "min", 3)
    seen, *_ = trained(reviews, tmp_path / "on", stopper, optimizer=STILL, checks=2, resume=second)
    assert validations(seen) == validations(whole)[2:4]


def test_a_number_that_no_validation_tells_is_refused(tmp_path):
    reviews = write_reviews(tmp_path / "reviews")
    with pytest.raises(ConfigError, match="and no val/los .*early_stopping.monitor.*Did you mean val/loss?"):
        trained(reviews, tmp_path / "run", EarlyStopping("val/los", "min", 1), optimizer=STILL, checks=2)
