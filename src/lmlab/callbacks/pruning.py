"""Ends a trial of a search early if others were better at this point."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from lmlab.ranges import NonNegativeInt

log = logging.getLogger(__name__)


class Pruning(Callback):
    """Reports `monitor` to the study after each validation; where the pruner says so, all ranks stop, `pruned`."""

    def __init__(
        self,
        study: str,
        trial: NonNegativeInt | None,
        monitor: str,
        pruner: str | None = "MedianPruner",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.study, self.number, self.monitor = study, trial, monitor
        self.pruner, self.options = pruner, dict(options or {})
        self.trial: Any = None
        self.pruned = False

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self.number is None or trainer.sanity_checking or trainer.state.fn != "fit":
            return
        hopeless = trainer.is_global_zero and self.hopeless(trainer.callback_metrics.get(self.monitor))
        if trainer.strategy.reduce_boolean_decision(hopeless, all=False):
            self.pruned = trainer.should_stop = True
            log.info("pruned: other trials were better at this point")

    def hopeless(self, value: Any) -> bool:
        """What the pruner says of the trial so far; a study that cannot be reached costs no trial."""
        if value is None:
            return False
        try:
            self.trial = self.trial or self.load()
            if self.trial is None:
                return False
            self.trial.report(float(value), step=len(self.trial._get_latest_trial().intermediate_values))
            return self.trial.should_prune()
        except Exception as error:
            log.warning("not reported to %s: %s", self.study, error)
            return False

    def load(self) -> Any:
        """The trial in its study, or None if the sweep has given it up: only running ones take reports."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        pruner = getattr(optuna.pruners, self.pruner or "NopPruner")(**self.options)
        name = Path(self.study).parent.name
        study = optuna.load_study(study_name=name, storage=f"sqlite:///{self.study}", pruner=pruner)
        frozen = study.get_trials(deepcopy=False)[self.number or 0]
        return None if frozen.state.is_finished() else optuna.trial.Trial(study, frozen._trial_id)
