"""Pictures of adaptation: colours say what the numbers say."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from jaxfer.report import (
    AdaptationRow,
    MethodCurve,
    confusion_picture,
    feature_scatter,
    method_bars,
    method_curves,
)
from jaxfer.report.adaptation import checked_rows
from jaxfer.report.features import _mixing
from jaxfer.report.method_bars import _bar
from jaxfer.report.method_curves import _checked, _fact
from jaxfer.report.style import BLUE, GREEN, VERMILION

SEEDS = np.array([-0.01, 0.0, 0.01])
DRAW = np.random.default_rng(0)
SOURCE, TARGET = DRAW.normal(size=(12, 5)), DRAW.normal(size=(14, 5))
LABELS = np.arange(12) % 3


def size(path):
    with Image.open(path) as image:
        return image.size


def bars(path, *levels):
    rows = [
        AdaptationRow(str(index), 0.5 + SEEDS, level + SEEDS, level + SEEDS, level + 0.05 + SEEDS)
        for index, level in enumerate(levels)
    ]
    method_bars(rows, path, title="MNIST to USPS")
    return path


def test_gains_are_blue_and_losses_are_orange(tmp_path, colours):
    # Opaque to 85%: what of the colours is seen on white.
    blue, orange = "#268BBE", "#DB7626"
    gain, loss = bars(tmp_path / "gain.png", 0.7, 0.8), bars(tmp_path / "loss.png", 0.3, 0.2)
    # The legend has a little of both.
    assert colours(gain, blue) > 0.05 and colours(gain, orange) < 0.003
    assert colours(loss, orange) > 0.05 and colours(loss, blue) < 0.003
    assert size(bars(tmp_path / "one.png", 0.7))[1] < size(gain)[1]


@pytest.mark.parametrize("tops", [(0.8, 0.9), (0.9, 0.9), (None, None)])
def test_each_row_has_its_own_bound_from_above(tops):
    axes = Figure().subplots()
    for place, top in enumerate(tops):
        bound = None if top is None else top + SEEDS
        row = AdaptationRow("a-b", 0.5 + SEEDS, 0.6 + SEEDS, 0.6 + SEEDS, 0.7 + SEEDS, bound)
        _bar(axes, place, row, checked_rows([row])[0])
    dotted = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"]
    assert dotted == pytest.approx([top for top in tops if top is not None])


def test_a_method_that_failed_in_all_seeds_and_single_seeds_are_drawn(tmp_path):
    nothing = np.full(3, np.nan)
    rows = [
        AdaptationRow("DANN", 0.5 + SEEDS, nothing, nothing, nothing),
        AdaptationRow("MCD", 0.5 + SEEDS, 0.6 + SEEDS, 0.6 + SEEDS, 0.6 + SEEDS, 0.9 + SEEDS),
    ]
    method_bars(rows, tmp_path / "a.png")
    method_bars([AdaptationRow("DANN", [0.5], [0.6], [0.6], [0.7])], tmp_path / "b.png")
    assert (tmp_path / "a.png").stat().st_size > 1000 < (tmp_path / "b.png").stat().st_size


def test_right_answers_are_blue_and_wrong_ones_are_orange(tmp_path, colours):
    right, wrong = tmp_path / "right.png", tmp_path / "wrong.png"
    confusion_picture({"a": 10 * np.eye(4)}, right)
    confusion_picture({"a": 10 * np.roll(np.eye(4), 1, axis=1)}, wrong, class_names=list("wxyz"))
    assert colours(right, BLUE) > 0.1 > colours(right, VERMILION) == 0
    assert colours(wrong, VERMILION) > 0.1 > colours(wrong, BLUE) == 0


def test_several_methods_many_classes_and_empty_rows_are_drawn(tmp_path):
    counts = DRAW.integers(1, 9, size=(45, 45))
    counts[3] = 0
    few, many = tmp_path / "few.png", tmp_path / "many.png"
    confusion_picture({"source-only": counts}, few, title="Office")
    names = [f"a class with a long name {index}" for index in range(45)]
    confusion_picture({"source-only": counts, "DANN": counts}, many, class_names=names)
    assert size(few)[0] < size(many)[0]


@pytest.mark.parametrize(
    ("matrices", "names", "message"),
    [
        ({}, (), r"matrices: expected at least one, all of the same classes; got \[\]"),
        ({"a": np.eye(2), "b": np.eye(3)}, (), r"all of the same classes; got \[2, 3\]"),
        ({"a": np.ones((2, 3))}, (), r"matrices: a must be \[classes, classes\]"),
        ({"a": -np.eye(2)}, (), "matrices: a must hold counts, not negative"),
        ({"a": np.zeros((2, 2))}, (), "matrices: a must hold counts, not negative, and at least"),
        ({"a": np.eye(2)}, ("x",), "class_names: expected 2 of them, one per class, got 1"),
    ],
)
def test_matrices_that_do_not_fit_are_refused(tmp_path, matrices, names, message):
    with pytest.raises(ValueError, match=message):
        confusion_picture(matrices, tmp_path / "a.png", class_names=names)


def curve(seeds=2, picked=(2, 3)):
    accuracy = 0.5 + 0.1 * np.arange(5) + 0.01 * np.arange(seeds)[:, None]
    return MethodCurve(100 * np.arange(5), accuracy, -accuracy, list(picked))


def test_curves_have_a_circle_for_each_pick(tmp_path, colours):
    none, picked, more = (tmp_path / f"{name}.png" for name in ("none", "picked", "more"))
    method_curves({"DANN": curve()._replace(picked=None)}, none)
    method_curves({"DANN": curve()}, picked, source_only=0.5, validator="SND")
    method_curves({str(index): curve() for index in range(5)}, more)
    assert colours(none, GREEN) == 0 < colours(picked, GREEN)
    assert colours(picked, BLUE) > 0.001 < colours(picked, VERMILION)
    assert size(more)[0] > size(picked)[0] and size(more)[1] > size(picked)[1]


def test_curves_say_what_the_pick_gave_away():
    # Accuracies at the picks: 0.7 and 0.81, at best 0.9 and 0.91.
    assert _fact(_checked("DANN", curve()), None) == ["picked 75.5%, oracle 90.5%"]
    kept = _checked("DANN", curve(picked=(-1, 3)))
    words = "source-only was kept in 1 of 2 seeds"
    assert _fact(kept, 0.59) == ["picked 70%, oracle 90.5%", words]
    assert _fact(kept, None) == ["oracle 90.5%", words]
    assert _fact(_checked("DANN", curve()._replace(picked=None)), None) == ["oracle 90.5%"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"steps": [1, 2]},
            r"DANN: target_accuracy must be \[seeds, points\] and steps \[points\]",
        ),
        ({"score": np.zeros((2, 4))}, "DANN: score must have the shape of target_accuracy"),
        ({"picked": [1]}, "DANN: picked must hold one integer for each of 2 seeds"),
        ({"picked": [0.0, 1.0]}, "DANN: picked must hold one integer"),
        ({"picked": [100, 200]}, "DANN: picked must be places among the 5 points, not steps"),
    ],
)
def test_curves_that_do_not_fit_are_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        method_curves({"DANN": curve()._replace(**change)}, tmp_path / "a.png")
    with pytest.raises(ValueError, match="curves: expected at least one method, got none"):
        method_curves({}, tmp_path / "a.png")


def test_features_are_drawn_with_and_without_target_labels(tmp_path, colours):
    known, unknown = tmp_path / "known.png", tmp_path / "unknown.png"
    pair, after = (SOURCE, TARGET), (SOURCE[:, :1], TARGET[:, :1])
    feature_scatter(pair, after, known, source_labels=LABELS, target_labels=[0] * 14, max_points=9)
    feature_scatter(pair, pair, unknown, source_labels=LABELS, class_names=["a", "b", "c"])
    assert colours(known, BLUE) > colours(unknown, BLUE) > 0


def test_neighbours_of_the_other_domain_are_counted():
    assert _mixing(np.concatenate([SOURCE, SOURCE + 100]), 12) == 0
    mixed = DRAW.normal(size=(400, 3))
    assert abs(_mixing(mixed, 200) - 0.5) < 0.03
    # Each point has its double in the other domain, and 10 more of its own.
    clusters = np.repeat(100.0 * np.arange(2), 11)[:, None]
    np.testing.assert_allclose(_mixing(np.concatenate([clusters, clusters]), 22), 0.5, atol=0.06)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"after": (SOURCE[1:], TARGET)}, "before and after must be of the same examples"),
        ({"before": (SOURCE[:, 1:], TARGET)}, r"before must be features \[n, d\] of the source"),
        ({"after": (SOURCE * np.nan, TARGET)}, "after must be finite"),
        ({"before": (SOURCE[:3], TARGET)}, "before must hold at least 4 examples of each domain"),
        ({"source_labels": LABELS[1:]}, "source_labels must hold 12 integers from 0"),
        ({"target_labels": np.zeros(14)}, "target_labels must hold 14 integers from 0"),
        ({"class_names": ["a"]}, "class_names: expected at least 3 of them, got 1"),
    ],
)
def test_features_that_do_not_fit_are_refused(tmp_path, change, message):
    arguments = {
        "before": (SOURCE, TARGET),
        "after": (SOURCE, TARGET),
        "source_labels": LABELS,
    } | change
    with pytest.raises(ValueError, match=message):
        feature_scatter(out_png=tmp_path / "a.png", **arguments)
