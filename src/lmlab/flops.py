"""Floating-point operations: how many some code does, and how many a second a device can do."""

import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from lmlab.nn.recomputation import again

aten = torch.ops.aten
Shape = Sequence[int]

KINDS = {"16": torch.float16, "bf16": torch.bfloat16, "64": torch.float64}  # of the matrices, by trainer.precision


class Counter(FlopCounterMode):
    """Counts what is done while it is open: two operations a multiply-add of matrices, nothing else.

    Attention counts whole, its masked half too, and going back through it twice as much as coming: what is recomputed
    to save memory is no progress (Chowdhery et al., 2022, appendix B).
    """

    def __init__(self) -> None:
        super().__init__(display=False, custom_mapping=FORMULAS)

    def _count_flops(self, operation: Any, out: Any, args: Any, kwargs: Any) -> Any:  # what torch calls for each
        return out if again.get() else super()._count_flops(operation, out, args, kwargs)


def attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def attention_backward(gradient: Shape, query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    return 2 * sdpa_flop_count(query, key, value)


def onednn_cells(x: Shape, from_input: Shape, from_hidden: Shape, *_: Any, **__: Any) -> int:
    """One layer in one direction: each token's input and state go through the weights of all gates."""
    return 2 * math.prod(x[:-1]) * (math.prod(from_input) + math.prod(from_hidden))


def onednn_cells_backward(*shapes: Any, **_: Any) -> int:
    return 2 * onednn_cells(*shapes)


def cudnn_cells(x: Shape, weights: Sequence[Shape], *_: Any, **__: Any) -> int:
    """All layers and directions; a packed input has its tokens in one dimension."""
    return 2 * math.prod(x[:-1]) * sum(math.prod(weight) for weight in weights if len(weight) == 2)


def cudnn_cells_backward(*shapes: Any, **_: Any) -> int:
    return 2 * cudnn_cells(*shapes)


FORMULAS: dict[Any, Any] = {  # of what torch's counter does not know, or counts with what is recomputed
    aten._scaled_dot_product_flash_attention_for_cpu: attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: attention_backward,
    aten._scaled_dot_product_flash_attention_backward: attention_backward,
    aten._scaled_dot_product_efficient_attention_backward: attention_backward,
    aten._scaled_dot_product_cudnn_attention_backward: attention_backward,
    aten.mkldnn_rnn_layer: onednn_cells,
    aten.mkldnn_rnn_layer_backward: onednn_cells_backward,
    aten._cudnn_rnn: cudnn_cells,
    aten._cudnn_rnn_backward: cudnn_cells_backward,
}


def matmul_rate(device: torch.device, precision: str, seconds: float = 0.15) -> float:
    """The most operations a second of a product of square matrices, seen in a short time that they have to themselves.

    `precision` is the Trainer's word. The random numbers of a training stay as they are.
    """
    kind = KINDS.get(precision.partition("-")[0], torch.float32)
    sizes, at_once = ((512, 1024), 1) if device.type == "cpu" else ((4096, 8192), 5)
    generator = torch.Generator(device).manual_seed(0)
    matrices = [torch.randn(size, size, device=device, generator=generator).to(kind) for size in sizes]
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        for matrix in matrices:
            finished(device)
            started = time.perf_counter()
            for _ in range(at_once):
                torch.mm(matrix, matrix)
            finished(device)
            best = max(best, at_once * 2 * len(matrix) ** 3 / (time.perf_counter() - started))
    return best


def finished(device: torch.device) -> None:
    """Wait for what the device was given to do."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
