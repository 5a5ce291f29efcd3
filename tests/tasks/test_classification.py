"""The loss is a sum over rows, scores do not depend on how rows are batched."""

import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from lmlab.errors import ConfigError
from lmlab.models.transformer import Transformer
from lmlab.tasks.classification import Classification


def parts(classes=("bad", "fair", "good"), **changes):
    network = Transformer(
        40, 16, architecture="encoder", max_length=12, n_heads=2, n_layers=1, d_ff=32, dropout=0.0
    ).eval()
    return network, Classification(16, classes, dropout=0.0, **changes).eval()


def batch(n=12):
    tokens = torch.randint(5, 40, (n, 12))
    mask = torch.arange(12) < torch.randint(3, 13, (n, 1))
    return {"rows": torch.arange(n), "tokens": tokens * mask, "mask": mask, "label": torch.randint(0, 3, (n,))}


def part(whole, rows):
    return {name: value[rows] for name, value in whole.items()}


def test_the_loss_of_a_batch_is_the_sum_of_its_parts():
    network, task = parts(label_smoothing=0.1)
    whole = batch()
    total, count = task.loss(network, whole)
    halves = [task.loss(network, part(whole, rows)) for rows in (slice(0, 5), slice(5, 12))]
    torch.testing.assert_close(total, halves[0][0] + halves[1][0])
    assert count == 12


def test_scores_equal_scikit_learn_and_do_not_depend_on_the_batches():
    network, task = parts()
    whole = batch(60)
    for rows in (slice(0, 7), slice(7, 60)):
        told = task.score(network, part(whole, rows), "val")
    results = task.results("val")
    predicted = task(network, whole).argmax(-1)
    assert results["accuracy"] == pytest.approx((predicted == whole["label"]).float().mean().item())
    assert results["f1"] == pytest.approx(f1_score(whole["label"], predicted, average="macro"))
    assert results["rows"] == 60 and told["rows"].tolist() == list(range(7, 60))
    counts = torch.tensor(task.tables("val")["confusion_matrix"]["counts"])
    assert counts.sum() == 60 and counts.diag().sum() == (predicted == whole["label"]).sum()
    task.reset("val")
    assert task.metrics["val"]["accuracy"].update_count == 0


def test_predictions_are_class_names_with_probabilities():
    network, task = parts()
    answers = task.predict(network, batch(4))
    assert len(answers) == 4
    for answer in answers:
        assert list(answer) == ["label", "bad", "fair", "good"]
        assert sum(answer[name] for name in task.classes) == pytest.approx(1, abs=1e-5)
        assert answer[answer["label"]] == max(answer[name] for name in task.classes)


def test_one_batch_can_be_learned_by_heart():
    network, task = parts()
    whole, parameters = batch(8), [*network.parameters(), *task.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3)
    for _ in range(150):
        loss, count = task.loss(network, whole)
        optimizer.zero_grad()
        (loss / count).backward()
        optimizer.step()
    assert (task(network, whole).argmax(-1) == whole["label"]).all()


def test_the_metrics_of_glue_equal_scikit_learn():
    network, task = parts(("no", "yes"), metrics=["matthews", "binary_f1", "accuracy"])
    whole = batch(60)
    whole["label"] %= 2
    for rows in (slice(0, 7), slice(7, 60)):
        task.score(network, part(whole, rows), "val")
    results, predicted = task.results("val"), task(network, whole).argmax(-1)
    assert list(results) == ["loss", "matthews", "binary_f1", "accuracy", "rows"]
    for name, equal in (("matthews", matthews_corrcoef), ("binary_f1", f1_score), ("accuracy", accuracy_score)):
        assert results[name] == pytest.approx(equal(whole["label"], predicted)), name
    with pytest.raises(ConfigError, match="task.metrics: binary_f1 is of two classes, and there are 3"):
        parts(metrics=["binary_f1"])


def test_classes_weigh_in_the_training_loss_alone():
    weights = [0.2, 1.0, 4.0]
    network, task = parts(class_weights=weights)
    _, plain = parts()
    plain.load_state_dict(task.state_dict())
    whole = batch(30)
    losses = [task.loss(network, part(whole, rows)) for rows in (slice(0, 11), slice(11, 30))]
    mean = sum(loss for loss, _ in losses) / sum(count for _, count in losses)
    expected = torch.nn.functional.cross_entropy(task(network, whole), whole["label"], torch.tensor(weights))
    torch.testing.assert_close(mean, expected)
    for one in (task, plain):
        one.score(network, whole, "val")
    assert task.results("val") == plain.results("val")
    for given, said in (([1.0, 2.0], "3 numbers expected, got 2"), ("balanced", "nobody has counted the classes")):
        with pytest.raises(ConfigError, match=f"task.class_weights: {said}"):
            parts(class_weights=given)
