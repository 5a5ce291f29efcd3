import random
import subprocess
import sys

import pytest
from tokenizers import Tokenizer as Pipeline
from tokenizers import models, pre_tokenizers, processors

from lmlab.data.dataset import TokenizedRows
from lmlab.data.store import tokenized
from lmlab.errors import ConfigError, DataError, InputMissing
from lmlab.tokenizer import KINDS, SPECIALS, Tokenizer

TEXTS = [f"The film number {n} was great, though too long. Ça va; 好看的电影!" for n in range(40)]


def trained(kind: str, **options) -> Tokenizer:
    tokenizer = Tokenizer(kind, 400, **options)
    tokenizer.train(iter(TEXTS))
    return tokenizer


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_tokenizer_is_the_same(kind, tmp_path):
    tokenizer = trained(kind)
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer(kind, 400, path=tmp_path / "tokenizer.json")
    assert loaded.fingerprint == tokenizer.fingerprint
    assert loaded.encode(TEXTS[:3]) == tokenizer.encode(TEXTS[:3])
    assert len(loaded) == len(tokenizer) <= 400


@pytest.mark.parametrize("kind", KINDS)
def test_special_ids_are_the_first_five_and_never_come_from_text(kind):
    tokenizer = trained(kind)
    assert (tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id) == (
        0,
        1,
        2,
        3,
        4,
    )
    ids = tokenizer.encode([f"great {' '.join(SPECIALS)}{''.join(SPECIALS)} film"])[0]
    assert not {0, 2, 3, 4} & set(ids)


@pytest.mark.parametrize("kind", KINDS)
def test_known_text_is_decoded_as_it_was(kind):
    tokenizer = trained(kind)
    ids = tokenizer.encode(["The film was great"])[0]
    assert tokenizer.decode([tokenizer.cls_id, *ids, tokenizer.sep_id, tokenizer.pad_id]) == "The film was great"


@pytest.mark.parametrize("kind", ["byte", "bpe"])
def test_bytes_leave_nothing_out_of_the_vocabulary(kind):
    tokenizer = trained(kind)
    text = "  żółw \t 🐢\n"
    ids = tokenizer.encode([text])[0]
    assert tokenizer.unk_id not in ids
    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("kind", KINDS)
def test_lowercase_joins_cases_and_is_saved(kind, tmp_path):
    trained(kind, lowercase=True).save(tmp_path / "tokenizer.json")
    upper, lower = Tokenizer(kind, 400, path=tmp_path / "tokenizer.json").encode(["The FILM", "the film"])
    assert upper == lower


def test_empty_text_has_no_ids():
    assert trained("bpe").encode(["", "film"])[0] == []


def test_bpe_learns_the_same_in_every_process():
    code = (
        "from lmlab.tokenizer import Tokenizer; t = Tokenizer('bpe', 300);"
        f"t.train(iter({TEXTS!r})); print(t.fingerprint)"
    )
    first, second = (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": "src"}).stdout
        for _ in range(2)
    )
    assert first == second != ""


def test_what_a_tokenizer_refuses(tmp_path):
    with pytest.raises(ConfigError, match="unknown kind 'bp'"):
        Tokenizer("bp", 400)
    with pytest.raises(ConfigError, match="at least 261 expected for bpe, got 100"):
        Tokenizer("bpe", 100)
    with pytest.raises(InputMissing, match="no tokenizer file"):
        Tokenizer("bpe", 400, path=tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("<html>")
    with pytest.raises(DataError, match="not a readable tokenizer.json"):
        Tokenizer("bpe", 400, path=tmp_path / "bad.json")


FOREIGN = {  # kind -> its special entries, in an order of its own, and what transformers frames texts with
    "bert": (
        ["[PAD]", "[unused]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
        processors.BertProcessing(("[SEP]", 4), ("[CLS]", 3)),
    ),
    "roberta": (["<s>", "<pad>", "</s>", "<unk>", "<mask>"], processors.RobertaProcessing(("</s>", 2), ("<s>", 0))),
    "gpt2": (["<|endoftext|>"], None),
    "llama": (
        ["<unk>", "<s>", "</s>"],
        processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]),
    ),
    "t5": (
        ["<pad>", "</s>", "<unk>"],
        processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]),
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_published_tokenizer_brings_its_special_ids_and_its_frame(kind, tmp_path):
    specials, post_processor = FOREIGN[kind]
    words = ["a", "fine", "film"]
    vocabulary = {word: number for number, word in enumerate((*specials, *words))}
    unknown = {"bert": "[UNK]", "gpt2": "<|endoftext|>"}.get(kind, "<unk>")
    pipeline = Pipeline(models.WordLevel(vocabulary, unk_token=unknown))
    pipeline.pre_tokenizer = pre_tokenizers.Whitespace()
    if post_processor:
        pipeline.post_processor = post_processor
    pipeline.enable_padding(length=50)
    pipeline.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer("pretrained", 300, path=tmp_path)
    assert tokenizer.encode(["a fine film"]) == [[vocabulary[word] for word in words]]
    ids = (tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id)
    expected = {"bert": (0, 2, 3, 4, 5), "roberta": (1, 3, 0, 2, 4), "gpt2": (0, 0, 0, 0, None)}
    assert ids == (expected | {"llama": (0, 0, 1, 2, None), "t5": (0, 2, 1, 1, None)})[kind]
    assert tokenizer.sep_id not in tokenizer.never
    assert len(tokenizer.never) == {"bert": 4, "roberta": 4, "gpt2": 0, "llama": 3, "t5": 2}[kind]
    pipeline.no_padding()
    rows = [tokenized(side, tokenizer) for side in (["a fine film", "film"], ["fine", "a film a film"])]
    framed = {"pad": tokenizer.pad_id, "frame": tokenizer.frame}
    alone = TokenizedRows(rows[:1], max_length=20, truncation="head", **framed)[[0, 1]]
    pairs = TokenizedRows(rows, max_length=20, truncation="head", **framed)[[0, 1]]
    if kind == "gpt2":
        assert alone["tokens"].tolist() == [[0, 1, 2, 3], [0, 3, 0, 0]]
        assert pairs["tokens"].tolist() == [[0, 1, 2, 3, 0, 2, 0], [0, 3, 0, 1, 3, 1, 3]]
        return
    expected = [pipeline.encode("a fine film", "fine"), pipeline.encode("film", "a film a film")]
    for row, one in enumerate(expected):
        assert pairs["tokens"][row][pairs["mask"][row]].tolist() == one.ids
        if kind == "bert":
            assert pairs["segments"][row][pairs["mask"][row]].tolist() == one.type_ids
    assert alone["tokens"][1][alone["mask"][1]].tolist() == pipeline.encode("film").ids


def test_words_that_belong_together_become_one_entry(tmp_path):
    draw = random.Random(0)
    texts = [" ".join(draw.choices(["New York", "San Diego", "new", "a", "of", "day", "7 8"], k=9)) for _ in range(200)]
    tokenizer = Tokenizer("word", 40, lowercase=True, phrases=2)
    tokenizer.train(iter(texts))
    assert {entry for entry in tokenizer.entries() if " " in entry} == {"new york", "san diego"}
    tokenizer.save(tmp_path / "tokenizer.json")
    for spec in (tokenizer, Tokenizer("word", 40, path=tmp_path / "tokenizer.json")):
        (ids,) = spec.encode(["A day of New York, new yorkers, San Diego"])
        known = [spec.entries()[id] for id in ids]
        assert known == ["a", "day", "of", "new york", "[UNK]", "new", "[UNK]", "[UNK]", "san diego"]
    assert len(tokenizer) <= 40


def test_phrases_are_of_words_and_need_room():
    with pytest.raises(ConfigError, match="phrases are made of words"):
        Tokenizer("bpe", 400, phrases=5)
    with pytest.raises(ConfigError, match="no room"):
        Tokenizer("word", 40, phrases=36)
