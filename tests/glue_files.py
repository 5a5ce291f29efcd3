"""The official folders of GLUE, of a few rows each, with all that is odd about them."""

from pathlib import Path

import pytest

REAL = Path("/work/shared/data/glue")  # six of the nine; never part of the project


def real(folder: str) -> Path:
    """The official files, for a test that is skipped where they are not."""
    if not (REAL / folder).is_dir():
        pytest.skip(f"{REAL / folder} is not here")
    return REAL / folder


def words(split: str, row: int, label: int) -> str:
    """A sentence of its own that tells its label."""
    return f'{split} {row} "{("a dull tale", "a fine tale", "any tale")[label]} {"indeed " * (row % 5)}'


LAYOUTS = {  # folder: (header, a record), of training; without label for tests
    "CoLA": ("", "gj04\t{label}\t\t{a}"),
    "SST-2": ("sentence\tlabel", "{a} \t{label}"),
    "MRPC": ("\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String", "{label}\t7\t8\t{a}\t{b}"),
    "QQP": ("id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate", "{row}\t7\t8\t{a}\t{b}\t{label}"),
    "STS-B": (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
        "{row}\tnews\tx\t2012\t1\tnone\tnone\t{a}\t{b}\t{score:.3f}",
    ),
    "MNLI": (
        "index\tpromptID\tpairID\tgenre\tsentence1\tsentence2\tlabel1\tgold_label",
        "{row}\t1\t1c\tfiction\t{a}\t{b}\t{name}\t{name}",
    ),
    "QNLI": ("index\tquestion\tsentence\tlabel", "{row}\t{a}\t{b}\t{name}"),
    "RTE": ("index\tsentence1\tsentence2\tlabel", "{row}\t{a}\t{b}\t{name}"),
    "WNLI": ("index\tsentence1\tsentence2\tlabel", "{row}\t{a}\t{b}\t{label}"),
}
TESTS = {  # folder: (header, a record) of what the leaderboard asks
    "CoLA": ("index\tsentence", "{row}\t{a}"),
    "SST-2": ("index\tsentence", "{row}\t{a}"),
    "MRPC": ("index\t#1 ID\t#2 ID\t#1 String\t#2 String", "{row}\t7\t8\t{a}\t{b}"),
    "QQP": ("id\tquestion1\tquestion2", "{row}\t{a}\t{b}"),
    "STS-B": (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2",
        "{row}\tnews\tx\t2012\t1\tnone\tnone\t{a}\t{b}",
    ),
    "MNLI": ("index\tpromptID\tpairID\tgenre\tsentence1\tsentence2", "{row}\t1\t1c\tfiction\t{a}\t{b}"),
    "QNLI": ("index\tquestion\tsentence", "{row}\t{a}\t{b}"),
    "RTE": ("index\tsentence1\tsentence2", "{row}\t{a}\t{b}"),
    "WNLI": ("index\tsentence1\tsentence2", "{row}\t{a}\t{b}"),
}
NAMES = {
    "MNLI": ("contradiction", "entailment", "neutral"),
    "QNLI": ("not_entailment", "entailment"),
    "RTE": ("not_entailment", "entailment"),
}
SIZES = {"train": 40, "dev": 10, "test": 5}


def write_glue(root: Path) -> Path:
    """All nine folders below `root`, sizes as in SIZES; MNLI's dev and test sets come matched and mismatched."""
    for folder in LAYOUTS:
        (root / folder).mkdir(parents=True, exist_ok=True)
        kinds = ("_matched", "_mismatched") if folder == "MNLI" else ("",)
        for split, size in SIZES.items():
            for kind in kinds if split != "train" else ("",):
                header, record = (TESTS if split == "test" else LAYOUTS)[folder]
                lines = [filled(folder, record, split + kind, row) for row in range(size)]
                text = "\n".join([header, *lines] if header else lines) + "\n"
                (root / folder / f"{split}{kind}.tsv").write_text(text, encoding="utf-8")
    return root


def filled(folder: str, record: str, split: str, row: int) -> str:
    label = row % len(NAMES.get(folder, "ab"))
    values = {"row": row, "a": words(split, row, label), "b": f"so it is {label}", "label": label}
    return record.format(**values, score=row % 11 / 2, name=NAMES.get(folder, "ab")[label])
