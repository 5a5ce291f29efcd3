"""Word vectors that a network's table begins with: those of another run, or of a file."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from lmlab import checkpointing, vector_files
from lmlab.check import read_config
from lmlab.errors import CheckpointError, ConfigError
from lmlab.nn.embeddings import TokenEmbedding
from lmlab.nn.network import Network
from lmlab.tokenizer import Tokenizer

log = logging.getLogger(__name__)

KEY = "model.network.embeddings"
WORD_BEGINS = ("\u0120", "\u2581")  # how byte-level BPE and unigram write the space before a piece


def begin_with(
    network: Network, tokenizer: Tokenizer, source: str, build: Callable[[Mapping[str, Any], str], Network]
) -> None:
    """Give each entry of the vocabulary that is a word of `source` its vector, first as it is written, then in lower
    case; all others begin as they were. `build` makes the network of a run from its config."""
    table = getattr(network, "embedding", None)
    if not isinstance(table, TokenEmbedding):
        raise ConfigError(f"{type(network).__name__} has no table of tokens that vectors could start", KEY)
    special = {*tokenizer.never, tokenizer.sep_id}
    entries = {id: plain(entry) for id, entry in enumerate(tokenizer.entries()) if id not in special}
    wanted = {*entries.values(), *(entry.lower() for entry in entries.values())}
    path = Path(source).expanduser()
    found = {
        word: vector
        for word, vector in (of_run(path, build) if path.is_dir() else vector_files.read(path))
        if word in wanted
    }
    rows = {
        id: found[word]
        for id, entry in entries.items()
        for word in [entry if entry in found else entry.lower()]
        if word in found
    }
    if not rows:
        what = f"none of the {len(entries):,} entries of the vocabulary is a word of {source}"
        raise ConfigError(what, KEY, "Use tokenizer=word, and vectors of the same language")
    width, expected = len(next(iter(rows.values()))), table.weight.shape[1]
    if width != expected:
        raise ConfigError(f"the vectors are {width} wide and the table {expected}", KEY, f"Set its width to {width}")
    with torch.no_grad():
        table.weight[torch.tensor(list(rows))] = torch.stack([torch.as_tensor(row.copy()) for row in rows.values()])
    log.info("embeddings %s: %s of %s entries begin with its vectors", source, f"{len(rows):,}", f"{len(entries):,}")


def plain(entry: str) -> str:
    """A word as files of vectors write it."""
    return entry.removeprefix(WORD_BEGINS[0]).removeprefix(WORD_BEGINS[1]).replace(" ", "_")


def of_run(folder: Path, build: Callable[[Mapping[str, Any], str], Network]) -> vector_files.Entries:
    """The words of a finished run."""
    checkpoint = folder / "checkpoints" / "best.ckpt"
    if not checkpoint.is_file():
        raise CheckpointError("the run has no best.ckpt", str(folder), f"Finish it, or give another {KEY}")
    network = build(read_config(str(folder))["model"]["network"], "model.network")
    state = checkpointing.load(checkpoint)["state_dict"]
    network.load_state_dict(
        {name.removeprefix("network."): x for name, x in state.items() if name.startswith("network.")}
    )
    tokenizer = Tokenizer("word", network.word_vectors().shape[0], path=folder / "tokenizer.json")
    for entry, vector in zip(tokenizer.entries(), network.word_vectors().detach().numpy(), strict=False):
        yield plain(entry), vector
