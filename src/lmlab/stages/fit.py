"""Train, then validate and test the best checkpoint."""

import time

from lightning.pytorch.loggers import WandbLogger

from lmlab.experiment import Experiment
from lmlab.stages.report import print_plan, print_results


def fit(experiment: Experiment) -> dict[str, dict[str, float]]:
    """Every rank runs this; rank 0 tells. Returns the final numbers by stage."""
    trainer, module, corpus = experiment.trainer, experiment.module, experiment.corpus
    with experiment.ranks():
        corpus.setup("fit")
        if trainer.is_global_zero:
            print_plan(experiment)
            for logger in trainer.loggers:
                if isinstance(logger, WandbLogger):
                    logger.log_hyperparams(dict(experiment.config))
        started = time.monotonic()
        trainer.fit(module, datamodule=corpus, ckpt_path=experiment.config.get("resume"))
        results = {
            "fit": {
                "fit/seconds": round(time.monotonic() - started, 2),
                "fit/steps": trainer.global_step,
                "fit/parameters": module.n_parameters,
            }
        }
        results["fit"] |= numbers(trainer.callback_metrics, "throughput/")
        if trainer.checkpoint_callback:
            experiment.load_weights(experiment.run.checkpoints / "best.ckpt")
        if experiment.pruned:  # its last validation is all that a search needs of it
            results["val"] = numbers(trainer.callback_metrics, "val/")
        evaluations = () if experiment.pruned else (("val", trainer.validate), ("test", trainer.test))
        for stage, evaluate in evaluations:
            if len(corpus.datasets[stage]):
                evaluate(module, datamodule=corpus, verbose=False)
            results[stage] = numbers(trainer.callback_metrics, f"{stage}/")
        if trainer.is_global_zero:
            for stage, values in results.items():
                experiment.run.update_metrics(stage, values, module.task.measured_by() if stage != "fit" else {})
                for logger in trainer.loggers:
                    logger.log_metrics(values, step=trainer.global_step)
            print_results(experiment, results)
    return results


def numbers(metrics: dict, prefix: str) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if name.startswith(prefix)}
