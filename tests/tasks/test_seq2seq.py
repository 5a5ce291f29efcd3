"""The likelihood of targets alone, scores equal to sacrebleu's and rouge-score's, whoever is in a batch."""

import math

import pytest
import sacrebleu
import torch
import torch.nn.functional as F
from rouge_score.rouge_scorer import RougeScorer

from lmlab.decoding import Decoding
from lmlab.evaluation.overlap import MEASURES, first_sentence
from lmlab.models.gpt2 import GPT2
from lmlab.models.transformer import Transformer
from lmlab.tasks.seq2seq import Seq2Seq
from lmlab.tokenizer import Tokenizer

SAID = ["the cat sat on the mat", "a dog", "no one is here at all today", "it rains"]
MEANT = ["the cat sat on a mat", "a small dog", "nobody is here today at all", "it rains"]


@pytest.fixture(scope="module")
def tokenizer():
    made = Tokenizer("word", 40, min_frequency=1)
    made.train([*SAID, *MEANT])
    return made


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(1)
    return Transformer(40, 16, architecture="encoder-decoder", max_length=32, n_heads=2, dropout=0.0).eval()


def task(tokenizer, **options):
    made = Seq2Seq(Decoding(beams=2, max_length=12), **options)
    made.tokenizer = tokenizer
    return made


def batch_of(tokenizer, rows=range(4), sources=SAID, targets=MEANT):
    rows = list(rows)
    read = [[tokenizer.cls_id, *ids] for ids in tokenizer.encode([sources[row] for row in rows])]
    asked = [[*ids, tokenizer.sep_id] for ids in tokenizer.encode([targets[row] for row in rows])]
    return {
        "rows": torch.tensor(rows),
        "tokens": padded(read, tokenizer.pad_id),
        "mask": padded([[1] * len(row) for row in read], 0).bool(),
        "target": padded(asked, -100),
        "reference": [targets[row] for row in rows],
        "text": [sources[row] for row in rows],
    }


def padded(rows, value):
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], True, value)


def test_each_target_token_is_asked_for_given_those_before(tokenizer, pair):
    batch, made = batch_of(tokenizer), task(tokenizer, label_smoothing=0.0)
    total = 0.0
    for row in range(4):
        tokens, mask = batch["tokens"][row][batch["mask"][row]][None], None
        memory = pair.encode(tokens, torch.ones_like(tokens, dtype=torch.bool))
        target = batch["target"][row][batch["target"][row] >= 0]
        read = torch.cat((torch.tensor([tokenizer.sep_id]), target[:-1]))[None]
        logits = pair.logits(pair.decode(read, memory, mask))[0]
        total += F.cross_entropy(logits, target, reduction="sum").item()
    loss, count = made.loss(pair, batch)
    assert count == (batch["target"] >= 0).sum() and made.n_tokens(batch) == count + batch["mask"].sum()
    assert loss.item() == pytest.approx(total, rel=1e-5)


def test_smoothing_asks_for_all_tokens_a_little(tokenizer, pair):
    batch, smooth = batch_of(tokenizer), task(tokenizer, label_smoothing=0.2)
    logits, target = smooth(pair, batch)
    logs = logits.log_softmax(-1)
    expected = -(0.8 * logs.gather(1, target[:, None]).sum() + 0.2 * logs.mean(1).sum())
    assert smooth.loss(pair, batch)[0].item() == pytest.approx(expected.item(), rel=1e-5)
    smooth.score(pair, batch, "val")
    assert smooth.results("val")["loss"] == pytest.approx(F.cross_entropy(logits, target).item(), rel=1e-5)


def test_a_decoder_alone_reads_source_and_target_as_one_text(tokenizer):
    network = GPT2(40, 16, max_length=32, n_heads=2, n_layers=1, dropout=0.0, attention_dropout=0.0).eval()
    batch, made = batch_of(tokenizer), task(tokenizer, writes_by="decoder", label_smoothing=0.0)
    total = 0.0
    for source, target in zip(tokenizer.encode(SAID), tokenizer.encode(MEANT), strict=True):
        text = torch.tensor([[tokenizer.cls_id, *source, tokenizer.sep_id, *target, tokenizer.sep_id]])
        logits = network.logits(network.decode(text[:, :-1]))[0, len(source) + 1 :]
        total += F.cross_entropy(logits, text[0, len(source) + 2 :], reduction="sum").item()
    loss, count = made.loss(network, batch)
    assert count == (batch["target"] >= 0).sum() and loss.item() == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("architecture", ["encoder-decoder", "decoder"])
def test_answers_do_not_depend_on_the_batch(tokenizer, pair, architecture):
    network = pair
    if architecture == "decoder":
        network = GPT2(40, 16, max_length=32, n_heads=2, n_layers=1).eval()
    made = task(tokenizer, writes_by=architecture)
    together = made.predict(network, batch_of(tokenizer))
    for row in range(4):
        alone = made.predict(network, batch_of(tokenizer, [row]))[0]
        assert alone["output"] == together[row]["output"]
        assert alone["score"] == pytest.approx(together[row]["score"], abs=1e-3)


def test_it_learns_to_answer(tokenizer):
    torch.manual_seed(0)
    network = Transformer(40, 32, architecture="encoder-decoder", max_length=32, n_heads=2, dropout=0.0)
    batch, made = batch_of(tokenizer), task(tokenizer, label_smoothing=0.0)
    optimizer = torch.optim.AdamW(network.parameters(), 5e-3)
    for _ in range(80):
        loss, count = made.loss(network, batch)
        (loss / count).backward()
        optimizer.step()
        optimizer.zero_grad()
    network.eval()
    for rows in ([0, 2], [1, 3]):
        made.score(network, batch_of(tokenizer, rows), "test")
    found = made.results("test")
    assert found["bleu"] == pytest.approx(100.0) and found["chrf"] == pytest.approx(100.0)
    assert found["rows"] == 4 and found["length_ratio"] == 1.0
    assert made.measured_by()["bleu"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    made.reset("test")
    assert made.all_written("test") == []


def test_the_first_sentences_are_scored_beside(tokenizer, pair):
    given = batch_of(tokenizer) | {"text": [f"{said}. And more." for said in SAID]}
    made = task(tokenizer, metrics=["rouge", "bleu"], lead=True)
    made.score(pair, given, "val")
    found = made.results("val")
    expected = MEASURES["rouge"]([f"{said}." for said in SAID], MEANT, "13a").scores["rougeL"]
    assert found["lead_rougeL"] == expected != found["rougeL"] and found["lead_bleu"] > 10
    assert first_sentence(' "No!" he said. Then\nmore') == '"No!'
    assert first_sentence("A line\nand another.") == "A line"


def test_between_steps_the_same_share_is_decoded_in_any_batch(tokenizer):
    made = task(tokenizer, decoded_share=0.3)
    assert made.chosen(torch.arange(10)) == list(range(10))
    made.between_steps = True
    rows = torch.arange(1000)
    chosen = rows[made.chosen(rows)].tolist()
    assert len(chosen) == pytest.approx(300, abs=3)
    shuffled = rows[torch.randperm(1000)]
    parts = [part[made.chosen(part)].tolist() for part in shuffled.split(7)]
    assert sorted(row for part in parts for row in part) == chosen


def test_a_source_without_words_is_answered_by_none(tokenizer, pair):
    tokens = torch.tensor([[tokenizer.cls_id, tokenizer.pad_id], [tokenizer.cls_id, 7]])
    given = {"tokens": tokens, "mask": torch.tensor([[True, False], [True, True]]), "rows": torch.arange(2)}
    empty, other = task(tokenizer).predict(pair, given)
    assert empty["output"] == "" and other.keys() == empty.keys() == {"output", "score"}


def test_equal_to_sacrebleu_and_rouge_score():
    told = {name: MEASURES[name](SAID, MEANT, "13a") for name in MEASURES}
    exact = sacrebleu.corpus_bleu(SAID, [MEANT])
    assert told["bleu"].scores["bleu"] == pytest.approx(exact.score, abs=1e-9) and exact.score > 10
    assert told["bleu"].scores["length"] == exact.sys_len and told["bleu"].scores["reference_length"] == exact.ref_len
    assert told["chrf"].scores["chrf"] == pytest.approx(sacrebleu.corpus_chrf(SAID, [MEANT]).score, abs=1e-9)
    assert told["ter"].scores["ter"] == pytest.approx(sacrebleu.corpus_ter(SAID, [MEANT]).score, abs=1e-9)
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=True)
    for name, value in told["rouge"].scores.items():
        if name.startswith("rouge"):
            each = [scorer.score(meant, said)[name].fmeasure for said, meant in zip(SAID, MEANT, strict=True)]
            assert value == pytest.approx(100 * math.fsum(each) / 4, abs=1e-9)
