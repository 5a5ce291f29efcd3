"""What was written is kept row by row, and where the network looked is drawn."""

import csv
import functools
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from lmlab.callbacks.alignments import drawn, reread
from lmlab.callbacks.written import Written
from lmlab.data.ragged import Ragged
from lmlab.decoding import Decoding
from lmlab.models.rnn import Recurrent
from lmlab.models.transformer import Transformer
from lmlab.module import LanguageModule
from lmlab.optimizers import warmup_cosine
from lmlab.tasks.causal_lm import NONE, CausalLM
from lmlab.tasks.seq2seq import Seq2Seq
from lmlab.tokenizer import Tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*val_dataloader")
SOURCES = [f"the {size} {animal} runs" for size in ("big", "small", "old") for animal in ("dog", "cat", "cow", "$x$")]
TARGETS = [source.upper() for source in SOURCES]


class Looking(Transformer):
    """A Transformer that looks at token t of a source when it writes its token t."""

    def __init__(self, *arguments, looks, **options):
        super().__init__(*arguments, **options)
        self.alignments = looks

    def decode(self, tokens, memory=None, memory_mask=None, cache=None, documents=None):
        told = cache is not None and "alignment" in cache
        states = super().decode(tokens, memory, memory_mask, None if told else cache, documents)
        if told:
            cache["alignment"] = torch.eye(*states.shape[1:2], memory.shape[1]).expand(len(tokens), -1, -1)
        return states


def padded(rows, value):
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)


class Pairs(pl.LightningDataModule):
    """Sources and targets, four rows a batch, the rows of the first batch last."""

    official_splits: dict[str, str] = {}
    scored = ("test",)

    def __init__(self, tokenizer):
        super().__init__()
        self.tokenizer = tokenizer
        texts = {"text": Ragged.from_texts(SOURCES), "pair": Ragged.from_texts(TARGETS)}
        self.stored = SimpleNamespace(texts=lambda split, side: texts[side])

    def batch(self, texts):
        tokens = padded([[2, *ids, 3] for ids in self.tokenizer.encode(texts)], 0)
        return {"rows": torch.arange(len(texts)), "tokens": tokens, "mask": tokens > 0}

    def loader(self):
        batches = []
        for start in (8, 4, 0):
            target = padded([[*ids, 3] for ids in self.tokenizer.encode(TARGETS[start : start + 4])], NONE)
            batch = self.batch(SOURCES[start : start + 4]) | {"target": target}
            texts = {"reference": TARGETS[start : start + 4], "text": SOURCES[start : start + 4]}
            batches.append(batch | texts | {"rows": torch.arange(start, start + 4)})
        return DataLoader(batches, batch_size=None)

    train_dataloader = val_dataloader = test_dataloader = loader


def trainer_with(callback, **options):
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=2,
        callbacks=[callback],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        **options,
    )


def parts(task=None, looks=True):
    torch.manual_seed(0)
    tokenizer = Tokenizer("word", 60, min_frequency=1)
    tokenizer.train([*SOURCES, *TARGETS])
    network = Looking(60, 8, architecture="encoder-decoder", max_length=80, n_heads=2, n_layers=1, d_ff=16, looks=looks)
    task = task or Seq2Seq(Decoding(beams=1, max_length=8), metrics=(), decoded_share=0.75)
    task.tokenizer = tokenizer
    optimizer = functools.partial(torch.optim.AdamW, lr=1e-2)
    return LanguageModule(network, task, optimizer=optimizer, scheduler=warmup_cosine), Pairs(tokenizer)


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_samples_are_the_first_decoded_rows_of_each_validation_and_the_test_has_all(tmp_path):
    module, data = parts()
    trainer = trainer_with(Written(str(tmp_path), n=5, n_alignments=2))
    trainer.fit(module, datamodule=data)
    chosen = module.task.chosen  # of all rows: a validation between steps decodes a share of them
    module.task.between_steps = True
    expected = chosen(torch.arange(len(SOURCES)))[:5]
    assert [file.name for file in sorted((tmp_path / "samples").iterdir())] == [
        "step-00000003.csv",
        "step-00000006.csv",
    ]
    for file in (tmp_path / "samples").iterdir():
        found = read(file)
        assert [int(row["row"]) for row in found] == expected and len(expected) == 5
        assert [(row["source"], row["reference"]) for row in found] == [(SOURCES[n], TARGETS[n]) for n in expected]
    assert not (tmp_path / "predictions").exists()
    trainer.validate(module, datamodule=data, verbose=False)  # not what the corpus is scored on
    assert not (tmp_path / "predictions").exists()
    trainer.test(module, datamodule=data, verbose=False)
    found = read(tmp_path / "predictions" / "hypotheses_test.csv")
    assert [int(row["row"]) for row in found] == list(range(len(SOURCES)))
    hypotheses = [module.task.predict(module.network, data.batch([source]))[0]["output"] for source in SOURCES]
    assert [row["hypothesis"] for row in found] == hypotheses
    assert (tmp_path / "plots" / "alignments_test.png").stat().st_size > 1000


@pytest.mark.parametrize(("looks", "n"), [(False, 3), (True, 0)])
def test_nothing_is_drawn_of_a_network_that_does_not_tell_or_of_no_rows(tmp_path, looks, n):
    module, data = parts(looks=looks)
    trainer_with(Written(str(tmp_path), n_alignments=n)).test(module, datamodule=data, verbose=False)
    assert [path.name for path in tmp_path.iterdir()] == ["predictions"]


def test_nothing_is_written_of_another_task(tmp_path):
    module, data = parts(CausalLM())
    module.network = Looking(60, 8, architecture="decoder", max_length=80, n_heads=2, n_layers=1, d_ff=16, looks=True)
    for batch in (batches := list(data.loader())):
        batch |= {"target": batch["tokens"], "bytes": torch.ones(4), "words": torch.ones(4)}
    trainer = trainer_with(Written(str(tmp_path)), limit_train_batches=1)
    data.test_dataloader = data.val_dataloader = data.train_dataloader = lambda: DataLoader(batches, batch_size=None)
    trainer.fit(module, datamodule=data)
    trainer.test(module, datamodule=data, verbose=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("family", ["transformer", "rnn"])
def test_families_are_read_again_as_they_wrote(family):
    module, data = parts()
    options = {"architecture": "encoder-decoder", "n_layers": 2}
    network = Transformer(60, 8, max_length=80, **options) if family == "transformer" else Recurrent(60, 8, **options)
    batch, cache = data.batch(SOURCES[:1]), {"alignment": None}
    found = reread(module.task, network.eval(), batch, data.tokenizer, TARGETS[0])
    ids = [3, *data.tokenizer.encode(TARGETS[:1])[0]]
    memory = network.encode(batch["tokens"], batch["mask"])
    for row, token in enumerate(ids):  # step by step, as it is written
        network.decode(torch.tensor([[token]]), memory, batch["mask"], cache)
        torch.testing.assert_close(found.weights[row], cache["alignment"][0, 0])
    torch.testing.assert_close(found.weights.sum(1), torch.ones(len(found.written)))


def test_an_alignment_names_the_tokens_and_holds_the_weights():
    module, data = parts()
    found = reread(module.task, module.network, data.batch(["the old $x$ runs"]), data.tokenizer, "THE DOG")
    assert found.source == ["[CLS]", "the", "old", "$", "x", "$", "runs", "[SEP]"]
    assert found.written == ["THE", "DOG", "[SEP]"]
    assert torch.equal(found.weights, torch.eye(3, len(found.source)))
    long = reread(module.task, module.network, data.batch(["the " * 70]), data.tokenizer, "DOG " * 70)
    assert (len(long.written), len(long.source)) == long.weights.shape == (60, 60)  # of 71 and 72
    above, below = drawn({"row 0": found, "row 1": long}).axes
    assert [label.get_text() for label in above.get_xticklabels()] == found.source
    assert [label.get_text() for label in above.get_yticklabels()] == found.written
    assert above.images[0].get_array().tolist() == torch.eye(3, 8).tolist()
    assert below.get_title(loc="left") == "row 1"
