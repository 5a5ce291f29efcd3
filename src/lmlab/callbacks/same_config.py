"""All ranks train what rank 0 was told to: the hashes of their configs are compared before the first step."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback

from lmlab.errors import ConfigError

log = logging.getLogger(__name__)


class SameConfig(Callback):
    """Raises ConfigError on every rank if one of them has another config."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()

    def setup(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        if trainer.world_size > 1:
            found: list[Any] = [None] * trainer.world_size
            dist.all_gather_object(found, self.digest)
            refuse_difference(found)
            if not trainer.is_global_zero:
                log.info("rank %d: config %s, as on rank 0", trainer.global_rank, self.digest[:12])


def refuse_difference(digests: Sequence[str]) -> None:
    other = [f"rank {rank} has {digest[:12]}" for rank, digest in enumerate(digests) if digest != digests[0]]
    if other:
        raise ConfigError(f"the ranks have different configs: rank 0 has {digests[0][:12]}, {', '.join(other)}")
