"""How well vectors of words agree with people: similarities of pairs, and analogies."""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lmlab.errors import DataError
from lmlab.evaluation.correlation import pearson, ranks
from lmlab.tokenizer import Tokenizer

PAIRS = {"wordsim353": "wordsim353.tsv", "simlex999": "simlex999.txt"}  # Finkelstein et al., 2002; Hill et al., 2015
ANALOGIES = "questions-words.txt"  # Mikolov et al., 2013a


class Agreement(NamedTuple):
    """Spearman's r with the scores that people gave, over the pairs whose words are known."""

    spearman: float
    n_pairs: int


def published(name: str) -> Path | None:
    """The file of that name among those that gensim ships; None where it is not installed."""
    found = importlib.util.find_spec("gensim")
    path = Path(found.origin).parent / "test" / "test_data" / name if found and found.origin else None
    return path if path and path.is_file() else None


def word_ids(tokenizer: Tokenizer) -> dict[str, int]:
    """The id of each word, in lower case; of two that differ in case alone that of the one that was learned first."""
    special = {tokenizer.sep_id, *tokenizer.never}
    ids: dict[str, int] = {}
    for id, word in enumerate(tokenizer.entries()):
        if id not in special:
            ids.setdefault(word.lower(), id)
    return ids


def scored_pairs(path: Path) -> list[tuple[str, str, float]]:
    """Lines of two words and a score, in columns apart by tabs; those that begin with # are comments."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            one, other, score, *_ = line.split("\t")
            found.append((one.lower(), other.lower(), float(score)))
        except ValueError:
            raise DataError("two words and a number expected", f"{path}:{number}") from None
    return found


def agreement(
    vectors: Float[Tensor, "V D"], ids: Mapping[str, int], pairs: Sequence[tuple[str, str, float]]
) -> Agreement:
    """By the cosine of the two words' vectors."""
    known = [(ids[one], ids[other], score) for one, other, score in pairs if one in ids and other in ids]
    if len(known) < 2:
        return Agreement(0.0, len(known))
    one, other, scores = (torch.tensor(column) for column in zip(*known, strict=True))
    cosines = torch.cosine_similarity(vectors[one].double(), vectors[other].double())
    return Agreement(pearson(ranks(cosines), ranks(scores.double())).item(), len(known))


def analogies(vectors: Float[Tensor, "V D"], ids: Mapping[str, int], path: Path, rows: int = 512) -> dict[str, float]:
    """Shares of the questions "a is to b as c is to ?" that b - a + c answers (3CosAdd), by kind, and their number.

    Those of which a word is unknown are not asked; the three words themselves are no answers.
    """
    asked: dict[str, list[tuple[int, ...]]] = {"semantic": [], "syntactic": []}
    kind = "semantic"
    for line in path.read_text(encoding="utf-8").lower().splitlines():
        if line.startswith(":"):
            kind = "syntactic" if line.startswith(": gram") else "semantic"
        elif all(word in ids for word in line.split()):
            asked[kind].append(tuple(ids[word] for word in line.split()))
    usable = torch.tensor(sorted(ids.values()))
    unit = torch.nn.functional.normalize(vectors, dim=1)
    place = torch.full((len(vectors),), -1)
    place[usable] = torch.arange(len(usable))
    right = {}
    for kind, questions in asked.items():
        hits = 0
        for part in torch.tensor(questions, dtype=torch.int64).view(-1, 4).split(rows):
            a, b, c, answer = part.unbind(1)
            near = (unit[b] - unit[a] + unit[c]) @ unit[usable].T
            near.scatter_(1, place[part[:, :3]], -torch.inf)
            hits += int((near.argmax(1) == place[answer]).sum())
        right[kind] = hits
    n = {kind: len(questions) for kind, questions in asked.items()}
    found = {f"analogies_{kind}": right[kind] / n[kind] for kind in asked if n[kind]}
    total = sum(n.values())
    return found | ({"analogies": sum(right.values()) / total, "analogies_rows": float(total)} if total else {})


def neighbours(
    vectors: Float[Tensor, "V D"], ids: Mapping[str, int], words: Sequence[str], n: int
) -> list[list[tuple[str, float]]]:
    """The `n` words of the highest cosine to each, and it."""
    known = list(ids)
    unit = torch.nn.functional.normalize(vectors[torch.tensor(list(ids.values()))], dim=1)
    place = {word: number for number, word in enumerate(known)}
    near = unit[[place[word] for word in words]] @ unit.T
    near[torch.arange(len(words)), [place[word] for word in words]] = -torch.inf
    scores, which = near.topk(min(n, len(known) - 1), dim=1)
    return [
        [(known[number], round(score, 4)) for number, score in zip(row, cosines, strict=True)]
        for row, cosines in zip(which.tolist(), scores.tolist(), strict=True)
    ]
