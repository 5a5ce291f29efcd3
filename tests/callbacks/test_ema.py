"""The averaged weights are validated and kept, the trained ones trained; that both are resumed: test_checkpoints.py."""

import types

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from safetensors.torch import load_file

from jobs import write_reviews
from lmlab.callbacks.ema import EMA, TRAINED
from lmlab.checkpointing import load
from lmlab.models.transformer import Transformer
from trainings import trained

DECAY = 0.6  # reached after 13 steps: below that it is (1 + t) / (10 + t)


class Watch(Callback):
    """The weights before and after each step and in each validation, by the number of steps done."""

    def __init__(self):
        self.trained, self.validated = {}, {}

    def weights(self, module):
        return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}

    def on_train_start(self, trainer, module):
        self.trained[0] = self.weights(module)

    def on_train_batch_end(self, trainer, module, *_):
        self.trained[trainer.global_step] = self.weights(module)

    def on_validation_batch_start(self, trainer, module, *_):
        self.validated[trainer.global_step] = self.weights(module)

    def averages(self):
        average = dict(self.trained[0])
        found = {}
        for step in sorted(self.trained)[1:]:
            decay = min(DECAY, (1 + step) / (10 + step))
            for name, weight in self.trained[step].items():
                average[name] = decay * average[name] + (1 - decay) * weight
            found[step] = dict(average)
        return found


def assert_same(found, expected, **tolerance):
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, **tolerance)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("accumulate", [1, 2])
def test_validations_and_the_best_checkpoint_have_the_average_and_training_has_its_own(tmp_path, accumulate):
    reviews = write_reviews(tmp_path / "reviews")
    watch = Watch()
    options = {"checks": 2, "accumulate": accumulate}
    plain, _, _ = trained(reviews, tmp_path / "plain", **options)
    seen, last, keep = trained(reviews, tmp_path / "run", watch, decay=DECAY, **options)
    assert [event for event in seen if event[0] == "step"] == [event for event in plain if event[0] == "step"]
    assert [event for event in seen if event[0] == "val"] != [event for event in plain if event[0] == "val"]
    averages, step = watch.averages(), int(keep.best.name[5:13])
    assert max(averages) > 3 and len(watch.validated) > 2
    for validated in watch.validated:
        assert_same(watch.validated[validated], averages[validated], rtol=1e-5, atol=1e-7)
    best = load(keep.best)
    assert_same(best["state_dict"], watch.validated[step], rtol=0, atol=0)
    assert_same(best[TRAINED], watch.trained[step], rtol=0, atol=0)
    assert_same(load_file(tmp_path / "run" / "best.safetensors"), watch.validated[step], rtol=0, atol=0)
    assert_same(last, averages[max(averages)], rtol=1e-5, atol=1e-7)  # who tests the module has the average too


def test_both_names_of_a_tied_weight_are_saved_alike_within_a_validation_too():
    network = Transformer(30, 8, architecture="decoder", max_length=12, n_heads=2, n_layers=1)
    tied = ("embedding.table.weight", "output.weight")
    trainer, average = types.SimpleNamespace(state=types.SimpleNamespace(fn="fit")), EMA(DECAY)
    average.aside = [torch.full_like(parameter, 7.0) for parameter in network.parameters()]
    trained_weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for validating in (False, True):
        if validating:
            average.on_validation_start(trainer, network)
        checkpoint = {"state_dict": network.state_dict()}
        average.on_save_checkpoint(trainer, network, checkpoint)
        assert all((checkpoint["state_dict"][name] == 7).all() for name in (*tied, "decoder.norm.weight"))
        assert_same(checkpoint[TRAINED], trained_weights, rtol=0, atol=0)
    average.on_validation_end(trainer, network)
    assert_same(network.state_dict(), trained_weights, rtol=0, atol=0)
