"""The resolved plan of a run: sizes, costs, steps and splits. Nothing is trained, nothing is left behind."""

from lmlab.experiment import Experiment
from lmlab.stages.report import cost_of_a_batch, plan, print_rows_table
from lmlab.terminal import print_table


def check(experiment: Experiment) -> None:
    experiment.corpus.setup("fit")
    summary = experiment.corpus.summary()
    print_table("Plan", plan(experiment) | cost_of_a_batch(experiment))
    print_rows_table(summary)
