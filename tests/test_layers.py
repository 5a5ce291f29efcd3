"""Who may import whom (ARCHITECTURE, section 4), read from the source."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src"
LAYERS = [
    {"errors", "ranges", "names"},  # words that all others share
    {"published", "phrases"},
    {"nn", "tokenizer", "signals"},
    {"sampling", "lookup", "beams", "vector_files"},
    {"generate", "evaluation"},
    {"decoding"},
    {"tasks", "data", "optimizers", "muon", "flops"},
    {"module", "callbacks"},
    {"models"},
    {
        "experiment",
        "weights",
        "starting_vectors",
        "memory",
        "job",
        "check",
        "run_directory",
        "checkpointing",
        "resuming",
        "stages",
        "sweeps",
        "worker",
    }
    | {"distributed", "machine", "terminal", "launched"},
]
TOP = len(LAYERS) - 1
LAYER = {part: layer for layer, parts in enumerate(LAYERS) for part in parts} | {"run": TOP}
FILES = sorted(SRC.glob("lmlab/**/*.py")) + [SRC / "run.py"]


def imported(file: Path) -> Iterator[str]:
    """The dotted names that a file imports, wherever in it; names from a package as its possible submodules."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are written in full"
            yield from ([f"lmlab.{alias.name}" for alias in node.names] if node.module == "lmlab" else [node.module])


def part(file: Path) -> str:
    """The folder or file right below lmlab to which a file belongs."""
    inside = file.relative_to(SRC).with_suffix("").parts
    return inside[1] if len(inside) > 1 else inside[0]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(SRC).as_posix())
def test_a_file_imports_its_own_folder_or_a_lower_layer(file):
    here = part(file)
    if here == "__init__":
        assert not list(imported(file))
        return
    assert here in LAYER, f"give {here} a layer"
    for name in imported(file):
        top, _, rest = name.partition(".")
        if top in ("hydra", "omegaconf"):
            assert LAYER[here] == TOP, f"{here} is given numbers and parts, not a config"
        assert top != "transformers", "only model=hf needs it, and imports it when it is used"
        if top == "lmlab" and (there := rest.split(".")[0]) != here:
            assert there != "models", "`_target_` is the only registry"
            assert LAYER[there] < LAYER[here] or LAYER[there] == LAYER[here] == TOP, f"{here} imports {there}"
