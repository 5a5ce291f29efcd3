"""Training speed beside `transformers.Trainer`: the same network, rows, optimizer and precision, taken in turns.

    python scripts/bench_classification.py --rounds 3

The Trainer gets the same tokens through its own padding collator, in batches with as many rows as lmlab's have on
average, and torch's own dropout, drawn for each element. Each side trains in its own fresh process of this tree, one at
a time, so noise of the machine hits both.
Printed: rows a second, their ratio, and the share of the rate at which torch multiplies matrices here.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

import side_by_side

SETTINGS = ["logger=csv", "optimizer=adamw", "model.network.ngram_orders=[]", "data.max_length=400"]


def main() -> None:
    arguments = side_by_side.parser(__doc__, steps=30, warmup=5).parse_args()
    side_by_side.run(arguments, {"lmlab": measure_lmlab, "transformers": measure_transformers}, compare)


def compare(arguments: argparse.Namespace) -> None:
    from lmlab.terminal import print_columns

    rows = []
    for precision in side_by_side.precisions(arguments):
        found, peak = side_by_side.in_turns(["lmlab", "transformers"], precision, arguments, "rows_per_second")
        speeds = {side: median(one["rows_per_second"] for one in each) for side, each in found.items()}
        rate = median(one["flops_per_second"] for one in found["lmlab"])
        rows.append(
            [
                precision,
                f"{speeds['lmlab']:.1f}",
                f"{speeds['transformers']:.1f}",
                side_by_side.spread(side_by_side.ratios(found, "rows_per_second")),
                f"{rate / peak:.0%} of {peak / 1e9:,.0f} GFLOP/s",
            ]
        )
    print_columns("Training, rows a second", ["precision", "lmlab", "Trainer", "ratio", "share of matmul peak"], rows)


def measure_lmlab(arguments: argparse.Namespace, settings: Sequence[str] = SETTINGS) -> dict[str, float]:
    with side_by_side.job(arguments, settings, bare=True) as job:
        rows, seconds = side_by_side.fitted(job, arguments.warmup)
        total, batch = side_by_side.operations(job)
    useful = total * float(batch["mask"].float().mean()) / len(batch["mask"])  # of a row, its padding left out
    return {"rows_per_second": rows / seconds, "flops_per_second": useful * rows / seconds}


def measure_transformers(arguments: argparse.Namespace) -> dict[str, float]:
    from torch import nn

    from lmlab.nn.noise import Dropout

    class Model(nn.Module):
        """Our network and task behind the interface that the Trainer expects."""

        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.network, self.task = module.network, module.task
            for part in list(self.modules()):
                for name, child in part.named_children():
                    if isinstance(child, Dropout):
                        setattr(part, name, nn.Dropout(child.p))

        def forward(self, input_ids, attention_mask, labels):
            batch = {"tokens": input_ids, "mask": attention_mask.bool(), "label": labels}
            total, count = self.task.loss(self.network, batch)
            return {"loss": total / count}

    with side_by_side.job(arguments, SETTINGS, bare=True) as job:
        job.corpus.setup("fit")
        rows = list(examples(job.corpus))
        size = round(len(rows) / len(job.corpus.train_dataloader()))
        collate = padding(job.corpus.tokenizer.pad_id)
        settings = {"per_device_train_batch_size": size, "data_collator": collate}
        seconds = side_by_side.fitted_by_transformers(arguments, job, Model(job.module), rows, **settings)
    return {"rows_per_second": size * arguments.steps / seconds}


def examples(corpus) -> Iterator[Mapping[str, list[int]]]:
    """The training rows as the Trainer likes them, in their order in the corpus."""
    rows = corpus.datasets["train"]
    for row in range(len(rows)):
        batch = rows[[row]]
        yield {"input_ids": batch["tokens"][0].tolist(), "labels": int(batch["label"][0])}


def padding(pad_id: int):
    """`DataCollatorWithPadding`, as a user of the Trainer gets it, over our tokenizer."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import DataCollatorWithPadding, PreTrainedTokenizerFast

    bare = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"[PAD]": pad_id}, "[PAD]")), pad_token="[PAD]")
    return DataCollatorWithPadding(bare)


if __name__ == "__main__":
    main()
