from functools import partial

import pytest

from lmlab.data.cleaning import (
    Cleaning,
    HtmlBreaks,
    Jieba,
    Lowercase,
    Nfkc,
    StopWords,
    StripAccents,
    Whitespace,
)
from lmlab.errors import ConfigError


@pytest.mark.parametrize(
    ("step", "text", "clean"),
    [
        (HtmlBreaks(), "one<br /><br/>two <i>three</i>, 1 < 2 > 0, <3", "one  two  three , 1 < 2 > 0, <3"),
        (Nfkc(), "ﬁlm Ｆｕｌｌ", "film Full"),
        (Lowercase(), "ÉCOLE", "école"),
        (StripAccents(), "école Übung", "ecole Ubung"),
        (StopWords(), "The film was not bad, isn't it", " film   bad,  "),
        (Jieba(), "我喜欢这部电影。", "我 喜欢 这部 电影 。"),
        (Whitespace(), " a \n\tb ", "a b"),
    ],
)
def test_steps(step, text, clean):
    assert step(text) == clean


def test_steps_run_in_order_and_null_is_left_out():
    clean = Cleaning({"breaks": HtmlBreaks(), "lower": None, "space": Whitespace()})
    assert clean(" A<br />B ") == "A B"


def test_recipes_tell_cleanings_apart_and_agree_between_processes():
    def recipe(step):
        return Cleaning({"step": step}).recipe

    assert recipe(StopWords("english")) != recipe(StopWords("french"))
    assert recipe(partial(str.replace, "a")) == recipe(partial(str.replace, "a"))
    assert "0x" not in recipe(partial(lambda text: text))[0]


def test_an_unknown_language_names_those_there_are():
    with pytest.raises(ConfigError, match="no stop words for 'klingon'. Choose one of: arabic, "):
        StopWords("klingon")("text")
