"""How a corpus hands out its rows: in which order, to which process, and from where a training goes on."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from lmlab.data.batching import BatchOrder, EvaluationOrder
from lmlab.data.blocks import BlockEvaluationOrder, BlockOrder, Blocks
from lmlab.data.dataset import Batch, TokenizedRows
from lmlab.data.sides import SideRows
from lmlab.data.spans import QuestionWindows
from lmlab.data.targets import TargetRows
from lmlab.errors import CheckpointError, DataError
from lmlab.names import covered
from lmlab.ranges import NonNegativeInt, PositiveInt, Seed
from lmlab.signals import leave_to_parent

Rows = TokenizedRows | SideRows | TargetRows | QuestionWindows | Blocks


class Loading(LightningDataModule):
    """The loaders over a corpus's tokenized splits, and the position in them; the corpus fills `datasets`."""

    source: str
    path: Path | None

    def __init__(
        self,
        *,
        max_length: PositiveInt = 256,
        lanes: bool = False,
        batch_tokens: PositiveInt = 16384,
        eval_batch_tokens: PositiveInt = 32768,
        min_rows: PositiveInt = 8,
        pool: PositiveInt = 32,
        n_workers: NonNegativeInt = 0,
        seed: Seed = 1,
    ) -> None:
        super().__init__()
        self.max_length, self.lanes = max_length, lanes
        self.batch_tokens, self.eval_batch_tokens = batch_tokens, eval_batch_tokens
        self.min_rows, self.pool, self.n_workers, self.seed = min_rows, pool, n_workers, seed
        self.datasets: dict[str, Rows] = {}
        self._order: BatchOrder | BlockOrder | None = None
        self._resume = {"epoch": 0, "batch": 0}
        self.may_change: Sequence[str] = ()  # dotted names that a resumed training may find changed

    @property
    def order(self) -> BatchOrder | BlockOrder:
        """The order of training batches; `order.batches_per_epoch` is the number of optimizer steps of an epoch."""
        if self._order is None:
            self._order = self._train_order()
        return self._order

    @property
    def n_targets(self) -> int:
        """What there is to learn from: the tokens of raw training text or of targets, else the training rows."""
        return self._rows("train").n_targets

    def training_tokens(self) -> Iterator[Tensor]:
        """Every training row once on every rank, (B, T) ids each, for families that count before they train."""
        rows = self._rows("train")
        for batch in self._evaluation_order(rows, rank=0, world=1):
            yield rows[batch]["tokens"]

    def train_dataloader(self) -> DataLoader[Batch]:
        self.order.set_epoch(self._resume["epoch"])
        self.order.start = self._resume["batch"]
        return self._loader("train", self.order, self.seed)

    def val_dataloader(self) -> DataLoader[Batch] | list:
        return self._evaluation("val")

    def test_dataloader(self) -> DataLoader[Batch] | list:
        return self._evaluation("test")

    def state_dict(self) -> dict[str, Any]:
        """Where training stands: the epoch, and the global batches of it that are done; an epoch's end is the next's
        beginning. Each optimizer step takes one global batch, and all epochs have as many of them."""
        assert self.trainer is not None
        steps = min(len(self.order), int(self.trainer.num_training_batches)) // self.order.accumulation
        epoch, batch = divmod(self.trainer.global_step, steps)
        return {"epoch": epoch, "batch": batch, **self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there; the same weights may be tested on any other data, but not trained on."""
        if self.trainer and self.trainer.state.fn != TrainerFn.FITTING:
            return
        changed = {name: now for name, now in self._identity().items() if state.get(name) != now}
        if refused := [name for name in changed if not covered(name, self.may_change)]:
            told = "; ".join(f"{name}: {state.get(name)} then, {changed[name]} now" for name in refused)
            fix = f"Start a new run, or add allow_change=[{','.join(refused)}]"
            raise CheckpointError(f"the checkpoint was made with other data ({told})", fix=fix)
        self._resume = {"epoch": state["epoch"], "batch": state["batch"]}

    def _identity(self) -> dict[str, Any]:
        """What decides which rows a batch holds and what they look like, by the names that `allow_change` takes."""
        raise NotImplementedError

    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer else 0

    def _world(self) -> int:
        return self.trainer.world_size if self.trainer else 1

    def _train_order(self) -> BatchOrder | BlockOrder:
        rows = self._rows("train")
        shared: dict[str, int] = {"batch_tokens": self.batch_tokens, "seed": self.seed, "rank": self._rank()}
        shared |= {"world": self._world()}
        shared |= {"accumulation": self.trainer.accumulate_grad_batches if self.trainer else 1}
        if isinstance(rows, Blocks):
            return BlockOrder(len(rows), max_length=self.max_length, lanes=self.lanes, **shared)
        return BatchOrder(rows.lengths, pool=self.pool, min_rows=self.min_rows, **shared)

    def _evaluation(self, split: str) -> DataLoader[Batch] | list:
        rows = self._rows(split)
        if not len(rows):  # a share of 0 was asked for
            return []
        return self._loader(split, self._evaluation_order(rows, self._rank(), self._world()), 0)

    def _evaluation_order(self, rows: Rows, rank: int, world: int) -> EvaluationOrder | BlockEvaluationOrder:
        if isinstance(rows, Blocks):
            n_rows = max(1, self.eval_batch_tokens // self.max_length)
            return BlockEvaluationOrder(rows.positions(), rows=n_rows, rank=rank, world=world)
        return EvaluationOrder(rows.lengths, batch_tokens=self.eval_batch_tokens, rank=rank, world=world)

    def _rows(self, split: str) -> Rows:
        if split not in self.datasets:
            have = ", ".join(self.datasets)
            raise DataError(f"there is no {split} split, only: {have}", str(self.path or self.source), "Give its rows")
        return self.datasets[split]

    def _loader(self, split: str, order: Sampler[list[int]], seed: int) -> DataLoader[Batch]:
        return DataLoader(
            self._rows(split),
            sampler=order,
            batch_size=None,  # the order yields whole batches of row numbers
            num_workers=self.n_workers,
            worker_init_fn=leave_to_parent,
            persistent_workers=self.n_workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator().manual_seed(seed),  # else each epoch's start shifts the dropout
        )
