"""Steps that clean a text before it is tokenized; a corpus runs those its config names, in their order."""

import dataclasses
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from lmlab.errors import ConfigError


@dataclass(frozen=True)
class HtmlBreaks:
    """Line breaks written in HTML become spaces; other tags go."""

    def __call__(self, text: str) -> str:
        return re.sub(r"</?[a-zA-Z][^<>]{0,100}>", " ", text)


@dataclass(frozen=True)
class Nfkc:
    """Unicode compatibility composition: one spelling for what looks alike (full-width letters, ligatures)."""

    def __call__(self, text: str) -> str:
        return unicodedata.normalize("NFKC", text)


@dataclass(frozen=True)
class Lowercase:
    """Letters without case."""

    def __call__(self, text: str) -> str:
        return text.lower()


@dataclass(frozen=True)
class StripAccents:
    """Letters without their combining marks."""

    def __call__(self, text: str) -> str:
        letters = (char for char in unicodedata.normalize("NFD", text) if unicodedata.category(char) != "Mn")
        return unicodedata.normalize("NFC", "".join(letters))


@dataclass(frozen=True)
class StopWords:
    """Words that carry little meaning go; the lists are those of the package stop-words."""

    language: str = "english"

    @cached_property
    def words(self) -> frozenset[str]:
        try:
            import stop_words
        except ModuleNotFoundError as error:
            raise ConfigError("StopWords needs the package stop-words", fix="pip install stop-words") from error
        try:
            return frozenset(stop_words.get_stop_words(self.language))
        except stop_words.StopWordError as error:
            known = ", ".join(sorted(stop_words.AVAILABLE_LANGUAGES))
            raise ConfigError(f"no stop words for '{self.language}'", fix=f"Choose one of: {known}") from error

    def __call__(self, text: str) -> str:
        return re.sub(r"\w+(?:'\w+)*", lambda word: "" if word[0].lower() in self.words else word[0], text)


@dataclass(frozen=True)
class Jieba:
    """Chinese words set apart by spaces, for tokenizers of words."""

    def __call__(self, text: str) -> str:
        return " ".join(word for word in self._cut(text) if not word.isspace())

    @cached_property
    def _cut(self) -> Callable[[str], list[str]]:
        try:
            import jieba
        except ModuleNotFoundError as error:
            raise ConfigError("Jieba needs the package jieba", fix="pip install jieba") from error
        jieba.setLogLevel("WARNING")  # its own start-up lines go to stderr
        return jieba.lcut


@dataclass(frozen=True)
class Whitespace:
    """Runs of white space become one space."""

    def __call__(self, text: str) -> str:
        return " ".join(text.split())


class Cleaning:
    """The steps of a config one after another; a step set to null is left out."""

    def __init__(self, steps: Mapping[str, Callable[[str], str] | None]) -> None:
        self.steps = [step for step in steps.values() if step is not None]

    def __call__(self, text: str) -> str:
        for step in self.steps:
            text = step(text)
        return text

    @property
    def recipe(self) -> list[str]:
        """What tells two cleanings apart, for the key of the cache."""
        return [_recipe(step) for step in self.steps]


def _recipe(step: Callable[[str], str]) -> str:
    state = "" if dataclasses.is_dataclass(step) else repr(getattr(step, "__dict__", ""))
    return re.sub(r" at 0x[0-9a-f]+", "", repr(step) + state)  # addresses differ between processes
