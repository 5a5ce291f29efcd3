"""The baseline that neural classifiers are printed beside: tf-idf of words and word pairs, logistic regression.

    python scripts/baseline_tfidf.py data=imdb

It reads the same rows in the same splits as `python src/run.py data=<corpus>`, uncleaned but for HTML breaks.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline

from lmlab.experiment import instantiate
from lmlab.terminal import print_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", default=["data=imdb"], help="as for src/run.py")
    parser.add_argument("--regularisation", type=float, default=10.0, help="C of the logistic regression")
    arguments = parser.parse_args()
    conf = Path(__file__).resolve().parents[1] / "conf"
    with initialize_config_dir(str(conf), version_base="1.3"):
        config = OmegaConf.to_container(compose("config", arguments.overrides).data, resolve=True)
    corpus = instantiate(config, "data")
    corpus.prepare()
    texts = {split: list(corpus.stored.read(split, corpus.clean)) for split in ("train", "val", "test")}
    labels = {split: corpus.stored.labels(split) for split in texts}
    started = time.perf_counter()
    classifier = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True),
        LogisticRegression(C=arguments.regularisation, max_iter=1000),
    )
    classifier.fit(texts["train"], labels["train"])
    results: dict[str, object] = {"features": f"{len(classifier[0].vocabulary_):,}"}
    for split in ("val", "test"):
        predicted = classifier.predict(texts[split])
        results[f"{split}/accuracy"] = float((predicted == labels[split]).mean())
        results[f"{split}/f1"] = float(f1_score(labels[split], predicted, average="macro"))
    results["seconds"] = round(time.perf_counter() - started, 1)
    print_table(f"tf-idf (1, 2)-grams, logistic regression: {' '.join(arguments.overrides)}", results)


if __name__ == "__main__":
    main()
