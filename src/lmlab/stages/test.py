"""Score a finished run's best checkpoint on the test split, or on the corpus that `data.path=` names."""

from lmlab.experiment import Experiment
from lmlab.stages.fit import numbers
from lmlab.stages.report import print_results


def test(experiment: Experiment, checkpoint: str = "best.ckpt") -> dict[str, dict[str, float]]:
    trainer, run = experiment.trainer, experiment.run
    experiment.load_weights(run.checkpoints / checkpoint)
    with experiment.ranks():
        trainer.test(experiment.module, datamodule=experiment.corpus, verbose=False)
        results = {"test": numbers(trainer.callback_metrics, "test/")}
        if trainer.is_global_zero:
            corpus = experiment.corpus.summary()
            run.update_metrics(f"test on {corpus['source']} {corpus['fingerprint'][:12]}", results["test"])
            print_results(experiment, results)
    return results
