"""Every family with every corpus: one batch through training, validation and test, or the sentence `check` prints."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from jobs import ROOT, TINY, write_reviews
from lmlab import check
from lmlab.errors import ConfigError
from lmlab.job import run

MODELS = sorted(path.stem for path in (ROOT / "conf" / "model").glob("*.yaml"))
CORPORA = sorted(path.stem for path in (ROOT / "conf" / "data").glob("*.yaml"))


@pytest.mark.parametrize("data", CORPORA)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.filterwarnings("ignore")
def test_a_batch_goes_through_or_the_pair_is_refused(model, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    choice = [f"model={model}", f"data={data}", "trainer=cpu", "logger=csv"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        classes = compose("config", choice).data.classes or ["negative", "positive"]
        reviews = write_reviews(Path("reviews"), classes=tuple(classes))
        limits = [f"trainer.limit_{split}_batches=1" for split in ("train", "val", "test")]
        config = compose("config", [*choice, *TINY, *limits, "trainer.max_epochs=1", f"data.path={reviews}"])
    choices = {"model": model, "data": data}
    try:
        check.composed(config, [], choices)
    except ConfigError as error:
        assert "fit" in str(error) or "pair" in str(error)
        return
    results = run(config, [], choices)
    assert 0 <= results["test"]["test/accuracy"] <= 1
    assert results["test"]["test/rows"] > 0 and torch.isfinite(torch.tensor(results["val"]["val/loss"]))
