"""Keys of a config that no constructor sees: the checks, the stages and the experiment read them."""

import ast
from dataclasses import replace

from lmlab.check.signatures import Signature

METADATA: dict[str, dict[str, str]] = {  # place -> key -> its annotation; "": only its own reader knows
    "data": {"provides": "", "metrics": "", "span": "", "objective": "", "bleu_tokenizer": "str"},
    "task": {
        **dict.fromkeys(
            ("needs", "architecture", "batches", "label_column", "labels", "monitor", "mode", "answers"), ""
        ),
        "token_dropout": "Fraction",
        "ngram_orders": "Sequence[PositiveInt]",
        "masked_head": "bool",
        "family_pooling": "str",
        "lines": "bool",
    },
    "model": {
        "architectures": "",
        "carries_state": "bool",
        "separates_documents": "bool",
        "head": "",
        "orders": "",
        "exports": "",
        "d_vector": "NonNegativeInt",
        "published_vocab": "PositiveInt",
        "pretraining": "",
        "writes_by": "Literal['encoder-decoder', 'decoder']",
        "finetuning_lr": "PositiveFloat",
    },
    "model.network": {"embeddings": "str | None", "freeze_embeddings": "bool"},
    "optimizer": {"prior_std": "PositiveFloat | None"},
    "trainer": {
        "compile": "bool",
        "activation_checkpointing": "bool",
        "batch_tokens": "PositiveInt | Literal['auto'] | None",
        "launcher": "Literal['torchrun', 'slurm'] | None",
    },
}


def with_metadata(takes: Signature, place: str) -> Signature:
    """What may stand at a place: what its target takes, and the keys beside that."""
    beside = METADATA.get(place, {})
    told = {key: ast.parse(kind, mode="eval").body if kind else None for key, kind in beside.items()}
    return replace(
        takes, annotations={**takes.annotations, **told}, defaults={**takes.defaults, **dict.fromkeys(beside)}
    )
