"""What throughput reports is what was done, and a training that is measured is the training that is not."""

import functools

import jaxtyping
import lightning.pytorch as pl
import pytest
import torch
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack as open_modes
from torch.utils.data import DataLoader

from lmlab import flops
from lmlab.callbacks.throughput import Throughput
from lmlab.models.gpt2 import GPT2
from lmlab.models.rnn import Recurrent
from lmlab.module import LanguageModule
from lmlab.optimizers import constant
from lmlab.tasks.causal_lm import CausalLM

VOCAB, WIDTH = 40, 16


def gpt2():
    return GPT2(VOCAB, WIDTH, max_length=64, n_heads=2, n_layers=1, attention_dropout=0.1)


def lstm():
    return Recurrent(VOCAB, WIDTH, architecture="decoder", cell="lstm", dropout=0.1, weight_dropout=0.1)


def batches(*lengths, rows=4):
    generator = torch.Generator().manual_seed(1)
    for length in lengths:
        tokens = torch.randint(5, VOCAB, (rows, length), generator=generator)
        mask = torch.ones(rows, length, dtype=torch.bool)
        mask[0, length // 2 :] = False
        target = torch.where(mask, tokens.roll(-1, 1), -100)
        yield {"rows": torch.arange(rows), "tokens": tokens, "mask": mask, "target": target}


def train(network, lengths, callbacks, **settings):
    """Loss and gradient norm of each step, and the weights after the last."""
    torch.manual_seed(3)
    steps: list[list[float]] = []

    class Steps(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            told = trainer.callback_metrics
            steps.append([float(told[name]) for name in ("train/loss", "train/gradient_norm") if name in told])

    optimizer = functools.partial(torch.optim.AdamW, lr=0.01)
    module = LanguageModule(network(), CausalLM(), optimizer=optimizer, scheduler=constant)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        max_epochs=1,
        limit_val_batches=0,
        callbacks=[*callbacks, Steps()],
        **quiet,
        **settings,
    )
    trainer.fit(module, DataLoader(list(batches(*lengths)), batch_size=None))
    return trainer, steps, module.state_dict()


pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:You defined a .validation_step. but have no"
)


@pytest.mark.parametrize("network", [gpt2, lstm])
def test_a_measured_training_is_bit_for_bit_the_one_that_is_not(network):
    lengths = (16, 16, 32, 17, 33)
    _, expected, weights = train(network, lengths, [])
    _, found, measured = train(network, lengths, [Throughput()])
    assert found == expected and [len(step) for step in found] == [2] * 5
    assert all(torch.equal(measured[name], weights[name]) for name in weights)


def test_operations_are_counted_once_for_lengths_that_are_near_and_padding_does_them_too():
    throughput = Throughput(every=2)
    trainer, *_ = train(gpt2, (16, 16, 17, 32, 16), [throughput])

    def per_token(length):
        return 6 * (12 * WIDTH**2 + VOCAB * WIDTH) + 12 * length * WIDTH

    assert throughput.per_token == {16: per_token(16), 32: per_token(32)}
    assert throughput.flops == 4 * ((3 * 16 + 17) * per_token(16) + 32 * per_token(32))
    assert (throughput.rows, throughput.tokens) == (20, 97 * 4 - 48 - 1)  # half of a row is padding in each batch
    told = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("throughput/")}
    assert told["throughput/flops_per_second"] == pytest.approx(throughput.flops / throughput.seconds)
    assert told["throughput/mfu"] == pytest.approx(throughput.flops / throughput.seconds / throughput.rate)
    assert 0 < told["throughput/mfu"] < 1


def test_each_micro_batch_counts():
    throughput = Throughput()
    trainer, *_ = train(gpt2, (16, 16, 16, 16), [throughput], accumulate_grad_batches=2)
    assert trainer.global_step == 2
    assert throughput.flops == 4 * 4 * 16 * throughput.per_token[16]


def test_a_training_that_fails_in_its_first_step_leaves_no_counter_open(monkeypatch):
    opened = []
    monkeypatch.setattr(CausalLM, "loss", lambda *_: opened.extend(open_modes()) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(gpt2, (16,), [Throughput()])
    assert len(opened) == 1 and not open_modes()


def test_a_rate_is_that_of_the_precision_of_the_training(monkeypatch):
    asked = []
    monkeypatch.setattr(flops, "matmul_rate", lambda device, precision: asked.append((device.type, precision)) or 1e9)
    train(gpt2, (16,), [Throughput()], precision="64-true")
    assert asked == [("cpu", "64-true")]


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_network_is_counted_and_still_makes_its_graphs():
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    def compiled():
        network = gpt2()
        network.compile(backend=backend)
        return network

    torch.compiler.reset()
    jaxtyping.config.update("jaxtyping_disable", True)
    throughput = Throughput()
    train(compiled, (16, 16, 16), [throughput])
    jaxtyping.config.update("jaxtyping_disable", False)
    torch.compiler.reset()
    assert graphs and list(throughput.per_token) == [16]
