"""Answer a benchmark's test set in the files that its leaderboard takes."""

from pathlib import Path

from lmlab.data.glue import Glue
from lmlab.errors import DiskError
from lmlab.experiment import Experiment
from lmlab.ranges import PositiveInt
from lmlab.stages.predict import answers, ready
from lmlab.stages.rows import groups


def submit(
    experiment: Experiment,
    output: str | None = None,
    batch_rows: PositiveInt = 64,
    checkpoint: str = "best.ckpt",
) -> None:
    """Write the files to `output`, or to predictions/ of the run folder."""
    corpus = experiment.corpus
    assert isinstance(corpus, Glue)  # the only corpora that provide a submission
    ready(experiment, checkpoint)
    folder = Path(output).expanduser() if output else experiment.run.predictions
    for name, rows in corpus.leaderboard():
        texts = [(row.text,) if row.pair is None else (row.text, row.pair) for row in rows]
        found = [corpus.entry(answer) for group in groups(texts, batch_rows) for answer in answers(experiment, group)]
        file = folder / f"{name}.tsv"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lines = ["index\tprediction", *(f"{index}\t{entry}" for index, entry in enumerate(found))]
            file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        except OSError as error:
            raise DiskError(f"answers cannot be written: {error.strerror}", str(file)) from None
        print(f"written      {file} ({len(found):,} rows)")
