"""Pictures of a sweep: objective over jobs and over what they cost, parallel coordinates, importance of parameters."""

import contextlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lmlab.sweeps.records import COSTS, Record, values_of

ENOUGH = 4  # jobs below which importance would be chance
NAMED = 24  # jobs beyond which names would hide the points


def draw(folder: Path, rows: Sequence[Record], keys: Sequence[str], monitor: str, mode: str) -> None:
    """Write what can be drawn: parameters only where some differ."""
    matplotlib.use("Agg")
    folder.mkdir(exist_ok=True)
    scored = [row for row in rows if row.get("objective") is not None]
    figures = {"objective": objective_over_jobs(scored, monitor, mode)}
    costs = [name for name in COSTS if len({row.get(name) for row in scored} - {None}) > 1]
    if costs:
        figures["cost"] = objective_over_costs(scored, keys, monitor, costs)
    if keys and len(scored) > 1:
        figures["parallel_coordinates"] = parallel_coordinates(scored, keys, monitor)
        shares = importances(scored, keys, mode)
        if shares:
            figures["importance"] = bars(shares, monitor)
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=120, bbox_inches="tight")


def objective_over_jobs(rows: Sequence[Record], monitor: str, mode: str) -> Figure:
    """A dot for each job, a line for the best so far."""
    figure = Figure(figsize=(7, 3.8))
    axis = figure.subplots()
    for status, color in (("finished", "tab:blue"), ("pruned", "tab:orange")):
        of_status = [row for row in rows if row["status"] == status]
        if of_status:
            jobs, values = [row["job"] for row in of_status], [row["objective"] for row in of_status]
            axis.scatter(jobs, values, s=18, color=color, label=status)
    finished = sorted((row["job"], row["objective"]) for row in rows if row["status"] == "finished")
    if finished:
        best = (np.maximum if mode == "max" else np.minimum).accumulate([value for _, value in finished])
        axis.step([job for job, _ in finished], best, where="post", color="tab:green", label="best so far")
    axis.set(xlabel="job", ylabel=monitor, title="Objective")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(alpha=0.3)
    axis.legend()
    return figure


def objective_over_costs(rows: Sequence[Record], keys: Sequence[str], monitor: str, costs: Sequence[str]) -> Figure:
    """The objective against training time and size, a point for each job with the values that tell it apart."""
    figure = Figure(figsize=(5.2 * len(costs), 4))
    for axis, cost in zip(np.atleast_1d(figure.subplots(1, len(costs), sharey=True)), costs, strict=True):
        for row in rows:
            if row.get(cost):
                axis.scatter(row[cost], row["objective"], s=28)
                label = " ".join(values_of(row).get(key, "") for key in keys) if len(rows) <= NAMED else ""
                axis.annotate(label, (row[cost], row["objective"]), (5, 4), textcoords="offset points", fontsize=8)
        axis.set(xscale="log", xlabel=cost.replace("_", " "))
        axis.margins(x=0.2, y=0.1)
        axis.grid(alpha=0.3, which="both")
    figure.axes[0].set_ylabel(monitor)
    return figure


def parallel_coordinates(rows: Sequence[Record], keys: Sequence[str], monitor: str) -> Figure:
    """A line for each job across its parameters, coloured by the objective, which is the last axis."""
    figure = Figure(figsize=(2.0 * (len(keys) + 1) + 1.5, 4))
    axis = figure.subplots()
    objectives = np.array([row["objective"] for row in rows], dtype=float)
    columns = [placed([values_of(row).get(key, "") for row in rows]) for key in keys]
    columns.append(placed([f"{value:.6g}" for value in objectives]))
    colors = matplotlib.colormaps["viridis"](columns[-1][0])
    for number in np.argsort(objectives):
        heights = [heights[number] for heights, _ in columns]
        axis.plot(range(len(columns)), heights, color=colors[number], alpha=0.7)
    for place, (_, ticks) in enumerate(columns):
        axis.axvline(place, color="0.6", linewidth=0.8)
        for height, label in ticks:
            axis.text(place + 0.02, height, label[:18], fontsize=7, va="center")
    axis.set_xticks(range(len(columns)), [*keys, monitor], rotation=20, ha="right")
    axis.set_yticks([])
    axis.set(xlim=(-0.1, len(columns) - 0.6), title="Parameters of each job")
    return figure


def placed(values: Sequence[str]) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Heights from 0 to 1 and the ticks that explain them; numbers over two orders of magnitude on a log scale."""
    try:
        numbers = np.array([float(value) for value in values])
    except ValueError:
        names = sorted(set(values))
        step = 1 / max(1, len(names) - 1)
        return np.array([names.index(value) * step for value in values]), [
            (index * step, name) for index, name in enumerate(names)
        ]
    low, high = numbers.min(), numbers.max()
    log = spread(low, high)
    scaled = np.log(numbers) if log else numbers
    width = np.ptp(scaled) or 1.0
    at = np.linspace(scaled.min(), scaled.max(), 5 if low < high else 1)
    ticks = [((place - scaled.min()) / width, f"{np.exp(place) if log else place:.3g}") for place in at]
    return (scaled - scaled.min()) / width, ticks


def importances(rows: Sequence[Record], keys: Sequence[str], mode: str) -> dict[str, float]:
    """How much each parameter decides between good and bad jobs (PED-ANOVA), or nothing where too few differ."""
    objectives = [row["objective"] for row in rows if row["status"] == "finished"]
    if len(keys) < 2 or len(objectives) < ENOUGH or len(set(objectives)) < 2:
        return {}
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if mode == "max" else "minimize")
    columns = {key: as_numbers([values_of(row).get(key, "") for row in rows]) for key in keys}
    kinds = {key: distribution(values) for key, values in columns.items()}
    for number, row in enumerate(rows):
        if row["status"] == "finished":
            params = {key: values[number] for key, values in columns.items()}
            study.add_trial(optuna.create_trial(params=params, distributions=kinds, value=row["objective"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        return optuna.importance.get_param_importances(study, evaluator=evaluator)


def as_numbers(values: Sequence[str]) -> list[Any]:
    """Many numbers are a range; few, and all else, are names."""
    with contextlib.suppress(ValueError):
        numbers = [float(value) for value in values]
        return numbers if len(set(numbers)) > 3 else list(values)
    return list(values)


def distribution(values: Sequence[Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(values[0], str):
        return CategoricalDistribution(sorted(set(values)))
    low, high = min(values), max(values)
    return FloatDistribution(low, high, log=spread(low, high))


def spread(low: float, high: float) -> bool:
    """Whether numbers are better compared by their logarithms."""
    return low > 0 and high / low > 30


def bars(shares: dict[str, float], monitor: str) -> Figure:
    figure = Figure(figsize=(6, 0.5 * len(shares) + 1.2))
    axis: Axes = figure.subplots()
    axis.barh(list(shares)[::-1], list(shares.values())[::-1], color="tab:blue")
    axis.set(xlabel="share", title=f"Importance for {monitor}")
    return figure
