"""Speed of translation beside `transformers`: the same Transformer as a Marian model, the same rows, in turns.

    python scripts/bench_translate.py --rounds 3 data.path=../shared/data/multi30k

The network is as Vaswani et al. published it, post-norm with fixed sinusoids, 256 wide, 3 + 3 layers, which is also
what MarianMTModel is; both begin with the same weights. Training: target tokens a second beside Seq2SeqTrainer with
DataCollatorForSeq2Seq, whose batches have as many rows as lmlab's have on average. Decoding: sentences a second with
four beams beside `generate(num_beams=4)` on the test split, in batches of `--sentences`; texts of random weights do
not end, so each has `--length` tokens. Those of a run of these sizes do: add `weights=<run folder> tokenizer=pretrained
--length 0`. How many texts are equal token for token is printed.
"""

import argparse
import time
from statistics import fmean
from typing import Any

import side_by_side

SETTINGS = [
    "data=multi30k",
    "model=transformer",
    "logger=csv",
    "tokenizer.vocab_size=8000",
    "data.batch_tokens=8192",
    "data.max_length=128",
    "task.label_smoothing=0.0",
    "model.network.d_model=256",
    "model.network.n_heads=4",
    "model.network.n_layers=3",
    "model.network.d_ff=1024",
    "model.network.positions=sinusoidal",
    "model.network.post_norm=true",
    "model.network.scale_embeddings=true",
    "model.network.dropout=0.1",
]


MOST = 64  # tokens of a text that may end before


def main() -> None:
    parser = side_by_side.parser(__doc__, steps=15, warmup=3)
    parser.add_argument("--sentences", type=int, default=64, help="decoded side by side")
    parser.add_argument("--length", type=int, default=20, help="tokens of each decoded text; 0: until it ends")
    arguments = parser.parse_args()
    sides = {
        "train/lmlab": train_lmlab,
        "train/transformers": train_transformers,
        "decode/lmlab": lambda given: decode(given, by_lmlab),
        "decode/transformers": lambda given: decode(given, by_transformers),
    }
    side_by_side.run(arguments, sides, compare)


def compare(arguments: argparse.Namespace) -> None:
    for precision in side_by_side.precisions(arguments):
        for what, told in (("train", "target_tokens_per_second"), ("decode", "sentences_per_second")):
            sides = [f"{what}/lmlab", f"{what}/transformers"]
            found, rate = side_by_side.in_turns(sides, precision, arguments, told)
            ours, theirs = (side_by_side.spread([one[told] for one in found[side]], ",.1f") for side in sides)
            ratio = side_by_side.spread(side_by_side.ratios(found, told))
            print(f"{what} {precision}: lmlab {ours}, transformers {theirs} {told}, ratio {ratio}", end="")
            print(f", matrices {rate / 1e9:.0f} GFLOP/s", flush=True)
            if what == "decode":
                texts = [one["texts"] for one in (found[sides[0]][0], found[sides[1]][0])]
                equal = sum(one == other for one, other in zip(*texts, strict=True))  # type: ignore[call-overload]
                print(f"{equal} of {len(texts[0])} texts are equal token for token")  # type: ignore[arg-type]


def train_lmlab(arguments: argparse.Namespace) -> dict[str, float]:
    with side_by_side.job(arguments, SETTINGS, bare=True) as job:
        done, seconds = side_by_side.fitted(job, arguments.warmup, lambda batch: int((batch["target"] >= 0).sum()))
    return {"target_tokens_per_second": done / seconds}


def train_transformers(arguments: argparse.Namespace) -> dict[str, float]:
    from transformers import DataCollatorForSeq2Seq

    with side_by_side.job(arguments, SETTINGS, bare=True) as job:
        job.corpus.setup("fit")
        rows = list(examples(job.corpus))
        size = round(len(rows) / len(job.corpus.train_dataloader()))
        model = marian(job)
        settings = {"per_device_train_batch_size": size, "kind": "Seq2Seq"}
        settings["data_collator"] = DataCollatorForSeq2Seq(fast_tokenizer(job), model=model)
        seconds = side_by_side.fitted_by_transformers(arguments, job, model, rows, **settings)
    n_targets = fmean(len(row["labels"]) for row in rows)
    return {"target_tokens_per_second": n_targets * size * arguments.steps / seconds}


def examples(corpus: Any) -> Any:
    rows = corpus.datasets["train"]
    for row in range(len(rows)):
        batch = rows[[row]]
        yield {"input_ids": batch["tokens"][0].tolist(), "labels": batch["target"][0].tolist()}


def fast_tokenizer(job: Any) -> Any:
    from transformers import PreTrainedTokenizerFast

    path = job.run.path / "tokenizer.json"
    job.corpus.tokenizer.save(path)
    return PreTrainedTokenizerFast(tokenizer_file=str(path), pad_token="[PAD]", eos_token="[SEP]", unk_token="[UNK]")


def decode(arguments: argparse.Namespace, writes: Any) -> dict[str, Any]:
    """Sentences a second of the test split, the longest among the first; two batches warm up."""
    import torch

    with side_by_side.job(arguments, SETTINGS, bare=True) as job, torch.inference_mode():
        job.corpus.setup("fit")
        job.corpus.eval_batch_tokens = 10**9
        rows = job.corpus.datasets["test"]
        places = sorted(range(len(rows)), key=lambda row: -rows.lengths[row])[: 6 * arguments.sentences]
        groups = [places[n : n + arguments.sentences] for n in range(0, len(places), arguments.sentences)]
        write = writes(job, arguments)
        texts, started = [], time.perf_counter()
        for number, group in enumerate(groups):
            if number == 2:
                started = time.perf_counter()
            batch = rows[group]
            texts += write(batch["tokens"], batch["mask"])
    return {"sentences_per_second": (len(places) - 2 * arguments.sentences) / (time.perf_counter() - started)} | {
        "texts": texts
    }


def by_lmlab(job: Any, arguments: argparse.Namespace) -> Any:
    from lmlab.decoding import Decoding

    network, tokenizer, n = job.module.network.eval(), job.corpus.tokenizer, arguments.length
    decoding = Decoding(beams=4, min_length=n, max_length=n or MOST, length_ratio=None)
    ids = {"first": tokenizer.sep_id, "stop": tokenizer.sep_id, "vocabulary": tokenizer.vocab_size}

    def write(tokens: Any, mask: Any) -> list[list[int]]:
        return [some[0].tokens for some in decoding.answers(network, tokens, mask, **ids)]

    return write


def by_transformers(job: Any, arguments: argparse.Namespace) -> Any:
    model, n = marian(job).eval(), arguments.length

    def write(tokens: Any, mask: Any) -> list[list[int]]:
        made = model.generate(
            input_ids=tokens, attention_mask=mask.long(), num_beams=4, min_new_tokens=n, max_new_tokens=n or MOST
        )
        stop = job.corpus.tokenizer.sep_id
        return [row[: row.index(stop) if stop in row else None] for row in made[:, 1:].tolist()]

    return write


def marian(job: Any) -> Any:
    """MarianMTModel with the weights of a job's network."""
    import torch
    from transformers import MarianConfig, MarianMTModel

    network, tokenizer = job.module.network, job.corpus.tokenizer
    sizes = job.config["model"]["network"]
    sides = {"layers": sizes["n_layers"], "attention_heads": sizes["n_heads"], "ffn_dim": sizes["d_ff"]}
    config = MarianConfig(
        vocab_size=sizes["vocab_size"],
        d_model=sizes["d_model"],
        max_position_embeddings=sizes["max_length"],
        activation_function="gelu",
        dropout=sizes["dropout"],
        scale_embedding=True,
        pad_token_id=tokenizer.pad_id,
        eos_token_id=tokenizer.sep_id,
        decoder_start_token_id=tokenizer.sep_id,
        forced_eos_token_id=None,
        **{f"{side}_{name}": size for side in ("encoder", "decoder") for name, size in sides.items()},
    )
    model = MarianMTModel(config)
    with torch.no_grad():
        state = dict(model.named_parameters())
        state["model.shared.weight"].copy_(network.embedding.weight)
        for side, stack in (("encoder", network.encoder), ("decoder", network.decoder)):
            getattr(model.model, side).embed_positions.weight.copy_(network.positions.table)
            for ours, theirs in zip(stack.layers, getattr(model.model, side).layers, strict=True):
                copy_layer(ours, theirs)
    return model


def copy_layer(ours: Any, theirs: Any) -> None:
    attentions = [(ours.attention.qkv, ours.attention.output, theirs.self_attn, "qkv")]
    norms = [(ours.norm_attention, theirs.self_attn_layer_norm), (ours.norm_feed_forward, theirs.final_layer_norm)]
    if hasattr(ours, "cross"):
        attentions.append((ours.cross.key_value, ours.cross.output, theirs.encoder_attn, "kv"))
        norms.append((ours.norm_cross, theirs.encoder_attn_layer_norm))
        copy(ours.cross.query, theirs.encoder_attn.q_proj)
    for stacked, output, attention, parts in attentions:
        for name, part in zip(["weight", "bias"], (stacked.weight, stacked.bias), strict=True):
            for letter, piece in zip(parts, part.chunk(len(parts)), strict=True):
                getattr(getattr(attention, f"{letter}_proj"), name).copy_(piece)
        copy(output, attention.out_proj)
    copy(ours.feed_forward[0], theirs.fc1)
    copy(ours.feed_forward[2], theirs.fc2)
    for one, other in norms:
        copy(one, other)


def copy(ours: Any, theirs: Any) -> None:
    theirs.weight.copy_(ours.weight)
    theirs.bias.copy_(ours.bias)


if __name__ == "__main__":
    main()
