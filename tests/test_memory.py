"""What a training takes is measured, and what a device holds at once is told from it."""

import json

import hydra
import pytest
import torch

from jobs import TINY, inside, only_run, write_reviews
from lmlab import check, memory
from lmlab.errors import OutOfMemory
from lmlab.experiment import Experiment, plain
from lmlab.run_directory import RunDirectory


def test_the_peak_is_what_lives_at_one_time():
    x = torch.ones(1000, requires_grad=True)
    with memory.Peak() as peak:
        y = (x * 2).exp()  # y alone is kept
        assert peak.live == 4000 and peak.most == 8000
        z = y.view(10, 100)
        z += 0.0
        assert peak.live == 4000
        del y, z
    assert peak.live == 0 and peak.most == 8000


@pytest.fixture
def experiment(tmp_path):
    write_reviews(tmp_path / "reviews")
    typed = ["data=text_files", f"data.path={tmp_path / 'reviews'}", "data.classes=[negative,positive]", *TINY]
    with hydra.initialize_config_dir(str(check.CONF), version_base="1.3"):
        config = plain(hydra.compose("config", [*typed, "trainer=cpu", f"run.folder={tmp_path}", "data.max_length=16"]))
    made = Experiment(config, RunDirectory(tmp_path))
    made.corpus.prepare()
    return made


def test_weights_gradients_and_moments_are_fixed_and_the_rest_grows_with_tokens(experiment):
    before = {name: tensor.clone() for name, tensor in experiment.module.state_dict().items()}
    need = memory.needed(experiment)
    weights = sum(p.nbytes for p in experiment.module.parameters())
    assert 4 * weights <= need.fixed < 5 * weights + 50_000
    batch = experiment.corpus.datasets["train"][list(range(40))]
    whole = memory.peak(experiment.module, batch, "32-true")
    told = need.fixed - 4 * weights + need.per_token * batch["tokens"].numel()
    assert told == pytest.approx(whole, rel=0.1)
    assert all(p.grad is None for p in experiment.module.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in experiment.module.state_dict().items())


@pytest.mark.parametrize("share", [0.5, 0.26])
def test_what_does_not_fit_is_accumulated(experiment, monkeypatch, share):
    need = memory.needed(experiment)
    room = need.fixed + share * experiment.corpus.batch_tokens * need.per_token
    monkeypatch.setattr(memory, "available", lambda device: int(room / memory.SHARE) + 100)
    fits = memory.tokens_at_once(experiment)
    assert fits == pytest.approx(share * experiment.corpus.batch_tokens, abs=1)
    experiment.config = experiment.config | {"trainer": experiment.config["trainer"] | {"batch_tokens": fits}}
    del experiment.settings
    assert experiment.settings["accumulate_grad_batches"] == (2 if share == 0.5 else 4)


def test_a_row_that_does_not_fit_is_told(experiment, monkeypatch):
    need = memory.needed(experiment)
    monkeypatch.setattr(memory, "available", lambda device: need.fixed)
    with pytest.raises(OutOfMemory, match=r"a row of 16 tokens takes .*activation_checkpointing=true"):
        memory.tokens_at_once(experiment)


def test_this_machine_has_memory():
    assert 2**20 < memory.available(torch.device("cpu")) < 2**50


def test_a_run_keeps_the_number_that_auto_became(tmp_path):
    write_reviews(tmp_path / "reviews")
    words = ["data=text_files", "data.path=reviews", *TINY, "trainer=cpu", "logger=csv", "trainer.batch_tokens=auto"]
    inside(*words, "trainer.activation_checkpointing=true", cwd=tmp_path)
    run = only_run(tmp_path)
    assert check.read_config(str(run))["trainer"]["batch_tokens"] == 128
    half = inside(*words[:-1], "trainer.batch_tokens=64", "run.id=half", "data.min_rows=2", cwd=tmp_path)
    assert "in 2 parts" in half.stdout
    assert json.loads((run / "metrics.json").read_text())["fit"]["fit/steps"] > 0
    told = inside(*words, "trainer.accumulate_grad_batches=2", cwd=tmp_path, check=False)
    assert told.returncode == 2 and "both say how many batches are accumulated" in told.stderr
