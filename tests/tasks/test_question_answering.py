"""The loss is a sum over windows; the best span is the best there is; windows of one question are read together."""

import math

import pytest
import torch

from lmlab.evaluation import squad
from lmlab.models.transformer import Transformer
from lmlab.tasks.answers import LEAST, Answer, Answers
from lmlab.tasks.question_answering import QuestionAnswering


def parts(**options):
    network = Transformer(
        40, 16, architecture="encoder", max_length=16, n_heads=2, n_layers=1, d_ff=32, dropout=0.0
    ).eval()
    return network, QuestionAnswering(16, dropout=0.0, **options).eval()


def batch(n=12, questions=5):
    """Windows of 16 tokens of one sign each, the first 4 of which are the question's."""
    tokens = torch.randint(5, 40, (n, 16))
    places = torch.arange(16)
    lengths = torch.randint(8, 17, (n, 1))
    mask = places < lengths
    passage = mask & (places >= 4)
    start = torch.randint(4, 8, (n,)) * (torch.arange(n) % 4 > 0)
    begins = (places - 4).clamp(min=0)
    first = torch.arange(n) * 3  # window by window further on
    spans = torch.stack((begins, begins + 1), -1) + first[:, None, None]
    context = "abcdefghijklmnopqrstuvwxyz" * 5
    return {
        "rows": torch.arange(n),
        "tokens": tokens * mask,
        "mask": mask,
        "segments": passage.long(),
        "passage": passage,
        "start": start,
        "end": start,
        "spans": spans,
        "question": torch.arange(n) % questions,
        "context": [context] * n,
        "answers": [[context[int(row) % questions : int(row) % questions + 3]] for row in range(n)],
    }


def part(whole, rows):
    return {
        name: value[rows] if not isinstance(value, list) else [value[row] for row in range(len(value))[rows]]
        for name, value in whole.items()
    }


def test_the_loss_of_a_batch_is_the_sum_of_its_parts_and_the_cross_entropy_over_context_and_first_token():
    network, task = parts()
    whole = batch()
    total, count = task.loss(network, whole)
    halves = [task.loss(network, part(whole, rows)) for rows in (slice(0, 5), slice(5, 12))]
    torch.testing.assert_close(total, halves[0][0] + halves[1][0])
    assert count == 12
    logits = task(network, whole)
    expected = 0.0
    for row in range(12):
        allowed = [0, *whole["passage"][row].nonzero().flatten().tolist()]
        for side, name in enumerate(("start", "end")):
            target = allowed.index(int(whole[name][row]))
            expected += torch.nn.functional.cross_entropy(logits[row, allowed, side], torch.tensor(target)) / 2
    torch.testing.assert_close(total, expected)


@pytest.mark.parametrize("most", [1, 3, 30])
def test_the_best_spans_are_those_of_a_search_through_all(most):
    network, task = parts(max_answer=most)
    whole = batch()
    first, last = task.log_probabilities(network, whole)
    scores, begin, end = task.spans(first, last, whole["passage"], 4)
    for row in range(12):
        inside = whole["passage"][row].nonzero().flatten().tolist()
        every = [(first[row, a] + last[row, b]).item() for a in inside for b in inside if a <= b < a + most]
        torch.testing.assert_close(scores[row], torch.tensor(sorted(every, reverse=True)[:4]))
        for score, a, b in zip(scores[row], begin[row], end[row], strict=True):
            torch.testing.assert_close(score, first[row, a] + last[row, b])


@pytest.mark.parametrize("no_answer", [False, True])
def test_scores_do_not_depend_on_the_batches_that_windows_are_in(no_answer):
    network, task = parts(no_answer=no_answer)
    whole = batch(20)
    for row in (3, 7, 13):
        whole["answers"][row % 5 :: 5] = [[]] * 4 if no_answer else whole["answers"][row % 5 :: 5]
    told = []
    for cuts in ([slice(0, 20)], [slice(13, 20), slice(0, 4), slice(4, 13)]):
        task.reset("val")
        for rows in cuts:
            task.score(network, part(whole, rows), "val")
        told.append(task.results("val"))
    assert told[0] == pytest.approx(told[1], rel=1e-5) and told[0]["rows"] == 5
    found = task.all_found("val")
    assert list(found) == [0, 1, 2, 3, 4]
    first, last = task.log_probabilities(network, whole)
    scores, begin, end = task.spans(first, last, whole["passage"], 1)
    f1 = []
    for question in range(5):
        windows = range(question, 20, 5)
        best = max(windows, key=lambda row: scores[row, 0].item())
        text = whole["context"][0][whole["spans"][best, begin[best, 0], 0] : whole["spans"][best, end[best, 0], 1]]
        none = min((first[row, 0] + last[row, 0]).item() for row in windows)
        said = "" if no_answer and scores[best, 0].item() - none <= 0 else text
        f1.append(squad.scores(said, whole["answers"][question], no_answer=no_answer).f1)
    assert told[0]["f1"] == pytest.approx(100 * sum(f1) / 5)
    assert no_answer == ("best_f1" in told[0]) and (not no_answer or told[0]["best_f1"] >= told[0]["f1"])


def test_one_batch_can_be_learned_by_heart():
    network, task = parts()
    whole, parameters = batch(8, 8), [*network.parameters(), *task.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3)
    for _ in range(200):
        loss, count = task.loss(network, whole)
        optimizer.zero_grad()
        (loss / count).backward()
        optimizer.step()
    first, last = task.log_probabilities(network, whole)
    assert (first.argmax(1) == whole["start"]).all() and (last.argmax(1) == whole["end"]).all()


def test_predictions_are_slices_or_nothing():
    network, task = parts()
    whole = batch(10)
    answers = task.predict(network, whole)
    assert len(answers) == 5
    for answer in answers:
        assert answer["answer"] == whole["context"][0][answer["begin"] : answer["end"]] != ""
        assert 0 < answer["probability"] < 1
    _, strict = parts(no_answer=True, threshold=99.0)
    strict.load_state_dict(task.state_dict())
    for answer in strict.predict(network, whole):
        assert (answer["answer"], answer["begin"], answer["end"]) == ("", 0, 0) and answer["probability"] > 0


def test_a_window_without_a_context_has_no_span():
    network, task = parts()
    whole = batch(2, 2)
    whole["passage"][1] = False
    whole["start"] = whole["end"] = torch.zeros(2, dtype=torch.long)
    assert task.loss(network, whole)[0].isfinite()
    told = task.predict(network, whole)
    assert told[0]["answer"] and not told[1]["answer"]


def test_a_span_in_two_windows_counts_once():
    a, b, c = Answer(-1.0, 0, 2, "ab"), Answer(-0.5, 0, 2, "ab"), Answer(-2.0, 4, 5, "e")
    both = Answers([a, c], -3.0, ("x",)).beside(Answers([b], -4.0), 5)
    assert both == Answers([b, c], -4.0, ("x",)) and both.margin == 3.5
    assert Answers([], -1.0).margin == LEAST and Answers([], -1.0).text == ""
    assert Answer.of("say  it ", 3, 8, math.log(0.5)).told() == {
        "answer": "it",
        "begin": 5,
        "end": 7,
        "probability": 0.5,
    }
