"""Any checkpoint is a place to go on from: the same steps, validations and files as without a stop."""

import functools
import signal

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from jobs import write_reviews
from lmlab import signals
from lmlab.callbacks.checkpoints import Checkpoints
from lmlab.callbacks.stop_when_asked import seconds
from lmlab.checkpointing import manifest
from lmlab.errors import NotANumber
from lmlab.muon import Muon
from trainings import trained

pytestmark = pytest.mark.filterwarnings("ignore")


class Ask(Callback):
    """Sends this process a signal in the middle of a validation, or before a step."""

    def __init__(self, validation=None, step=None):
        self.validation, self.step = validation, step

    def on_validation_batch_start(self, trainer, module, batch, index, *_):
        if trainer.global_step == self.validation and index == 1:
            signal.raise_signal(signal.SIGTERM)

    def on_train_batch_start(self, trainer, module, batch, index):
        if trainer.global_step == self.step:
            signal.raise_signal(signal.SIGUSR1)


MUON = functools.partial(Muon, lr=1e-2, matrix_lr=1e-2)


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in (*signals.ASKING, signal.SIGINT)}
    signals.listen()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def reviews(tmp_path):
    return write_reviews(tmp_path / "reviews")


def after(seen, step, validated):
    """What is left to do after a step, and after its validation if that is done too."""
    at = {"step": 2, "val": 1}  # where an event holds the number of steps that were done
    last = {"step": step, "val": step if validated else step - 1}
    return [event for event in seen if event[at[event[0]]] > last[event[0]]]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"checks": 2},
        {"accumulate": 2},
        {"checks": 2, "optimizer": MUON, "prior_std": 0.5},
        {"decay": 0.8},
        {"lora_rank": 2, "layer_decay": 0.8},
        {"unfreezing": 0.7},
    ],
    ids=str,
)
def test_every_checkpoint_is_a_place_to_go_on_from(reviews, tmp_path, options):
    whole, weights, keep = trained(reviews, tmp_path / "whole", **options)
    assert keep.kept and (tmp_path / "whole" / "last.ckpt").resolve().name == keep.kept[-1]
    for name in keep.kept:
        step, validated = int(name[5:13]), "validated" in name
        seen, found, _ = trained(reviews, tmp_path / name, resume=tmp_path / "whole" / name, **options)
        assert seen == after(whole, step, validated), name
        assert all(torch.equal(found[key], weights[key]) for key in weights), name


@pytest.mark.parametrize("options", [{}, {"checks": 2}, {"checks": 2, "decay": 0.8}], ids=str)
def test_an_interrupted_validation_is_run_again(reviews, tmp_path, options):
    whole, weights, _ = trained(reviews, tmp_path / "whole", **options)
    at = next(event[1] for event in whole if event[0] == "val")
    seen, _, keep = trained(reviews, tmp_path / "cut", Ask(validation=at), **options)
    assert manifest(tmp_path / "cut" / keep.kept[-1])["validation_due"] and seen[-1][0] == "step"
    rest, found, _ = trained(reviews, tmp_path / "cut", resume=tmp_path / "cut" / keep.kept[-1], **options)
    assert rest[0] == ("val", at, next(event[2] for event in whole if event[0] == "val"))
    assert seen + rest == whole and all(torch.equal(found[key], weights[key]) for key in weights)


def test_a_signal_before_the_first_step_is_obeyed_and_nothing_is_lost(reviews, tmp_path):
    whole, _, _ = trained(reviews, tmp_path / "whole")
    seen, _, keep = trained(reviews, tmp_path / "cut", Ask(step=0))
    assert seen == [] and keep.kept == ["step-00000000.ckpt"]
    rest, _, _ = trained(reviews, tmp_path / "cut", resume=tmp_path / "cut" / "step-00000000.ckpt")
    assert rest == whole


def test_best_and_last_are_kept_and_the_rest_removed(tmp_path):
    keep = Checkpoints(str(tmp_path), "val/loss", "min", keep_best=1, keep_last=2)
    dropped = []
    for step, score in enumerate([3.0, 1.0, 2.0, 1.0, 5.0]):
        keep.kept.append(f"step-{step}")
        keep.scores[f"step-{step}"] = score
        dropped += keep.drop()
    assert keep.best == tmp_path / "step-1" and keep.kept == ["step-1", "step-3", "step-4"]
    assert dropped == ["step-0", "step-2"]


def test_so_many_of_the_last_validated_are_kept_besides(tmp_path):
    keep = Checkpoints(str(tmp_path), "val/loss", "min", keep_best=1, keep_last=1, keep_validated=3)
    for step in range(8):
        for name in (f"step-{step}.ckpt", f"step-{step}-validated.ckpt"):
            keep.kept.append(name)
            keep.scores |= {name: float(step)} if "validated" in name else {}
            keep.drop()
    keep.kept.append("step-8.ckpt")
    keep.drop()
    assert keep.kept == [*(f"step-{step}-validated.ckpt" for step in (0, 5, 6, 7)), "step-8.ckpt"]


def test_no_checkpoint_holds_what_is_not_a_number(reviews, tmp_path):
    with pytest.raises(NotANumber, match=r"at step|after step"):
        trained(reviews, tmp_path / "run", optimizer=functools.partial(torch.optim.AdamW, lr=1e30))
    for path in (tmp_path / "run").glob("step-*.ckpt"):
        state = torch.load(path, weights_only=True)["state_dict"]
        assert all(tensor.isfinite().all() for tensor in state.values() if tensor.is_floating_point())


def test_max_time_is_read_as_days_hours_minutes_seconds():
    assert seconds("01:02:03:04") == 86400 + 2 * 3600 + 3 * 60 + 4
