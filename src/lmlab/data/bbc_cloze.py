"""BBC News as questions: a name of the headline is blanked and is to be found in the article (Hermann et al., 2015)."""

import re
from collections.abc import Iterator

from lmlab.data.bbc_news import ARTICLES, articles
from lmlab.data.questions import Questions
from lmlab.data.rows import Row, Splits
from lmlab.data.squad_json import Article

BLANK = "_"
NAME = re.compile(r"\b[A-Z][\w&-]*(?: [A-Z][\w&-]*)*")
WITHIN = r"(?<=[a-z,] ){}\b"  # a sentence, where only names are written with a capital


class BbcCloze(Questions):
    """A question for each name that stands in both; the answer is where the article first has it within a sentence.
    Of articles that repeat each other the first one is kept."""

    packages = (ARTICLES,)

    def read_package(self) -> Splits:
        read: dict[str, Article] = {}
        files = list(articles())
        for file, text in files:
            headline, _, body = text.partition("\n")
            rows = list(questions(headline.strip(), body.strip(), str(file)))
            read.setdefault(" ".join(body.split()), Article(str(file), rows))
        self.counted["copies_dropped"] = len(files) - len(read)
        found = [article for article in read.values() if article.rows]
        self.counted["articles_without_questions"] = len(read) - len(found)
        return self.cut_by_article({"train": found})


def questions(headline: str, body: str, place: str) -> Iterator[Row]:
    for name in NAME.finditer(headline):
        if stands := re.search(WITHIN.format(re.escape(name[0])), body):
            asked = headline[: name.start()] + BLANK + headline[name.end() :]
            yield Row(asked, None, place, body, answers=((stands.start(), name[0]),))
