import csv
import os

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from sklearn.utils.class_weight import compute_class_weight

from lmlab.data.cleaning import Lowercase
from lmlab.data.corpus import Corpus
from lmlab.errors import CheckpointError, ConfigError, DataError, InputMissing
from lmlab.tokenizer import Tokenizer


def write(path, rows, header=("text", "label")):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture
def reviews(tmp_path):
    """Sixty short reviews."""
    rows = [(f"Review {n}: {'good' if n % 2 else 'bad'} film {'and so on ' * (n % 7)}", n % 2) for n in range(60)]
    return write(tmp_path / "reviews.csv", rows)


def corpus(path, tmp_path, kind=Corpus, tokenizer=None, **options) -> Corpus:
    shape = {"max_length": 32, "batch_tokens": 400, "eval_batch_tokens": 200, "pool": 2}
    tokenizer = tokenizer or Tokenizer("bpe", 300)
    made = kind(tokenizer=tokenizer, cache=tmp_path / "cache", path=path, **shape | options)
    made.prepare()
    return made


def forbid(monkeypatch, *names):
    for name in names:
        monkeypatch.setattr(Corpus, name, lambda *_: pytest.fail("the cache was not used"))


def test_rows_become_batches_with_the_texts_they_came_from(reviews, tmp_path):
    some = corpus(reviews, tmp_path)
    some.setup("fit")
    assert some.classes == ["0", "1"]
    seen = set()
    for batch in some.train_dataloader():
        assert (batch["mask"] == (batch["tokens"] != some.tokenizer.pad_id)).all()
        assert (batch["tokens"][:, 0] == some.tokenizer.cls_id).all()
        for row, ids, label in zip(
            batch["rows"].tolist(), batch["tokens"].tolist(), batch["label"].tolist(), strict=True
        ):
            text = some.text("train", row)
            assert text.startswith(some.tokenizer.decode(ids))
            assert ("good" in text) == label
            seen.add(text)
    assert len(seen) == some.summary()["rows"]["train"] == some.n_targets == 48


def test_a_second_start_takes_all_from_the_cache(reviews, tmp_path, monkeypatch):
    first = corpus(reviews, tmp_path)
    forbid(monkeypatch, "_write_rows", "_train_tokenizer", "_write_tokens")
    second = corpus(reviews, tmp_path)
    assert second.summary() == first.summary()
    for one, same in zip(first.train_dataloader(), second.train_dataloader(), strict=True):
        assert all(torch.equal(one[name], same[name]) for name in one)
    first.tokenizer.save(tmp_path / "tokenizer.json")  # as a rank or a later stage finds it
    third = corpus(reviews, tmp_path, tokenizer=Tokenizer("bpe", 300, path=tmp_path / "tokenizer.json"), max_length=9)
    assert third.datasets["train"].lengths.max() == 9


def test_a_changed_file_or_cleaning_is_not_taken_from_the_cache(reviews, tmp_path):
    first = corpus(reviews, tmp_path)
    lower = corpus(reviews, tmp_path, cleaning={"lower": Lowercase(), "none": None})
    assert lower.summary()["fingerprint"] == first.summary()["fingerprint"]
    assert lower.tokenizer.fingerprint != first.tokenizer.fingerprint
    assert lower.text("train", 0) == first.text("train", 0)  # the original
    with reviews.open("a") as file:
        file.write("one more,1\n")
    assert corpus(reviews, tmp_path).summary()["fingerprint"] != first.summary()["fingerprint"]


def test_a_touched_file_with_the_same_content_has_the_same_fingerprint(reviews, tmp_path, monkeypatch):
    first = corpus(reviews, tmp_path)
    os.utime(reviews, (1, 1))
    forbid(monkeypatch, "_train_tokenizer", "_write_tokens")
    assert corpus(reviews, tmp_path).summary() == first.summary()


def test_batch_of_texts_equals_the_cached_path(reviews, tmp_path):
    some = corpus(reviews, tmp_path, cleaning={"lower": Lowercase()}, max_length=20)
    for cached in some.test_dataloader():
        fresh = some.batch([some.text("test", row) for row in cached["rows"].tolist()])
        assert torch.equal(fresh["tokens"], cached["tokens"])
        assert torch.equal(fresh["mask"], cached["mask"])
        assert "label" not in fresh


def test_pairs(tmp_path):
    rows = [(f"premise {n}", f"hypothesis {n % 5}", "yes" if n % 2 else "no") for n in range(40)]
    path = write(tmp_path / "pairs.csv", rows, ("a", "b", "gold"))
    some = corpus(path, tmp_path, text_column="a", pair_column="b", label_column="gold")
    batch = next(iter(some.test_dataloader()))
    ids, segments = batch["tokens"][0], batch["segments"][0]
    first, second = some.text("test", int(batch["rows"][0])).split("\n")
    assert some.tokenizer.decode(ids[segments == 0].tolist()) == first
    assert some.tokenizer.decode(ids[segments == 1].tolist()) == second
    assert torch.equal(some.batch([first], [second])["tokens"][0], ids[batch["mask"][0]])
    with pytest.raises(DataError, match="this model takes pairs of texts"):
        some.batch([first])


def test_scores(tmp_path):
    rows = [(f"text {n}", n / 8) for n in range(50)]  # each but once: there are no classes to cut evenly
    some = corpus(write(tmp_path / "scores.csv", rows), tmp_path, labels="scores")
    assert some.summary()["rows"] == {"train": 40, "val": 5, "test": 5} and some.classes is None
    for batch in some.val_dataloader():
        texts = [some.text("val", row) for row in batch["rows"].tolist()]
        assert batch["score"].tolist() == [int(text.split()[1]) / 8 for text in texts] and "label" not in batch
    classes = [(f"text {n}", n // 8) for n in range(50)]
    assert corpus(write(tmp_path / "classes.csv", classes), tmp_path).classes == list("0123456")


def test_weights_make_classes_weigh_alike(tmp_path):
    some = corpus(write(tmp_path / "some.csv", [(f"text {n}", int(n % 4 == 0)) for n in range(80)]), tmp_path)
    labels = some.datasets["train"].labels
    assert some.class_weights == pytest.approx(
        compute_class_weight("balanced", classes=np.unique(labels), y=labels), abs=1e-6
    )


def test_what_the_manifest_is_told(tmp_path):
    rows = [(f"text {n} " + "long " * n, n % 2) for n in range(50)]
    folder = tmp_path / "set"
    write(folder / "train.csv", [*rows, (" ", 0)])
    write(folder / "test.csv", [("text 0 ", 0), ("new", 1)])
    told = corpus(folder, tmp_path, max_length=32).summary()
    assert told["source"] == "files" and told["path"] == str(folder)
    assert told["rows"] == {"train": 46, "val": 4, "test": 2}
    assert (told["blank_dropped"], told["shared_train_test"], told["duplicates_removed"]) == (1, 1, 0)
    assert told["class_counts"]["test"] == {"0": 1, "1": 1}
    assert 0.2 < told["truncated"]["train"] < 0.8 and told["truncated"]["test"] == 0
    assert told["tokens"]["test"] > 4


def test_a_path_of_test_rows_serves_the_test_stage_alone(reviews, tmp_path):
    corpus(reviews, tmp_path).tokenizer.save(tmp_path / "tokenizer.json")
    other = write(tmp_path / "new" / "test.csv", [("good film", 1), ("bad film", 0)])
    known = {"tokenizer": Tokenizer("bpe", 300, path=tmp_path / "tokenizer.json"), "classes": ["bad", "good"]}
    for path, options in ((other, {}), (other.parent, {}), (other.rename(tmp_path / "x.csv"), {"path_split": "test"})):
        write(other, [("good film", 1), ("bad film", 0)])
        some = corpus(path, tmp_path, **known, **options)
        some.setup("test")
        assert sorted(row for batch in some.test_dataloader() for row in batch["rows"].tolist()) == [0, 1]
        with pytest.raises(DataError, match="there is no train split, only: test"):
            some.setup("fit")
    with pytest.raises(DataError, match="no training rows to train a tokenizer on"):
        corpus(other, tmp_path)


def test_without_shares_there_is_no_such_split(reviews, tmp_path):
    some = corpus(reviews, tmp_path, val_share=0)
    assert some.val_dataloader() == [] and some.scored == ("test",)
    assert corpus(reviews, tmp_path, test_share=0).scored == ("val",)
    assert some.summary()["rows"]["val"] == 0


def test_position_is_resumed_and_other_data_refused(reviews, tmp_path):
    some = corpus(reviews, tmp_path)
    whole = [batch["rows"].tolist() for batch in some.train_dataloader()]
    state = {"epoch": 0, "batch": 2, "seed": 1, "data.batch_tokens": 400}
    state |= {"data.fingerprint": some.stored.fingerprint, "tokenizer.fingerprint": some.tokenizer.fingerprint}
    resumed = corpus(reviews, tmp_path)
    resumed.load_state_dict(state)
    assert [batch["rows"].tolist() for batch in resumed.train_dataloader()] == whole[2:]
    with pytest.raises(CheckpointError, match=r"batch_tokens: 300 then, 400 now; data.fingerprint: x then"):
        resumed.load_state_dict(state | {"data.batch_tokens": 300, "data.fingerprint": "x"})
    resumed.may_change = ["data"]
    resumed.load_state_dict(state | {"data.batch_tokens": 300, "data.fingerprint": "x"})


class Recorder(LightningModule):
    """Learns nothing and writes down which rows it was given."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch, index):
        self.seen.append((self.current_epoch, batch["rows"].tolist()))
        return self.weight * batch["tokens"].sum()

    def validation_step(self, batch, index):
        pass

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_training_resumed_from_any_checkpoint_sees_the_rows_that_were_left(reviews, tmp_path, accumulation):
    def fit(epochs, resume=None, callbacks=()):
        module, data = Recorder(), corpus(reviews, tmp_path, batch_tokens=250)
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
        trainer = Trainer(
            max_epochs=epochs,
            callbacks=list(callbacks),
            enable_checkpointing=bool(callbacks),
            accumulate_grad_batches=accumulation,
            use_distributed_sampler=False,
            **quiet,
        )
        trainer.fit(module, datamodule=data, ckpt_path=resume)
        return module.seen, data.order.batches_per_epoch

    every = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=1)
    edge = ModelCheckpoint(tmp_path / "epoch", filename="{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
    whole, steps = fit(3, callbacks=[every, edge])
    assert len(whole) == 3 * steps * accumulation
    assert whole[: steps * accumulation] != whole[steps * accumulation : 2 * steps * accumulation]
    for step in (1, steps - 1, steps + 2):
        resumed, _ = fit(3, tmp_path / f"step={step}.ckpt")
        assert resumed == whole[step * accumulation :]
    assert fit(3, tmp_path / "epoch" / "epoch=0.ckpt")[0] == whole[steps * accumulation :]
    assert fit(3, tmp_path / f"step={steps}.ckpt")[0] == whole[steps * accumulation :]
    write(reviews, [(f"other {n}", n % 2) for n in range(60)])
    with pytest.raises(CheckpointError, match="fingerprint: .* then, .* now"):
        fit(3, tmp_path / "step=1.ckpt")
    other = Trainer(logger=False, enable_progress_bar=False, accelerator="cpu")
    other.test(Recorder(), datamodule=corpus(reviews, tmp_path), ckpt_path=tmp_path / "step=1.ckpt", verbose=False)


def test_workers_load_the_same_batches(reviews, tmp_path):
    alone, helped = corpus(reviews, tmp_path), corpus(reviews, tmp_path, n_workers=1)
    for one, same in zip(alone.train_dataloader(), helped.train_dataloader(), strict=True):
        assert torch.equal(one["tokens"], same["tokens"])


def test_loaders_leave_the_global_generator_alone(reviews, tmp_path):
    some = corpus(reviews, tmp_path)
    before = torch.get_rng_state()
    list(some.train_dataloader()), list(some.val_dataloader())
    assert torch.equal(before, torch.get_rng_state())


def test_what_a_corpus_refuses(reviews, tmp_path):
    with pytest.raises(ConfigError, match="Corpus has no package source"):
        corpus(None, tmp_path)
    with pytest.raises(ConfigError, match="Corpus names no data set .data.source=hub"):
        corpus(None, tmp_path, source="hub")
    with pytest.raises(InputMissing, match="no files given .data.source=files"):
        corpus(None, tmp_path, source="files")
    with pytest.raises(ConfigError, match="at least 4 expected"):
        corpus(reviews, tmp_path, max_length=3)
    large = corpus(reviews, tmp_path).tokenizer
    large.save(tmp_path / "tokenizer.json")
    with pytest.raises(ConfigError, match=f"the tokenizer has {len(large)} entries, the model 261 rows for them"):
        corpus(reviews, tmp_path, tokenizer=Tokenizer("bpe", 261, path=tmp_path / "tokenizer.json"))
