import subprocess
import sys

import pytest

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
