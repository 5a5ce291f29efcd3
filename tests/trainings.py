"""Tiny real trainings in this process: made-up reviews, a Transformer, and all callbacks that resuming needs."""

import functools

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from lmlab.callbacks.checkpoints import Checkpoints
from lmlab.callbacks.ema import EMA
from lmlab.callbacks.stop_when_asked import StopWhenAsked
from lmlab.checkpointing import WholeCheckpoints
from lmlab.data.corpus import Corpus
from lmlab.errors import Stopped
from lmlab.models.transformer import Transformer
from lmlab.module import LanguageModule
from lmlab.optimizers import warmup_cosine
from lmlab.tasks.classification import Classification
from lmlab.tokenizer import Tokenizer

ADAMW = functools.partial(torch.optim.AdamW, lr=1e-2)


class Recorder(Callback):
    """What happened, in order: a step with its loss, a validation with its score."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, *_):
        if not trainer.fit_loop.epoch_loop._should_accumulate():
            epoch, step = trainer.current_epoch, trainer.global_step
            self.seen.append(("step", epoch, step, trainer.callback_metrics["train/loss"].item()))

    def on_validation_end(self, trainer, module):
        self.seen.append(("val", trainer.global_step, trainer.callback_metrics["val/loss"].item()))


def trained(
    reviews,
    folder,
    *callbacks,
    resume=None,
    accumulate=1,
    checks=None,
    optimizer=ADAMW,
    decay=None,
    **options,
):
    """What happened, the weights afterwards, and the callback that has saved a checkpoint at each step."""
    torch.manual_seed(1)
    tokenizer = Tokenizer("word", 200, min_frequency=1)
    data = Corpus(
        tokenizer=tokenizer, cache=reviews / "cache", path=reviews, batch_tokens=128, eval_batch_tokens=64, pool=2
    )
    data.prepare()
    network = Transformer(200, 8, architecture="encoder", max_length=256, n_heads=2, n_layers=1, d_ff=16)
    module = LanguageModule(
        network,
        Classification(8, ["negative", "positive"]),
        optimizer=optimizer,
        scheduler=warmup_cosine,
        **options,
    )
    module.adapt()
    recorder = Recorder()
    keep = Checkpoints(folder, "val/accuracy", "max", keep_last=99, every_n_steps=1, every_minutes=None)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=3,
        callbacks=[*callbacks, recorder, EMA(decay), StopWhenAsked(), keep],
        plugins=[WholeCheckpoints()],
        accumulate_grad_batches=accumulate,
        val_check_interval=checks or 1.0,
        use_distributed_sampler=False,
        logger=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer._signal_connector.register_signal_handlers = lambda: None
    try:
        trainer.fit(module, datamodule=data, ckpt_path=resume)
    except Stopped as stopped:
        assert stopped.exit_code == 143 and stopped.resumable
    return recorder.seen, {name: tensor.clone() for name, tensor in module.state_dict().items()}, keep
