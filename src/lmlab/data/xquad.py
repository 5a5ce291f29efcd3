"""XQuAD: 1,190 questions of SQuAD's development set, translated by professionals (Artetxe et al., 2020)."""

from pathlib import Path
from typing import Any

from lmlab.data.questions import Questions
from lmlab.errors import InputMissing

PARAGRAPHS = 5  # of each article, in this order; the hub's records name no article


class Xquad(Questions):
    """48 articles, cut by article into training, validation and test: made to test on, here it is all there is."""

    def files_below(self, folder: Path) -> dict[str, Path]:
        file = folder / f"xquad.{self.language}.json"
        if not file.is_file():
            raise InputMissing(f"no {file.name}", str(folder), "Give the folder or the file with data.path=")
        return {"train": file}

    def read_hub(self) -> Any:
        self.contexts: dict[str, int] = {}
        return super().read_hub()

    def title_of(self, record: dict[str, Any]) -> str:
        number = self.contexts.setdefault(record[str(self.columns.pair)], len(self.contexts))
        return str(number // PARAGRAPHS)

    def cut_by_article(self, splits: dict[str, list]) -> Any:
        return super().cut_by_article({"train": next(iter(splits.values()))})
