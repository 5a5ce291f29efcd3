"""Score a finished run's best checkpoint on what its corpus is scored on, or on the corpus that `data.path=` names."""

from lmlab.experiment import Experiment
from lmlab.stages.fit import numbers
from lmlab.stages.report import print_results


def test(experiment: Experiment, checkpoint: str = "best.ckpt") -> dict[str, dict[str, float]]:
    trainer, run, corpus = experiment.trainer, experiment.run, experiment.corpus
    experiment.load_weights(run.checkpoints / checkpoint)
    with experiment.ranks():
        corpus.setup()
        results = {}
        for split in corpus.scored:
            evaluate = trainer.test if split == "test" else trainer.validate
            evaluate(experiment.module, datamodule=corpus, verbose=False)
            results[split] = numbers(trainer.callback_metrics, f"{split}/")
        if trainer.is_global_zero:
            summary, average = corpus.summary(), experiment.config.get("average")
            of_mean = f" (average of {average})" if average else ""
            for split, values in results.items():
                name = f"{split} on {summary['source']} {summary['fingerprint'][:12]}{of_mean}"
                run.update_metrics(name, values, experiment.module.task.measured_by())
            print_results(experiment, results)
    return results
