"""Made-up questions in the JSON of SQuAD."""

import json
from pathlib import Path

REAL = Path("/work/shared/data/xquad")  # beside the project, never part of it
WHO = ("Anna", "Bert", "Cleo", "Dora", "Emil", "Finn", "Gina", "Hugo")
WHAT = ("a red bird", "the blue cat", "two green fish", "an old dog", "seven coins")


def article(number: int, without_answer: bool = False) -> dict:
    """A paragraph that says what three people keep, and asks for it; at last for what nobody says."""
    facts = [(WHO[(number + i) % len(WHO)], WHAT[(number * 3 + i) % len(WHAT)]) for i in range(3)]
    context = f"In house {number}:" + "".join(f" {who} keeps {what}." for who, what in facts)
    asked = [
        {
            "id": f"{number}-{who}",
            "question": f"What does {who} keep in house {number}?",
            "answers": [{"text": what, "answer_start": context.index(f"{who} keeps {what}") + len(f"{who} keeps ")}],
        }
        for who, what in facts
    ]
    if without_answer:
        asked = [question | {"is_impossible": False} for question in asked]
        question = f"What does Zoe keep in house {number}?"
        asked.append({"id": f"{number}-none", "question": question, "answers": [], "is_impossible": True})
    return {"title": f"house {number}", "paragraphs": [{"context": context, "qas": asked}]}


def write_questions(path: Path, n: int = 20, begin: int = 0, without_answer: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    articles = [article(number, without_answer) for number in range(begin, begin + n)]
    path.write_text(json.dumps({"version": "1.1", "data": articles}), encoding="utf-8")
    return path
