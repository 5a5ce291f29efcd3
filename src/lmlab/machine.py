"""What this machine can do, turned into the Trainer's own words."""

import ctypes
import sys
from collections.abc import Mapping
from typing import Any

import torch

from lmlab.errors import ConfigError

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
