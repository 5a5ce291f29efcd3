"""Shapes written in signatures are checked in every test; nothing asks the network or the user's home."""

import os
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline", "WANDB_SILENT": "true"}

from jaxtyping import install_import_hook  # noqa: E402

install_import_hook(["lmlab.nn", "lmlab.models", "lmlab.tasks", "lmlab.generate"], "beartype.beartype")

import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)  # two test processes, two cores


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """One cache of tokenized corpora for the whole session, away from the user's own."""
    os.environ["LMLAB_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["PYTHONPATH"] = str(Path(__file__).parent / "bare")  # of what a test starts
    return os.environ["LMLAB_CACHE"]
