"""Speed of fine-tuning beside `transformers.Trainer`: MiniLM on reviews, the same rows, dropout and steps, in turns.

    python scripts/bench_finetune.py --rounds 3

Ours is `experiment=imdb_minilm` at 256 tokens with all layers learning and BERT's own head; theirs is
BertForSequenceClassification with the same weights and attention as transformers chooses it. Dropout is 0.1 of hidden
states and of attention on both sides, as published; ours drops for a whole text at once (lmlab.nn.noise). Their batches
have as many rows as lmlab's have on average, padded to the longest. Printed: rows a second, their ratio, and the share
of the rate at which torch multiplies matrices here.
"""

import argparse

import side_by_side
from bench_classification import compare, examples, measure_lmlab, padding

SETTINGS = [
    "experiment=imdb_minilm",
    "logger=csv",
    "data.max_length=256",
    "data.batch_tokens=4096",
    "model.frozen=null",
    "model.layer_decay=1.0",
    "model.network.pooling=pooler",
    "model.network.attention_dropout=0.1",
    "model.head=plain",
]


def main() -> None:
    arguments = side_by_side.parser(__doc__, steps=10, warmup=3).parse_args()
    sides = {"lmlab": lambda given: measure_lmlab(given, SETTINGS), "transformers": measure_transformers}
    side_by_side.run(arguments, sides, compare)


def measure_transformers(arguments: argparse.Namespace) -> dict[str, float]:
    from transformers import AutoModelForSequenceClassification

    from lmlab import published

    with side_by_side.job(arguments, SETTINGS, bare=True) as job:
        job.corpus.setup("fit")
        rows = list(examples(job.corpus))
        size = round(len(rows) / len(job.corpus.train_dataloader()))
        folder = published.located(job.config["weights"])
        network = job.config["model"]["network"]
        dropout = {
            "hidden_dropout_prob": network["dropout"],
            "attention_probs_dropout_prob": network["attention_dropout"],
        }
        model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2, **dropout)
        settings = {"per_device_train_batch_size": size, "data_collator": padding(job.corpus.tokenizer.pad_id)}
        seconds = side_by_side.fitted_by_transformers(arguments, job, model, rows, **settings)
    return {"rows_per_second": size * arguments.steps / seconds}


if __name__ == "__main__":
    main()
