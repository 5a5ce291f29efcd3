"""The bar tells what has been measured, and nothing that has not."""

from types import SimpleNamespace

import torch

from lmlab.callbacks.progress import TrainingProgress


def test_the_bar_tells_loss_speed_and_share_of_the_peak():
    bar, metrics = TrainingProgress(), {"train/loss": torch.tensor(0.69321)}
    assert bar.shown(SimpleNamespace(callback_metrics=metrics)) == {"loss": "0.6932"}
    metrics |= {"throughput/tokens_per_second": torch.tensor(26445.2), "throughput/mfu": torch.tensor(0.418)}
    shown = bar.shown(SimpleNamespace(callback_metrics=metrics))
    assert shown == {"loss": "0.6932", "tokens/s": "26,445", "MFU": "42%"}
