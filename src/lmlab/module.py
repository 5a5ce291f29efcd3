"""LanguageModule: a network trained on a task."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import Optimizer

from lmlab.errors import NotANumber
from lmlab.nn.lora import adapt
from lmlab.nn.network import Network
from lmlab.nn.noise import noise_of
from lmlab.optimizers import freeze, highest_rate, hold_back, parameter_groups
from lmlab.ranges import NonNegativeInt, PositiveFloat, Probability, Seed, Share
from lmlab.tasks.task import Task
from lmlab.tokenizer import Tokenizer


class LanguageModule(LightningModule):
    """Steps, logging and optimizer of a network and a task; a family whose training differs subclasses it.

    The gradient of an optimizer step is that of the mean loss over all targets of all ranks and micro-batches: losses
    are summed, and divided once by the global count, so accumulation and DDP equal one big batch.
    """

    def __init__(
        self,
        network: Network,
        task: Task,
        *,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., Any],
        clip_norm: PositiveFloat | None = 1.0,
        embedding_lr: PositiveFloat = 1.0,
        layer_decay: Share = 1.0,
        frozen: NonNegativeInt | None = None,
        unfreezing: Probability = 0.0,
        lora_rank: NonNegativeInt = 0,
        lora_alpha: PositiveFloat = 16.0,
        prior_std: PositiveFloat | None = None,
        seed: Seed = 0,
    ) -> None:
        super().__init__()
        self.network, self.task = network, task
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.clip_norm, self.prior_std, self.seed = clip_norm, prior_std, seed
        self.embedding_lr = embedding_lr  # as a share of the rate of all else: Adam moves rarely seen rows far
        self.layer_decay, self.unfreezing = layer_decay, unfreezing
        self.lora_rank, self.lora_alpha = lora_rank, lora_alpha
        if frozen is not None:
            freeze(network, frozen)
        self.summed: list[Tensor] = []  # (loss, targets) of each micro-batch since the last optimizer step

    @property
    def n_parameters(self) -> int:
        """How many numbers are learned from text, the task's among them."""
        return self.network.n_parameters + sum(parameter.numel() for parameter in self.task.parameters())

    def adapt(self) -> None:
        """Put low-rank changes beside the weights, once these are what they begin with."""
        if self.lora_rank:
            adapt(self.network, self.lora_rank, self.lora_alpha)

    @property
    def exports(self) -> Mapping[str, Callable[[Path, Tokenizer], list[Path]]]:
        """What writes the network into a folder, by the format's name; the family's YAML names the same formats."""
        return {}

    def configure_optimizers(self) -> dict:
        optimizer = self.make_optimizer(parameter_groups((self.network, self.task), self.layer_decay))
        for group in optimizer.param_groups:
            group["lr"] *= group["share"] * (self.embedding_lr if group["tables"] else 1.0)
        self.total_steps = int(self.trainer.estimated_stepping_batches)
        scheduler = self.make_scheduler(optimizer, self.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_batch_start(self, batch: Mapping[str, Tensor], index: int) -> None:
        seed = mixed(self.seed, self.trainer.current_epoch, index, self.global_rank)
        if self.device.type == "cpu":  # torch.manual_seed takes half a millisecond for the devices that are not there
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def training_step(self, batch: Mapping[str, Tensor], index: int) -> Tensor:
        with noise_of((self.network, self.task), mixed(self.seed, self.trainer.current_epoch), batch["rows"]):
            loss, count = self.task.loss(self.network, batch)
        self.summed.append(torch.stack((loss.detach().float(), count.float())))
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Turn the summed gradients into those of the mean, clip them, log what the step was."""
        if not self.automatic_optimization:  # of a family that moves its weights in place
            return
        total = self.trainer.strategy.reduce(torch.stack(self.summed).sum(0), reduce_op="sum")
        self.summed.clear()
        if self.unfreezing:
            hold_back(self.network, self.trainer.global_step / (self.unfreezing * self.total_steps))
        # DDP has averaged over ranks and Lightning has divided each loss by the number of micro-batches: undo both
        scale = self.trainer.world_size * self.trainer.accumulate_grad_batches / total[1].clamp(min=1)
        if self.prior_std is not None:
            self.add_prior(self.prior_std, scale)
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients) * scale
        if not torch.isfinite(total[0] + norm):
            raise NotANumber(
                f"loss {float(total[0] / total[1].clamp(min=1)):.4g}, gradient norm {float(norm):.4g} at step "
                f"{self.trainer.global_step + 1}, learning rate {highest_rate(optimizer):.3g}",
                "training",
                "The last checkpoint is from before it; lower optimizer.lr, or find the operation with debug=true",
            )
        if self.clip_norm is not None:
            scale = scale * (self.clip_norm / (norm + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(gradients, scale.to(gradients[0].dtype))
        self.log_step(
            {
                "train/loss": (total[0] / total[1].clamp(min=1)).float(),
                "train/gradient_norm": norm.float(),
                "train/lr": torch.tensor(highest_rate(optimizer)),
            }
        )

    def log_in_place(self, loss: Tensor, count: Tensor, rate: float) -> None:
        """Log a step of a family that moves its weights itself: the sum of its losses over all ranks, and how many."""
        loss, count = self.trainer.strategy.reduce(torch.stack((loss, count)).double(), reduce_op="sum")
        mean = loss / count.clamp(min=1)
        if not mean.isfinite():
            where = f"loss {float(mean):.4g} at step {self.trainer.global_step + 1}, learning rate {rate:.3g}"
            raise NotANumber(where, "training", "The last checkpoint is from before it; lower optimizer.lr")
        self.log_step({"train/loss": mean.float(), "train/lr": torch.tensor(rate)})

    def add_prior(self, std: float, scale: Tensor) -> None:
        """Add what turns maximum likelihood into maximum a posteriori, to gradients not yet multiplied by `scale`.

        With a prior N(0, std^2) of each weight the mean loss over N training targets is followed by the sum of
        w^2 / (2 std^2 N), whose gradient is w / (std^2 N). Vectors (biases, norms) have a flat prior.
        """
        precision = 1 / (std**2 * self.trainer.datamodule.n_targets * self.task.share * scale)  # type: ignore[attr-defined]
        for weight in self.parameters():
            if weight.grad is not None and weight.ndim >= 2:
                weight.grad.add_(weight.detach() * precision)

    def validation_step(self, batch: Mapping[str, Tensor], index: int) -> dict[str, Tensor]:
        return self.task.score(self.network, batch, "val")

    def test_step(self, batch: Mapping[str, Tensor], index: int) -> dict[str, Tensor]:
        return self.task.score(self.network, batch, "test")

    def on_validation_epoch_start(self) -> None:
        self.task.between_steps = self.trainer.state.fn == "fit"
        self.task.reset("val")

    def on_test_epoch_start(self) -> None:
        self.task.between_steps = False
        self.task.reset("test")

    def on_validation_epoch_end(self) -> None:
        self.log_results("val")

    def on_test_epoch_end(self) -> None:
        self.log_results("test")

    def log_step(self, values: dict[str, Tensor]) -> None:
        """What `log_dict` does of an optimizer step, callbacks told of each and loggers of every n-th, without the
        milliseconds that it takes."""
        trainer = self.trainer
        trainer.callback_metrics.update(values)
        if (trainer.global_step + 1) % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            told = {name: value.item() for name, value in values.items()} | {"epoch": trainer.current_epoch}
            for logger in trainer.loggers:
                logger.log_metrics(told, step=trainer.global_step)
                logger.save()

    def log_results(self, stage: str) -> None:
        results = self.task.results(stage)  # every rank holds the global numbers: nothing is left to reduce
        self.log_dict({f"{stage}/{name}": float(value) for name, value in results.items()}, rank_zero_only=False)


def mixed(*numbers: int) -> int:
    """One seed from several numbers, each of which changes it beyond recognition (splitmix64's finaliser)."""
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) % 2**64
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) % 2**64
        state ^= state >> 31
    return state % 2**63
