"""The text of tokens that come one by one, in pieces that are final: no half characters, no half of a stop string."""

from collections.abc import Sequence

from lmlab.tokenizer import Tokenizer

HALF = "\ufffd"  # what the bytes of a character that is not whole decode to


class TextStream:
    """What follows a prompt: the pieces that `push` and `close` return are its text, up to the first stop string."""

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int], stop: Sequence[str] = ()) -> None:
        self.tokenizer, self.stop = tokenizer, stop
        self.told = list(prompt)  # tokens whose text is told, and which the next may lean on
        self.fresh: list[int] = []  # tokens whose text is not
        self.held = ""  # text that a stop string may begin with
        self.ended = False

    def push(self, token: int) -> str:
        """The text that is certain now that `token` has come."""
        if self.ended:
            return ""
        self.fresh.append(token)
        text = self.text()
        return "" if text.endswith(HALF) else self.forward(text)

    def close(self) -> str:
        """What was held back."""
        rest = "" if self.ended else self.forward(self.text())
        rest, self.ended = rest if self.ended else rest + self.held, True
        return rest

    def text(self) -> str:
        """The text of the fresh tokens; the decoder must see what they follow, for a space between may depend on it."""
        before = self.tokenizer.decode(self.told)
        return self.tokenizer.decode([*self.told, *self.fresh])[len(before) :]

    def forward(self, text: str) -> str:
        if text:
            self.told, self.fresh = self.fresh, []
        text = self.held + text
        places = [place for word in self.stop if (place := text.find(word)) >= 0]
        self.ended = bool(places)
        sure = min(places) if places else len(text) - max((overlap(text, word) for word in self.stop), default=0)
        self.held = text[sure:]
        return text[:sure]


def overlap(text: str, word: str) -> int:
    """How many characters at the end of `text` may be the beginning of `word`."""
    return max(size for size in range(min(len(text), len(word) - 1) + 1) if text.endswith(word[:size]))
