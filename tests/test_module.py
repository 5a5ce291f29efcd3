"""The step of a LanguageModule: any way of cutting a batch gives the gradient of the whole."""

import functools

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader

from lmlab.models.transformer import Transformer
from lmlab.module import LanguageModule, mixed
from lmlab.optimizers import constant, depths, parameter_groups, warmup_cosine, warmup_linear
from lmlab.tasks.classification import Classification


def module(seed=3, **changes):
    torch.manual_seed(seed)
    network = Transformer(40, 16, architecture="encoder", max_length=12, n_heads=2, n_layers=1, d_ff=32, dropout=0.0)
    optimizer = functools.partial(torch.optim.SGD, lr=0.5)
    task = Classification(16, ["no", "yes"], dropout=0.0)
    return LanguageModule(network, task, optimizer=optimizer, scheduler=constant, **changes)


def rows(n=16):
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(5, 40, (n, 12), generator=generator)
    mask = torch.arange(12) < torch.randint(3, 13, (n, 1), generator=generator)
    label = torch.randint(0, 2, (n,), generator=generator)
    return {"rows": torch.arange(n), "tokens": tokens, "mask": mask, "label": label}


def train(module, batches, **settings):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = pl.Trainer(accelerator="cpu", logger=False, max_epochs=1, limit_val_batches=0, **quiet, **settings)
    trainer.fit(module, batches if isinstance(batches, Rows) else DataLoader(batches, batch_size=None))
    return trainer, {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:You defined a .validation_step. but have no")
@pytest.mark.parametrize("clip_norm", [None, 0.01])
def test_ragged_micro_batches_equal_one_big_batch(clip_norm):
    whole = rows()
    cuts = [slice(0, 3), slice(3, 4), slice(4, 16)]
    parts = [{name: value[cut] for name, value in whole.items()} for cut in cuts]
    one, expected = train(module(clip_norm=clip_norm), [whole])
    many, found = train(module(clip_norm=clip_norm), parts, accumulate_grad_batches=3)
    assert one.global_step == many.global_step == 1
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=1e-6, rtol=1e-6)
    for name in ("train/loss", "train/gradient_norm"):
        assert float(many.callback_metrics[name]) == pytest.approx(float(one.callback_metrics[name]), abs=1e-6)


class Rows(pl.LightningDataModule):
    """Batches of a corpus that has `n_targets` rows to learn from."""

    def __init__(self, batches, n_targets):
        super().__init__()
        self.batches, self.n_targets = batches, n_targets

    def train_dataloader(self):
        return DataLoader(self.batches, batch_size=None)


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:You defined a .validation_step. but have no")
@pytest.mark.parametrize("clip_norm", [None, 0.01])
def test_a_prior_adds_the_gradient_of_its_log_density_over_the_number_of_targets(clip_norm):
    whole, std, n_targets = rows(), 0.3, 50
    reference = module()
    before = dict(reference.named_parameters())
    loss, count = reference.task.loss(reference.network, whole)
    weights = [parameter for parameter in before.values() if parameter.ndim >= 2]
    likelihood = float(loss.detach() / count)
    (loss / count + sum(weight.square().sum() for weight in weights) / (2 * std**2 * n_targets)).backward()
    norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in before.values()])
    shrink = 1.0 if clip_norm is None else clip_norm / (norm + 1e-6)
    cuts = [slice(0, 3), slice(3, 4), slice(4, 16)]
    parts = Rows([{name: value[cut] for name, value in whole.items()} for cut in cuts], n_targets)
    trainer, after = train(module(prior_std=std, clip_norm=clip_norm), parts, accumulate_grad_batches=3)
    for name, parameter in before.items():
        expected = parameter.detach() - 0.5 * shrink * parameter.grad
        torch.testing.assert_close(after[name], expected, atol=1e-6, rtol=1e-5)
    assert float(trainer.callback_metrics["train/loss"]) == pytest.approx(likelihood, abs=1e-6)
    assert float(trainer.callback_metrics["train/gradient_norm"]) == pytest.approx(float(norm), rel=1e-4)


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:You defined a .validation_step. but have no")
def test_tables_have_their_own_rate_vectors_do_not_decay_and_no_parameter_is_lost_or_repeated():
    made = module(embedding_lr=0.1)
    tables, matrices, vectors = parameter_groups((made.network, made.task))
    assert [p.shape for p in tables["params"]] == [(40, 16)]
    assert all(p.ndim >= 2 for p in matrices["params"]) and vectors["weight_decay"] == 0.0
    assert sum(len(group["params"]) for group in (tables, matrices, vectors)) == len(list(made.parameters()))
    trainer, _ = train(made, [rows()])
    assert [group["lr"] for group in trainer.optimizers[0].param_groups] == pytest.approx([0.05, 0.5, 0.5])


@pytest.mark.parametrize(
    ("schedule", "last"),
    [(warmup_cosine, 0.0), (functools.partial(warmup_cosine, floor=0.1), 0.1), (warmup_linear, 0.0)],
)
@pytest.mark.filterwarnings("ignore:Detected call of")
def test_schedules_rise_to_the_peak_and_fall_to_their_end(schedule, last):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler, rates = schedule(optimizer, 100, warmup=0.2), []
    for _ in range(101):
        rates.append(optimizer.param_groups[0]["lr"])
        scheduler.step()
    assert rates[0] == pytest.approx(0.1) and rates[19] == pytest.approx(2.0) == max(rates)
    assert all(a > b for a, b in zip(rates[20:], rates[21:], strict=False))
    assert rates[100] == pytest.approx(2.0 * last, abs=1e-6)


def test_seeds_of_neighbouring_batches_ranks_and_epochs_all_differ():
    seeds = {
        mixed(seed, epoch, batch, rank)
        for seed in range(3)
        for epoch in range(3)
        for batch in range(20)
        for rank in range(3)
    }
    assert len(seeds) == 3 * 3 * 20 * 3


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:You defined a .validation_step. but have no")
def test_layers_learn_one_by_one_from_above():
    learner = module(unfreezing=0.5)
    first = {name: value.clone() for name, value in learner.state_dict().items()}
    began = {}

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer, module, *_):
            for name, value in module.named_parameters():
                if not torch.equal(value, first[name]):
                    began.setdefault(name, trainer.global_step - 1)

    train(learner, [rows()] * 8, callbacks=[Watch()])
    depth = depths(learner.network)
    for (
        name,
        parameter,
    ) in learner.network.named_parameters():  # one layer: above it 0, itself after 2, embeddings after 4
        if parameter.grad is not None and f"network.{name}" in began:
            assert began[f"network.{name}"] == {2: 0, 1: 2, 0: 4}[depth[id(parameter)]], name
    assert set(began.values()) == {0, 2, 4} and began["task.head.0.weight"] == 0
