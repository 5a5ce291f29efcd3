"""Questions in the JSON of SQuAD (Rajpurkar et al., 2016 and 2018), as the official files and the hub have them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lmlab.data import tables
from lmlab.data.columns import words
from lmlab.data.rows import Row
from lmlab.errors import DataError, InputMissing

LAYOUT = 'The layout is {"data": [{"paragraphs": [{"context": ..., "qas": [{"question": ..., "answers": [...]}]}]}]}'


class Article(NamedTuple):
    """The questions to the paragraphs of one article: on one side of a split all of them."""

    title: str
    rows: list[Row]


def articles(path: Path, encoding: str, no_answer: bool) -> list[Article]:
    """The articles of an official file."""
    if not path.is_file():
        raise InputMissing("file not found", str(path), "Check the path")
    with tables.opened(path) as file:
        text = "".join(tables.lines(file, str(path), encoding))
    if not text.strip():
        raise DataError(f"{path.name} is empty", str(path), "Give a file with questions")
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        what = f"line {error.lineno}, column {error.colno}: JSON expected, {error.msg}"
        raise DataError(what, str(path), "Write or copy the file again") from error
    found = []
    for number, article in enumerate(inside(content, "data", str(path))):
        place = f"{path} data[{number}]"
        rows = [row for each in paragraphs(article, place) for row in questions(*each, no_answer)]
        title = article.get("title")
        found.append(Article(title if isinstance(title, str) else str(number), rows))
    if not any(article.rows for article in found):
        raise DataError(f"{path.name} has 0 questions", str(path), "Give a file with questions")
    return found


def paragraphs(article: Any, place: str) -> Iterable[tuple[Any, str]]:
    for number, paragraph in enumerate(inside(article, "paragraphs", place)):
        yield paragraph, f"{place}.paragraphs[{number}]"


def questions(paragraph: Any, place: str, no_answer: bool) -> Iterable[Row]:
    for number, asked in enumerate(inside(paragraph, "qas", place)):
        here = f"{place}.qas[{number}]"
        context = words(paragraph, "context", here, LAYOUT)
        told = [] if is_object(asked, here).get("is_impossible") else inside(asked, "answers", here)
        answers = [
            (is_object(answer, here).get("answer_start"), words(answer, "text", here, LAYOUT)) for answer in told
        ]
        yield question(words(asked, "question", here, LAYOUT), context, answers, here, no_answer)


def of_hub(record: Mapping[str, Any], columns: tuple[str, str], place: str, no_answer: bool) -> Row:
    """A record of the hub, whose answers are two lists in step."""
    asked, context = (words(dict(record), column, place) for column in columns)
    told = is_object(record.get("answers"), place)
    begins, texts = inside(told, "answer_start", place), inside(told, "text", place)
    return question(asked, context, list(zip(begins, texts, strict=True)), place, no_answer)


def question(asked: str, context: str, answers: Sequence[tuple[Any, str]], place: str, no_answer: bool) -> Row:
    """The row of a question, once each answer is known to stand where it is said to."""
    if not answers and not no_answer:
        raise DataError("a question without an answer", place, "Set data.no_answer=true, or remove it")
    for begin, text in answers:
        if type(begin) is not int:
            raise DataError(f"answer_start: a whole number expected, found {begin!r:.40}", place, "Mend it")
        if not text.strip():
            raise DataError("an answer is blank", place, "Give its words, or no answers and data.no_answer=true")
        if not context.strip():
            continue  # dropped and counted, as blank texts are
        if begin < 0 or context[begin : begin + len(text)] != text:
            stands = context.find(text)
            fix = f"It is at {stands}" if stands >= 0 else "It is nowhere in it"
            what = f"the answer {text!r:.60} is not at character {begin} of its context"
            raise DataError(what, place, f"Mend answer_start or the text. {fix}")
    return Row(asked, None, place, context, answers=tuple(answers))


def is_object(node: Any, place: str) -> dict[str, Any]:
    if not isinstance(node, dict):
        raise DataError(f"an object expected, found {type(node).__name__}", place, LAYOUT)
    return node


def inside(node: Any, key: str, place: str) -> list[Any]:
    """The list that an object has under a key."""
    found = is_object(node, place).get(key)
    if not isinstance(found, list):
        what = "nothing" if found is None else type(found).__name__
        raise DataError(f"'{key}': a list expected, found {what}", place, LAYOUT)
    return found
