import numpy as np
import pytest
from matplotlib.figure import Figure

from jaxfer.report import curves, learning_curve
from jaxfer.report.style import BLUE, VERMILION
from jaxfer.typing import UserError


def rows_of(steps, *, runs=1, name="accuracy", split="train", value=lambda t, run: 0.5):
    return [
        {"step": t, "seconds": 0.0, "split": split, "run": run, name: value(t, run)}
        for run in range(runs)
        for t in steps
    ]


def drawn(rows, name="accuracy", chance=None):
    axes = Figure().subplots()
    curves._panel(axes, rows, name, chance)
    return axes


def test_the_picture_shows_both_splits(write_run, tmp_path, colours):
    learning_curve(write_run("a") / "metrics.jsonl", tmp_path / "deep" / "curve.png", chance=0.2)
    assert colours(tmp_path / "deep" / "curve.png", VERMILION) > 0.001
    assert colours(tmp_path / "deep" / "curve.png", BLUE) > 0.001


def test_each_run_is_a_thin_line_under_the_thick_mean():
    axes = drawn(rows_of([1, 2, 3], runs=3, value=lambda t, run: 0.1 * (run + t)))
    thin, thick = axes.lines[:3], axes.lines[3]
    np.testing.assert_allclose([line.get_ydata()[0] for line in thin], [0.1, 0.2, 0.3])
    np.testing.assert_allclose(thick.get_ydata(), [0.2, 0.3, 0.4])
    assert thick.get_linewidth() > 2 * thin[0].get_linewidth()
    assert "mean over 3 runs" in thick.get_label()


def test_a_noisy_series_is_averaged_and_says_so():
    axes = drawn(rows_of(range(1, 601), value=lambda t, run: 0.5 + 0.1 * (-1) ** t))
    raw, mean = axes.lines
    assert len(raw.get_xdata()) == 600
    np.testing.assert_allclose(mean.get_ydata(), 0.5)
    assert "mean over 10 logged steps" in mean.get_label()
    assert mean.get_xdata()[-1] == 600


def test_validation_points_are_not_averaged():
    axes = drawn(rows_of(range(1, 201), split="validation", value=lambda t, run: t / 1000))
    assert len(axes.lines[0].get_xdata()) == 200
    assert "best 20% at step 200" in axes.lines[0].get_label()


def test_a_run_that_ended_early_does_not_bend_the_mean():
    rows = rows_of(range(1, 121)) + [
        row | {"run": 1, "accuracy": 0.1} for row in rows_of(range(1, 62))
    ]
    mean = drawn(rows).lines[-1]
    assert mean.get_xdata()[-1] == 60
    np.testing.assert_allclose(mean.get_ydata(), 0.3)


def test_an_accuracy_axis_ends_at_one_and_holds_chance():
    low, high = drawn(rows_of([1, 2], value=lambda t, run: 0.9), chance=0.2).get_ylim()
    assert low < 0.2
    assert 1 <= high < 1.02


def test_a_loss_axis_starts_at_zero_unless_it_is_logarithmic():
    slow = drawn(rows_of([1, 2], name="loss", value=lambda t, run: 1 / t), "loss")
    steep = drawn(rows_of([1, 2], name="loss", value=lambda t, run: 100.0 ** (1 - t)), "loss")
    assert slow.get_ylim()[0] == 0
    assert (slow.get_yscale(), steep.get_yscale()) == ("linear", "log")
    assert steep.get_ylabel() == "logarithmic scale"


def test_metrics_of_a_regression_are_drawn_too(tmp_path):
    learning_curve(rows_of([1, 2], name="mse"), tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 1000


def test_nothing_to_draw_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="the rows has no metrics to draw yet"):
        learning_curve([], tmp_path / "curve.png")
    with pytest.raises(UserError, match="no regret to draw; it has accuracy"):
        learning_curve(rows_of([1]), tmp_path / "curve.png", names=["regret"])


def test_a_picture_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        learning_curve(rows_of([1]), tmp_path / "file" / "curve.png")
