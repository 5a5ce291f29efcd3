"""An n-gram run written as ARPA: KenLM reads what it knows, and a run that takes it scores as the first did."""

import json
import math
import sys

import hydra.utils
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

import run as front
from jobs import TINY, inside, write_reviews
from lmlab.check.pairs import metadata, refuse_export
from lmlab.check.yaml_files import groups
from lmlab.errors import ConfigError
from lmlab.nn.network import Network

TEXT = (
    "To be, or not to be, that is the question.\nWhether it is nobler in the mind to be.\nAsk the sea, or ask it not.\n"
)
FIT = [
    *("model=ngram", "data=text_files", "data.label_column=null", "task=causal_lm", "data.path=play.txt"),
    *("trainer=cpu", "logger=csv", "data.max_length=32", "data.val_share=0.3", "data.test_share=0.2"),
    *("tokenizer=word", "tokenizer.vocab_size=60", "tokenizer.min_frequency=1", "model.network.order=3"),
]
RUN = "outputs/ngram-text_files/{}"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a finished run in it, whose model is also in ARPA."""
    cwd = tmp_path_factory.mktemp("exported")
    (cwd / "play.txt").write_text(TEXT * 6)
    inside(*FIT, "run.id=first", cwd=cwd)
    done = inside("stage=export", f"run={RUN.format('first')}", cwd=cwd)
    assert "first/export/model.arpa" in done.stdout
    return cwd


@pytest.fixture
def here(place, monkeypatch, capsys):
    """`python src/run.py ...` in this process and in that folder: its exit code, and what it said."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(place)
        monkeypatch.setattr(sys, "argv", ["src/run.py"])
        return front.main(arguments), *capsys.readouterr()

    return call


def arpa(place):
    return place / RUN.format("first") / "export" / "model.arpa"


def test_kenlm_scores_texts_as_the_run_does(place, here):
    kenlm = pytest.importorskip("kenlm")
    texts = ["To be , or not to ask the sea", "unheard , it is", "question"]
    (place / "texts.txt").write_text("\n".join(texts) + "\n")
    code, said, _ = here("stage=score", f"run={RUN.format('first')}", "stage.input=texts.txt")
    assert code == 0
    theirs = kenlm.Model(str(arpa(place)))
    for line, text in zip(said.splitlines(), texts, strict=True):
        ours = json.loads(line)["log_probability"] / math.log(10)
        assert ours == pytest.approx(theirs.score(text, bos=True, eos=True), abs=1e-5 * len(text.split()) + 1e-5)


@pytest.mark.filterwarnings("ignore")
def test_a_run_that_takes_the_file_scores_as_the_run_that_wrote_it(place, here):
    code, _, said = here(*FIT, f"model.arpa={arpa(place)}", "run.id=second")
    assert code == 0, said
    first, second = (
        json.loads((place / RUN.format(name) / "metrics.json").read_text()) for name in ("first", "second")
    )
    for split in ("val", "test"):
        assert second[split] == pytest.approx(first[split], rel=1e-5) and first[split][f"{split}/perplexity"] > 1
    code, said, _ = here("stage=test", f"run={RUN.format('second')}")
    assert code == 0 and f"{first['test']['test/perplexity']:.4f}" in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("\\end\\", ""), "the file ends here"),
        (("ngram 2=", "ngram 2=1"), "2-grams are promised here"),
        (("<unk>\t", "<unk>\tx"), "is not a number"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_broken_file_is_told_by_its_line(change, message, place, here):
    (place / "broken.arpa").write_text(arpa(place).read_text().replace(*change))
    code, _, said = here(*FIT, "model.arpa=broken.arpa")
    assert code == 65 and message in said and "broken.arpa line " in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model.arpa=nowhere.arpa", "no ARPA file (nowhere.arpa)"),
        ("model.network.order=2", "the file holds 3-grams, and the model 2-grams"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_does_not_fit_the_run_is_told(change, message, place, here):
    changed = [f"model.arpa={arpa(place)}", *(word for word in FIT if word.split("=")[0] != change.split("=")[0])]
    code, _, said = here(*(word for word in changed if word.split("=")[0] != change.split("=")[0]), change)
    assert code and message in said


@pytest.mark.filterwarnings("ignore")
def test_a_classifier_is_written_class_by_class_and_read_by_none(place, here):
    write_reviews(place / "reviews")
    words = [word for word in TINY if word.startswith("tokenizer")]
    fit = ["model=ngram", "data=text_files", "data.path=reviews", "trainer=cpu", "logger=csv", *words]
    assert here(*fit, "run.id=classes")[0] == 0
    assert here("stage=export", "run=outputs/ngram-text_files/classes", "stage.output=written")[0] == 0
    assert sorted(file.name for file in (place / "written").iterdir()) == ["class0.arpa", "class1.arpa"]
    code, _, said = here(*fit, f"model.arpa={arpa(place)}")
    assert code == 2 and "Add task=causal_lm" in said


@pytest.mark.filterwarnings("ignore")
def test_special_entries_of_others_are_not_counted(place, here):
    words = ["[PAD]", "[unused]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "to", "be"]
    foreign = WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]")
    Tokenizer(foreign).save(str(place / "foreign.json"))
    code, _, said = here(*FIT, "tokenizer.path=foreign.json")
    assert code == 2 and "other special entries than n-gram models are counted with" in said


def test_a_family_without_a_format_is_refused(place, here):
    run = f"run={RUN.format('first')}"
    code, _, said = here("stage=export", run, "stage.format=onnx")
    assert code == 2 and "Ngram cannot be written as onnx" in said and "arpa" in said
    other = {"network": {"_target_": "lmlab.models.rnn.RNN"}}
    with pytest.raises(ConfigError, match=r"RNN has no format .* fit this stage: .*ngram \(arpa\)"):
        refuse_export({"stage": {"_target_": "lmlab.stages.export.export"}, "model": other})


@pytest.mark.parametrize("model", groups()["model"])
def test_yaml_names_the_formats_that_the_module_has(model):
    module = hydra.utils.get_class(metadata("model", model, "_target_"))
    network = hydra.utils.get_object(metadata("model", model, "network")["_target_"])
    formats = [*module.__new__(module).exports]
    theirs = model == "hf" or network.config is not Network.config  # hf's is a function that builds one of several
    formats += ["huggingface"] * theirs + ["onnx"] * getattr(network, "is_one_graph", False)
    assert (metadata("model", model, "exports") or []) == formats
