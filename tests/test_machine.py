"""`auto` is decided by what the machine has, and what it has not is said before anything starts."""

import pytest
import torch

from lmlab.errors import ConfigError
from lmlab.machine import has_bf16, out_of_memory, refuse_compiling, resolved

AUTO = {"accelerator": "auto", "devices": 1, "strategy": "auto", "precision": "auto"}
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")


@no_gpu
def test_auto_on_a_machine_without_accelerators():
    settings = resolved(AUTO)
    assert settings["accelerator"] == "cpu" and settings["devices"] == 1
    assert settings["precision"] == ("bf16-mixed" if has_bf16("cpu") else "32-true")
    assert resolved(AUTO | {"devices": "auto", "strategy": "ddp"})["devices"] == 2
    assert resolved(AUTO | {"precision": "bf16-mixed"})["precision"] == "bf16-mixed"


@no_gpu
def test_a_missing_gpu_is_said():
    with pytest.raises(ConfigError, match="no GPU is visible .* Use trainer=cpu"):
        resolved(AUTO | {"accelerator": "gpu"})


def test_several_devices_need_a_strategy():
    with pytest.raises(ConfigError, match="4 devices need a strategy"):
        resolved(AUTO | {"accelerator": "cpu", "devices": 4})


def test_a_missing_compiler_is_said_before_it_is_needed(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    refuse_compiling(AUTO | {"compile": False})
    with pytest.raises(ConfigError, match=r"no C\+\+ compiler .* CXX"):
        refuse_compiling(AUTO | {"compile": True})


def test_out_of_memory_names_the_cheapest_changes():
    config = {
        "data": {"batch_tokens": 4096, "max_length": 256},
        "trainer": {"precision": "32-true", "accelerator": "cpu", "devices": 1, "accumulate_grad_batches": 1},
    }
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    advice = out_of_memory(caught.value, config)
    assert advice.exit_code == 71 and "data.batch_tokens=4096, data.max_length=256, precision 32-true" in str(advice)
    assert "trainer.accumulate_grad_batches=2 (same result), data.max_length=128" in str(advice)
    assert out_of_memory(ValueError("no"), config) is None
