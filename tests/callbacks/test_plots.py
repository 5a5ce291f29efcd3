"""Plots hold the numbers they are given."""

import pandas as pd

from lmlab.callbacks.plots import confusion_matrix, estimates, learning_curve


def test_a_learning_curve_has_a_line_for_each_metric_at_the_steps_it_was_logged():
    metrics = pd.DataFrame(
        {
            "step": [0, 10, 10, 20, 20],
            "train/loss": [0.7, 0.6, None, 0.5, None],
            "val/loss": [None, None, 0.65, None, 0.55],
            "val/accuracy": [None, None, 0.6, None, 0.8],
            "val/rows": [None, None, 100, None, 100],
        }
    )
    losses, scores = learning_curve(metrics).axes
    assert [line.get_label() for line in scores.lines] == ["val/accuracy"]
    assert scores.lines[0].get_xydata().tolist() == [[10, 0.6], [20, 0.8]]
    assert [line.get_label() for line in losses.lines][1:] == ["train (smoothed)", "val/loss"]


def test_percentages_have_an_axis_without_shares_and_counts():
    told = {"bleu": [3.0, 30.0], "chrf": [20.0, 55.0], "ter": [700.0, 60.0], "rougeLsum": [1.0, 2.0]}
    others = {"length": [9000, 8000], "reference_length": [8500, 8500], "length_ratio": [1.1, 0.9], "rows": [500, 500]}
    others |= {"perplexity": [90.0, 12.0], "words": [17, 18], "reference_words": [19, 19], "share": [0.1, 0.2]}
    values = {f"val/{name}": numbers for name, numbers in (told | others | {"loss": [4.5, 2.5]}).items()}
    losses, scores = learning_curve(pd.DataFrame({"step": [100, 200], **values})).axes
    assert [line.get_label() for line in losses.lines] == ["val/loss"]
    assert [line.get_label() for line in scores.lines] == [f"val/{name}" for name in told]
    assert scores.get_ylim() == (0, 100)


def test_a_confusion_matrix_shows_counts_and_true_classes_as_rows():
    axis = confusion_matrix(["bad", "good"], [[90, 10], [1200, 0]], "dev").axes[0]
    assert [text.get_text() for text in axis.texts] == ["90", "10", "1,200", "0"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["bad", "good"]
    assert axis.get_ylabel() == "true" and axis.get_title().endswith("(dev)")


def test_estimates_are_points_over_true_scores():
    axis = estimates([0.0, 2.5, 5.0], [0.4, 2.0, 4.0], "dev").axes[0]
    assert axis.collections[0].get_offsets().tolist() == [[0.0, 0.4], [2.5, 2.0], [5.0, 4.0]]
    assert axis.lines[0].get_xydata().tolist() == [[0.0, 0.0], [5.0, 5.0]]
