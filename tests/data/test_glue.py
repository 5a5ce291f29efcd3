"""The nine corpora of GLUE: their official files with all that is odd about them, and the hub's."""

import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

from glue_files import LAYOUTS, NAMES, SIZES, real, write_glue
from lmlab.check import METADATA
from lmlab.check.yaml_files import groups
from lmlab.errors import DataError, InputMissing
from lmlab.tokenizer import Tokenizer
from test_configs import compose

TASKS = [option for option in groups()["data"] if option.startswith("glue/")]


@pytest.fixture
def glue(tmp_path):
    return write_glue(tmp_path / "glue")


def corpus(option, path, tmp_path):
    node = OmegaConf.to_container(compose(f"data={option}").data, resolve=True)
    kept = {key: value for key, value in node.items() if key not in METADATA["data"]}
    kept |= {"path": path, "cache": tmp_path / "cache", "tokenizer": Tokenizer("byte", 264)}
    made = get_class(kept.pop("_target_"))(**kept)
    made.prepare()
    return made


@pytest.mark.parametrize("option", TASKS)
def test_the_official_files_are_read(option, glue, tmp_path):
    some = corpus(option, glue, tmp_path)
    mnli = option == "glue/mnli"
    assert some.summary()["rows"] == {"train": SIZES["train"], "val": SIZES["dev"], "test": 10 if mnli else 0}
    assert some.summary()["pairs"] == (option not in ("glue/cola", "glue/sst2"))
    assert some.scored == (("val", "test") if mnli else ("val",))
    text, *pair = some.text("val", 1).split("\n")
    assert text.startswith('dev_matched 1 "a fine tale' if mnli else 'dev 1 "a fine tale')  # a quote is only that
    assert pair == ([] if len(some.stored.sides) == 1 else ["so it is 1"])
    batch = some.datasets["val"][[3, 1]]
    if option == "glue/stsb":
        assert batch["score"].tolist() == [1.5, 0.5] and "label" not in batch and some.classes is None
    else:
        names = NAMES.get(type(some).folder, some.classes)
        assert [some.classes[label] for label in batch["label"]] == [names[3 % len(names)], names[1]]
    if mnli:
        assert some.text("test", 0).startswith("dev_mismatched 0")
    again = corpus(option, glue / type(some).folder, tmp_path)  # the folder itself
    assert again.summary()["fingerprint"] == some.summary()["fingerprint"]


@pytest.mark.parametrize("option", TASKS)
def test_what_the_leaderboard_asks_has_no_labels_and_stays_in_order(option, glue, tmp_path):
    some = corpus(option, glue, tmp_path)
    asked = dict(some.leaderboard())
    folder = type(some).folder
    assert list(asked) == (["MNLI-m", "MNLI-mm"] if folder == "MNLI" else [folder])
    for name, rows in asked.items():
        split = {"MNLI-m": "test_matched", "MNLI-mm": "test_mismatched"}.get(name, "test")
        assert [row.text.startswith(f"{split} {number} ") for number, row in enumerate(rows)] == [True] * SIZES["test"]
        assert {row.label for row in rows} == {None} and (rows[0].pair is None) == (some.columns.pair is None)


def test_a_model_of_mnli_also_answers_the_diagnostic_set(glue, tmp_path):
    (glue / "diagnostic").mkdir()
    (glue / "diagnostic" / "diagnostic.tsv").write_text("index\tsentence1\tsentence2\n0\tthe cat sat\tit stood\n")
    asked = dict(corpus("glue/mnli", glue / "MNLI", tmp_path).leaderboard())
    assert list(asked) == ["MNLI-m", "MNLI-mm", "AX"]
    assert [(row.text, row.pair, row.label) for row in asked["AX"]] == [("the cat sat", "it stood", None)]


def test_answers_are_written_as_the_leaderboard_wants_them(glue, tmp_path):
    wanted = {"glue/cola": "1", "glue/sst2": "1", "glue/mrpc": "1", "glue/qqp": "1", "glue/wnli": "1"}
    wanted |= {"glue/mnli": "neutral", "glue/qnli": "not_entailment", "glue/rte": "not_entailment"}
    for option, entry in wanted.items():
        some = corpus(option, glue, tmp_path)
        assert some.entry({"label": some.classes[1]}) == entry
    scores = corpus("glue/stsb", glue, tmp_path)
    assert [scores.entry({"score": value}) for value in (3.14159, -1.0, 7.0)] == ["3.142", "0.000", "5.000"]


def test_records_that_a_line_cuts_in_two_are_left_out_where_that_is_known(glue, tmp_path, caplog):
    caplog.set_level("WARNING", logger="lmlab")
    file = glue / "QQP" / "train.tsv"
    file.write_text(file.read_text() + "99\t1\t2\twhy is\nthe sky blue\t0\n")
    assert corpus("glue/qqp", glue, tmp_path).summary()["rows"]["train"] == SIZES["train"]
    assert "left out 2 lines of train.tsv" in caplog.text
    asked = glue / "QQP" / "test.tsv"
    asked.write_text(asked.read_text() + "6\twhy is\n")
    with pytest.raises(DataError, match="line 7: 3 columns expected .*found 2"):  # each of these must be answered
        dict(corpus("glue/qqp", glue, tmp_path).leaderboard())
    file = glue / "RTE" / "dev.tsv"
    file.write_text(file.read_text() + "10\tcut\n")
    with pytest.raises(DataError, match=r"line 12: 4 columns expected \(index, sentence1, sentence2, label\), found 2"):
        corpus("glue/rte", glue, tmp_path)


def test_what_is_missing_is_named(glue, tmp_path):
    (glue / "CoLA" / "dev.tsv").unlink()
    with pytest.raises(InputMissing, match=r"CoLA has no dev.tsv .*the official folder CoLA, or the one that holds it"):
        corpus("glue/cola", glue, tmp_path)
    (glue / "RTE" / "dev.tsv").write_text("index\tsentence1\tsentence2\n0\ta\tb\n")
    with pytest.raises(DataError, match=r"column 'label' not found; the file has: index, sentence1, sentence2"):
        corpus("glue/rte", glue, tmp_path)
    (glue / "CoLA" / "dev.tsv").write_text("")
    (glue / "STS-B" / "dev.tsv").write_text(LAYOUTS["STS-B"][0] + "\n")
    for option in ("glue/cola", "glue/stsb"):
        with pytest.raises(DataError, match="dev.tsv has 0 rows"):
            corpus(option, glue, tmp_path)


def test_a_score_is_a_number(glue, tmp_path):
    file = glue / "STS-B" / "train.tsv"
    file.write_text(file.read_text().replace("\t0.500\n", "\tnan\n", 1))
    with pytest.raises(DataError, match=r"score 'nan' is no finite number \(.*train.tsv line 3\)"):
        corpus("glue/stsb", glue, tmp_path)


def test_the_hub_has_splits_of_its_own_names(tmp_path, monkeypatch):
    import datasets

    names = datasets.ClassLabel(names=["entailment", "neutral", "contradiction"])
    texts = {"premise": datasets.Value("string"), "hypothesis": datasets.Value("string")}

    def rows(split, labels):
        columns = {"premise": [f"{split} {n}" for n in range(len(labels))], "hypothesis": ["so it is"] * len(labels)}
        return datasets.Dataset.from_dict(columns | {"label": labels}, datasets.Features(texts | {"label": names}))

    found = {name: rows(name, [0, 1, 2]) for name in ("train", "validation_matched", "validation_mismatched")}
    found |= {name: rows(name, [-1, -1]) for name in ("test_matched", "test_mismatched")}
    sets = {"nyu-mll/glue:mnli": found, "nyu-mll/glue:ax": {"test": rows("ax", [-1])}}
    monkeypatch.setattr("lmlab.data.sources.loaded", lambda name, revision: sets[name])
    some = corpus("glue/mnli", None, tmp_path)
    assert some.summary()["rows"] == {"train": 3, "val": 3, "test": 3} and some.summary()["source"] == "hub"
    assert some.text("val", 2) == "validation_matched 2\nso it is"
    assert some.datasets["test"].labels.tolist() == [0, 1, 2]
    asked = {name: [row.text for row in rows] for name, rows in some.leaderboard()}
    kinds = {"MNLI-m": "matched", "MNLI-mm": "mismatched"}
    assert asked == {name: [f"test_{kind} 0", f"test_{kind} 1"] for name, kind in kinds.items()} | {"AX": ["ax 0"]}


@pytest.mark.parametrize(
    ("option", "folder", "train", "dev", "test"),
    [
        ("glue/cola", "CoLA", 8551, 1043, 1063),
        ("glue/sst2", "SST-2", 67349, 872, 1821),
        ("glue/mrpc", "MRPC", 3667, 408, 1725),  # these files lack one of the 3,668
        ("glue/stsb", "STS-B", 5749, 1500, 1379),
        ("glue/rte", "RTE", 2490, 277, 3000),
        ("glue/wnli", "WNLI", 635, 71, 146),
    ],
)
def test_the_real_files_have_as_many_rows_as_they_should(option, folder, train, dev, test, tmp_path):
    some = corpus(option, real(folder).parent, tmp_path)
    assert some.summary()["rows"] == {"train": train, "val": dev, "test": 0}
    assert [len(rows) for _, rows in some.leaderboard()] == [test]
