"""What this machine can do, turned into the Trainer's own words."""

import ctypes
import os
import shutil
import sys
from collections.abc import Mapping
from typing import Any

import torch

from lmlab.errors import ConfigError, OutOfMemory

CPU_PROCESSES = 2  # what `devices=auto` means for DDP on a machine without accelerators


def resolved(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """The trainer's config with every `auto` decided by what is here."""
    settings = dict(trainer)
    if settings["accelerator"] == "auto":
        settings["accelerator"] = "gpu" if torch.cuda.is_available() else "cpu"
    present = torch.cuda.device_count() if settings["accelerator"] == "gpu" else None
    if present == 0:
        raise ConfigError("no GPU is visible", "trainer.accelerator=gpu", "Use trainer=cpu, or trainer=auto")
    if settings["devices"] == "auto":
        settings["devices"] = present or (CPU_PROCESSES if settings["strategy"] == "ddp" else 1)
    if present is not None and settings["devices"] > present:
        raise ConfigError(f"{settings['devices']} devices asked for, {present} present", "trainer.devices")
    if settings["devices"] != 1 and settings["strategy"] == "auto":
        raise ConfigError(f"{settings['devices']} devices need a strategy", "trainer.strategy", "Use trainer=ddp")
    if settings["precision"] == "auto":
        settings["precision"] = "bf16-mixed" if has_bf16(settings["accelerator"]) else "32-true"
    return settings


def refuse_compiling(trainer: Mapping[str, Any]) -> None:
    """Raises ConfigError if the network of a training is to be compiled where nothing can."""
    if trainer.get("compile") and not shutil.which(os.environ.get("CXX", "g++")):
        raise ConfigError("there is no C++ compiler", "trainer.compile=true", "Install g++, or name yours in CXX")


def has_bf16(accelerator: str) -> bool:
    """Whether bfloat16 is multiplied by hardware: AVX512-BF16 or AMX, Ampere or newer."""
    if accelerator == "gpu":
        return torch.cuda.get_device_capability()[0] >= 8
    can = torch.cpu.get_capabilities()
    return bool(can.get("avx512_bf16") or can.get("amx_bf16"))


def keep_freed_memory() -> None:
    """Let glibc reuse freed activations instead of giving them back, page by page, at each step (10-15% of a step)."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        for parameter in (-3, -1):  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD of malloc.h
            libc.mallopt(parameter, 2**30)


def out_of_memory(error: BaseException, config: Mapping[str, Any]) -> OutOfMemory | None:
    """What to change where the memory did not suffice; None for any other error."""
    said = str(error)
    if not (
        isinstance(error, MemoryError | torch.OutOfMemoryError)
        or "not enough memory: you tried" in said
        or "can't allocate memory" in said
    ):
        return None
    data, trainer = config["data"], config["trainer"]
    tokens, length = data.get("batch_tokens"), data.get("max_length")
    fewer = f"accumulate_grad_batches={2 * trainer['accumulate_grad_batches']}"
    if at_once := trainer.get("batch_tokens"):
        fewer = f"batch_tokens={at_once // 2 if isinstance(at_once, int) else 1024}"
    return OutOfMemory(
        f"out of memory with data.batch_tokens={tokens}, data.max_length={length}, precision {trainer['precision']}",
        f"{trainer['accelerator']} x {trainer['devices']}",
        f"Cheapest first: trainer.{fewer} (same result), "
        f"data.max_length={(length or 2) // 2}, data.batch_tokens={(tokens or 2) // 2}",
    )
