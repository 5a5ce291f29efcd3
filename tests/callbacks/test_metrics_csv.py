"""Steps are told to callbacks one by one, and every n-th to metrics.csv while training goes on."""

import csv
import functools

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader

from lmlab.callbacks import metrics_csv
from lmlab.models.gpt2 import GPT2
from lmlab.module import LanguageModule
from lmlab.optimizers import warmup_cosine
from lmlab.tasks.causal_lm import CausalLM

TOLD = ("train/loss", "train/gradient_norm", "train/lr")


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:You defined a .validation_step. but have no")
def test_every_nth_optimizer_step_is_in_the_file_as_soon_as_it_is_done(tmp_path):
    seen, rows_at_step = [], []

    class Seen(pl.Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, index):
            if (index + 1) % 2 == 0:
                seen.append({name: float(trainer.callback_metrics[name]) for name in TOLD})
                rows_at_step.append(len(read()))

    def read():
        path = tmp_path / "metrics.csv"
        return list(csv.DictReader(path.open())) if path.exists() else []

    tokens = torch.randint(5, 40, (14, 2, 8))
    batches = [{"rows": torch.arange(2), "tokens": some, "target": some, "mask": some > 0} for some in tokens]
    optimizer = functools.partial(torch.optim.AdamW, lr=0.01)
    module = LanguageModule(
        GPT2(40, 16, max_length=8, n_heads=2, n_layers=1), CausalLM(), optimizer=optimizer, scheduler=warmup_cosine
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        accumulate_grad_batches=2,
        log_every_n_steps=3,
        logger=metrics_csv.make(str(tmp_path)),
        callbacks=[Seen()],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(module, DataLoader(batches, batch_size=None))
    assert rows_at_step == [0, 0, 1, 1, 1, 2, 2]
    assert [(row["step"], row["epoch"]) for row in read()] == [("2", "0"), ("5", "0")]
    for row in read():
        assert {name: float(row[name]) for name in TOLD} == seen[int(row["step"])]
    assert len({step["train/loss"] for step in seen}) == 7
