"""How much memory a training takes, and how many tokens a device can hold at once."""

import math
import re
import weakref
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lmlab import flops
from lmlab.data.blocks import Blocks
from lmlab.data.dataset import Batch
from lmlab.errors import OutOfMemory
from lmlab.experiment import Experiment
from lmlab.module import LanguageModule

ROWS = (7, 13)  # of the batches that are measured: no power of two, which would be taken for a gradient
SHARE = 0.7  # of the memory that is free: allocators round up, kernels have scratch space of their own
CGROUPS = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))


class Peak(TorchDispatchMode):
    """The most bytes that tensors made while it is open hold at one time, on any device: `most`.

    Tensors of `other_sizes`, in bytes, are left out.
    """

    def __init__(self, other_sizes: Collection[int] = ()) -> None:
        super().__init__()
        self.other_sizes = frozenset(other_sizes)
        self.live, self.most = 0, 0
        self.known: weakref.WeakValueDictionary[int, torch.UntypedStorage] = weakref.WeakValueDictionary()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self.add(tensor.untyped_storage())
        return made

    def add(self, storage: torch.UntypedStorage) -> None:
        if id(storage) not in self.known and storage.nbytes() not in self.other_sizes:
            self.known[id(storage)] = storage
            self.live += storage.nbytes()
            self.most = max(self.most, self.live)
            weakref.finalize(storage, self.free, storage.nbytes())

    def free(self, n_bytes: int) -> None:
        self.live -= n_bytes


class Need(NamedTuple):
    """Bytes that a training takes: weights, gradients and moments, and for each token of a batch, padding counted."""

    fixed: int
    per_token: float


def needed(experiment: Experiment) -> Need:
    """Measured on two batches of the longest training rows."""
    module, device = experiment.module.train(), root_device(experiment)
    module.to(device)
    longest = [longest_rows(experiment, n) for n in ROWS]
    batches = [experiment.corpus.datasets["train"][rows] for rows in longest]
    few, many = (n_tokens(experiment, rows) for rows in longest)
    less, more = (peak(module, batch, experiment.settings["precision"]) for batch in batches)
    weights, changing = sum(p.nbytes for p in module.parameters()), sum(p.nbytes for p in learned(module))
    per_token = max(1.0, (more - less) / max(1, many - few))
    return Need(weights + 3 * changing + max(0, less - int(per_token * few)), per_token)


def learned(module: LanguageModule) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def has_gradients(module: LanguageModule) -> bool:
    """Not if it is counted, or moves its weights itself, row by row."""
    return bool(learned(module)) and module.automatic_optimization


def longest_rows(experiment: Experiment, n: int) -> list[int]:
    rows = experiment.corpus.datasets["train"]
    if isinstance(rows, Blocks):  # which are all of one length
        return list(range(min(n, len(rows))))
    return np.argsort(-rows.lengths, kind="stable")[:n].tolist()


def n_tokens(experiment: Experiment, rows: list[int]) -> int:
    """What a batch of these rows takes of a budget: padding counted, and the targets of pairs."""
    dataset = experiment.corpus.datasets["train"]
    return len(rows) * (dataset.max_length if isinstance(dataset, Blocks) else int(dataset.lengths[rows].max()))


def root_device(experiment: Experiment) -> torch.device:
    return torch.device("cuda", 0) if experiment.settings["accelerator"] in ("gpu", "cuda") else torch.device("cpu")


def peak(module: LanguageModule, batch: Batch, precision: str) -> int:
    """Bytes that a batch's way through a network and back holds beside gradients; no weight is changed."""
    device = module.device
    there: Any = {name: part.to(device) if isinstance(part, Tensor) else part for name, part in batch.items()}
    kind = flops.KINDS.get(precision.partition("-")[0], torch.float32)
    with torch.random.fork_rng(), Peak({p.nbytes for p in learned(module)}) as made:
        with torch.autocast(device.type, kind, enabled=precision.endswith("mixed")):
            loss, _ = module.task.loss(module.network, there)
        loss.backward()
    module.zero_grad(set_to_none=True)
    return made.most


def available(device: torch.device) -> int:
    """Bytes that are free: of an accelerator its own, else of the machine and of the group that processes share."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = [psutil.virtual_memory().available]
    for names in CGROUPS:
        limit, used = (Path("/sys/fs/cgroup", name) for name in names)
        if limit.is_file() and used.is_file() and (text := limit.read_text().strip()).isdigit():
            cached = re.search(r"^(?:total_)?inactive_file (\d+)", limit.with_name("memory.stat").read_text(), re.M)
            free.append(int(text) - int(used.read_text()) + (int(cached[1]) if cached else 0))
    return max(0, min(free))


def tokens_at_once(experiment: Experiment) -> int:
    """How many tokens of a batch, padding counted, fit into the memory of each device beside the weights.

    Raises OutOfMemory if not even one row does.
    """
    ranks = experiment.settings["devices"] * experiment.settings["num_nodes"]
    all_of_it = math.ceil(experiment.corpus.batch_tokens / ranks)
    if not has_gradients(experiment.module):
        return all_of_it
    need, device = needed(experiment), root_device(experiment)
    sharing = 1 if device.type == "cuda" else experiment.settings["devices"]
    room = int(SHARE * available(device) / sharing) - need.fixed
    tokens = int(room / need.per_token)
    if tokens < (longest := experiment.corpus.max_length):
        raise OutOfMemory(
            f"a row of {longest} tokens takes {longest * need.per_token / 2**20:,.0f} MiB beside "
            f"{need.fixed / 2**20:,.0f} MiB for weights, gradients and moments; {max(0, room) / 2**20:,.0f} MiB left",
            f"{experiment.settings['accelerator']} x {experiment.settings['devices']}",
            "Lower data.max_length, add trainer.activation_checkpointing=true, or choose a smaller model",
        )
    return min(tokens, all_of_it)
