"""Every family with every corpus: one batch through training, validation and test, or the sentence `check` prints."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from glue_files import write_glue
from jobs import ROOT, TINY, write_reviews
from lmlab import check
from lmlab.errors import ConfigError
from lmlab.job import run
from pair_files import write_table
from question_files import write_questions
from search_files import write_asked

SIZES = {"gpt2_medium", "gpt2_large", "gpt2_xl"}  # of a family: that they compose is told by test_configs.py
SIZES |= {"bert_tiny", "bert_mini", "bert_small", "bert_large", "minilm", "roberta_large"}
SIZES |= {"transformer_base", "transformer_big"}
MODELS = sorted({path.stem for path in (ROOT / "conf" / "model").glob("*.yaml")} - SIZES)
SIZED = {  # by a config of their own, not by the keys of TINY
    "hf": "{model_type: llama, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 32}"
}
PAIRED = {"hf": "{model_type: t5, d_model: 16, d_kv: 8, d_ff: 32, num_layers: 1, num_heads: 2}"}  # from text to text
CORPORA = {path.stem for path in (ROOT / "conf" / "data").glob("*.yaml")} | {"glue/cola", "glue/mnli", "glue/stsb"}
# of GLUE, of translations, summaries and searches: one of each kind, the others have the same tasks
CORPORA -= {"wmt14", "opus_books", "bible_en_ja", "bible_ja_en", "parallel_files", "cnn_dailymail", "xsum", "quora"}
CORPORA -= {"wikitext103", "pair_files"}  # as wikitext2 and bbc_search
CORPORA -= {"squad", "squad_files", "bbc_cloze"}  # of questions: xquad, and squad_v2, where some have no answer


@pytest.mark.parametrize("data", sorted(CORPORA))
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.filterwarnings("ignore")
def test_a_batch_goes_through_or_the_pair_is_refused(model, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    choice = [f"model={model}", f"data={data}", "trainer=cpu", "logger=csv"]
    if model in SIZED:
        pytest.importorskip("transformers")
        sizes = PAIRED if data in ("multi30k", "bbc_headlines") else SIZED
        choice.append(f"model.network.config={sizes[model]}")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        plain = compose("config", choice)
        reviews = write_reviews(Path("reviews"), classes=tuple(plain.data.classes or ["negative", "positive"]))
        if data.startswith("glue/") or data == "stsb":
            reviews = write_glue(Path("glue"))
        elif "document" in plain.data.provides:
            names = (plain.data.text_column, plain.data.pair_column, plain.data.negative_column)
            reviews = write_asked(Path("asked.csv"), 60, [name for name in names if name])
        elif "target" in plain.data.provides:
            reviews = write_table(Path("pairs.csv"), (plain.data.text_column, plain.data.target_column))
        elif "answer" in plain.data.provides:
            reviews = write_questions(Path("questions.json"), without_answer=plain.data.no_answer)
        elif plain.data.label_column is None:
            reviews = Path("reviews.txt")
            reviews.write_text("a film that is one of many\n" * 200)
        limits = [f"trainer.limit_{split}_batches=1" for split in ("train", "val", "test")]
        tiny = [typed for typed in TINY if OmegaConf.select(plain, typed.partition("=")[0]) is not None]
        config = compose("config", [*choice, *tiny, *limits, "trainer.max_epochs=1", f"data.path={reviews}"])
    choices = {"model": model, "data": data}
    try:
        check.composed(config, [], choices)
    except ConfigError as error:
        assert "fit" in str(error) or "pair" in str(error)
        return
    results = run(config, [], choices)
    told = {name.partition("/")[2]: value for name, value in (results["test"] or results["val"]).items()}
    assert torch.isfinite(torch.tensor(results["val"]["val/loss"]))
    assert told.get("rows", told.get("tokens")) > 0 and 0 <= told.get("accuracy", 0) <= 1
