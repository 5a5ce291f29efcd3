"""A search for good parameters: an Optuna study in the sweep's folder, which the same command opens again."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import Trial, TrialState

from lmlab.check.nearest import did_you_mean
from lmlab.errors import ConfigError
from lmlab.sweeps import records
from lmlab.sweeps.space import Space

DIRECTION: dict[str, Any] = {"max": "maximize", "min": "minimize"}
INTERRUPTED = "interrupted"  # mark of a trial that was stopped from outside: it does not count, and is tried again
COUNTING = {"GridSampler", "QMCSampler"}  # they find their place by the number of trials: one seed for all of them


class Search:
    """Asks the study for trials, lets `launch` run them and tells how they ended, until `n_trials` have."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], space: Space, mode: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.folder, self.settings, self.space = folder, settings, space
        self.sampler(0)  # a wrong name is told before there is a study
        self.study = optuna.create_study(
            storage=storage(folder / "study.db"), study_name=folder.name, direction=DIRECTION[mode], load_if_exists=True
        )

    def run(self, fixed: Sequence[str], launch: Callable[[list[list[str]]], Any], n_parallel: int = 1) -> None:
        """Raises what `launch` raises, after the study knows which trials were cut short."""
        for trial in self.study.get_trials(states=[TrialState.RUNNING]):  # left by a killed sweep
            self.interrupt(trial.number)
        while (missing := self.settings["n_trials"] - self.done()) > 0:
            trials = [self.ask() for _ in range(min(missing, n_parallel))]
            try:
                launch([[*fixed, *overrides(trial), f"sweep.job={trial.number}"] for trial in trials])
            finally:
                ended = [self.tell(trial) for trial in trials]
            if None in ended or (self.settings["on_error"] == "stop" and TrialState.FAIL in ended):
                return

    def ask(self) -> Trial:
        """The sampler begins anew with each trial, so that a resumed study proposes what an unstopped one would."""
        self.study.sampler = self.sampler(len(self.study.get_trials(deepcopy=False)))
        return self.study.ask(self.space)

    def tell(self, trial: Trial) -> TrialState | None:
        """The state of a trial by its record; None where the sampler has nothing left to propose."""
        record = {job["job"]: job for job in records.read(self.folder)}.get(trial.number, {})
        status, value = record.get("status"), record.get("objective")
        if status in (None, "interrupted"):
            return self.interrupt(trial.number)
        state = TrialState.FAIL
        if status == "pruned":
            state = TrialState.PRUNED
        elif status == "finished" and value is not None:
            state = TrialState.COMPLETE
        try:
            self.study.tell(trial, value if state == TrialState.COMPLETE else None, state)
        except RuntimeError:  # how GridSampler and BruteForceSampler say that all has been tried
            return None
        return state

    def interrupt(self, number: int) -> TrialState:
        """Give up a trial that was cut short, and have its parameters tried again first."""
        trial = self.study.get_trials(deepcopy=False)[number]
        self.study._storage.set_trial_user_attr(trial._trial_id, INTERRUPTED, True)
        self.study.tell(number, state=TrialState.FAIL)
        self.study.enqueue_trial(trial.params)
        records.remove(self.folder, number)
        return TrialState.FAIL

    def done(self) -> int:
        """Trials that ended by themselves, well or not."""
        trials = self.study.get_trials(deepcopy=False)
        return sum(trial.state.is_finished() and INTERRUPTED not in trial.user_attrs for trial in trials)

    def sampler(self, number: int) -> optuna.samplers.BaseSampler:
        name, options = self.settings["sampler"], dict(self.settings["sampler_options"] or {})
        kind = one_of(optuna.samplers, optuna.samplers.BaseSampler, name, "sweep.sampler")
        takes = inspect.signature(kind).parameters
        if "search_space" in takes:
            options.setdefault("search_space", {key: choices(key, kind) for key, kind in self.space.items()})
        if "seed" in takes:
            options.setdefault("seed", self.settings["seed"] + (0 if name in COUNTING else number))
        return made(kind, options, "sweep.sampler_options")


def storage(path: Path) -> optuna.storages.RDBStorage:
    return optuna.storages.RDBStorage(f"sqlite:///{path.absolute()}", engine_kwargs={"connect_args": {"timeout": 60}})


def overrides(trial: Trial) -> list[str]:
    return [f"{key}={value}" for key, value in trial.params.items()]


def choices(key: str, kind: optuna.distributions.BaseDistribution) -> list[Any]:
    if isinstance(kind, optuna.distributions.CategoricalDistribution):
        return list(kind.choices)
    raise ConfigError(
        f"{key} has bounds, and GridSampler tries choices", "sweep.space", f"Write {key}: {{choices: [...]}}"
    )


def one_of(module: Any, base: type, name: str, place: str) -> type:
    """The class of Optuna that a config names."""
    classes = {entry: getattr(module, entry) for entry in module.__all__ if not entry.startswith("Base")}
    known = [entry for entry, kind in classes.items() if isinstance(kind, type) and issubclass(kind, base)]
    if name not in known:
        raise ConfigError(f"{place}: Optuna has no {name}", "", did_you_mean(name, known))
    return getattr(module, name)


def made(kind: type, options: Mapping[str, Any], place: str) -> Any:
    try:
        return kind(**options)
    except (ImportError, TypeError, ValueError) as error:
        raise ConfigError(f"{place}: {error}") from None
