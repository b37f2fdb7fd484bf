"""What a pair of reviews comes to: the pick, the bounds, and what the pictures are given."""

import numpy as np
import pytest

from jaxfer.experiments import amazon_report
from jaxfer.experiments.amazon_report import Curves, Shown, draw, mean_row, row_of
from jaxfer.report import adaptation_summary, adaptation_table
from jaxfer.typing import Classification

RESULT = {
    "test_accuracy": [[0.6, 0.7, 0.9], [0.5, 0.8, 0.4], [0.55, 0.1, 0.2]],
    "last_accuracy": [[0.61, 0.71, 0.91], [0.51, 0.81, 0.41], [0.56, 0.11, 0.21]],
    "best_accuracy": [[0.62, 0.75, 0.92], [0.99, 0.83, 0.45], [0.57, 0.15, 0.25]],
    "target_trained": [0.8, 0.9, 0.85],
    "reverse_score": [[0.99, 0.8, 0.7], [0.1, 0.2, 0.6], [0.3, 0.9, 0.9]],
    "rejected": [[False] * 3, [False, False, True], [False, True, True]],
    "proxy_a": [[1.0, 0.4, 0.2]] * 3,
    "step": [[10, 20, 30], [20, 30, 10], [30, 10, 20]],
}
PICKED = [1, 1, 0]  # places among the strengths


def test_the_pick_is_made_without_test_labels_and_collapsed_networks_are_left_out():
    row = row_of("a-b", RESULT)
    np.testing.assert_allclose(row.picked, [0.7, 0.8, 0.55])
    np.testing.assert_allclose(row.last, [0.71, 0.81, 0.56])
    assert row.kept_source_only.tolist() == [False, False, True]
    np.testing.assert_allclose(row.proxy_a_after, [0.4, 0.4, 1.0])
    np.testing.assert_allclose(row.domain_accuracy, [0.6, 0.6, 0.75])


def test_both_bounds_stand_beside_the_pick():
    row = row_of("a-b", RESULT)
    np.testing.assert_allclose(row.oracle, [0.92, 0.83, 0.25])  # of any strength above 0, any step
    np.testing.assert_allclose(row.target_trained, [0.8, 0.9, 0.85])
    summary = adaptation_summary(row)
    # 0.1, 0.3 and 0 of gaps of 0.2, 0.4 and 0.3.
    assert summary["gap_closed"]["mean"] == pytest.approx(0.4 / 0.9)
    assert "Trained on the target with its labels: 85.00" in adaptation_table([row])
    mean = mean_row([row, row._replace(picked=np.ones(3), target_trained=np.ones(3))])
    np.testing.assert_allclose(mean.picked, [0.85, 0.9, 0.775])
    np.testing.assert_allclose(mean.target_trained, [0.9, 0.95, 0.925])


def test_negative_transfer_is_said_in_words():
    worse = {**RESULT, "reverse_score": [[0, 1, 0]] * 3, "rejected": [[False] * 3] * 3}
    worse["test_accuracy"] = [[0.7, 0.5, 0.9], [0.71, 0.52, 0.9], [0.72, 0.51, 0.9]]
    row = row_of("a-b", worse)
    assert adaptation_summary(row)["negative_transfer"]
    assert "Negative transfer: a-b is 20.0 ±" in adaptation_table([row])


def test_pictures_show_the_picked_networks_of_every_seed(tmp_path, monkeypatch):
    caught = {}
    for name in ("method_curves", "feature_scatter", "confusion_picture"):
        monkeypatch.setattr(
            amazon_report, name, lambda *args, name=name, **options: caught.update(
                {name: (args, options)}
            ),
        )  # fmt: skip
    draws = np.random.default_rng(0)
    accuracy, risk = draws.random((2, 4, 3, 3))
    curves = Curves(np.array([10, 20, 30, 40]), risk, accuracy)
    source, test = (
        Classification(draws.normal(size=(n, 2, 5)), draws.normal(size=(n, 2, 2))) for n in (6, 7)
    )
    labels = np.arange(6) % 2, np.arange(7) % 2
    draw(RESULT, curves, Shown(source, test, *labels), tmp_path, classes=("no", "yes"), title="t")

    (drawn, _), options = caught["method_curves"]
    assert options["source_only"] == pytest.approx(0.55)
    source_only, adapted = drawn.values()
    for seed, place in enumerate(PICKED):
        np.testing.assert_allclose(source_only.target_accuracy[seed], accuracy[:, seed, 0])
        np.testing.assert_allclose(adapted.target_accuracy[seed], accuracy[:, seed, place])
        np.testing.assert_allclose(adapted.score[seed], -risk[:, seed, place])
    assert source_only.picked.tolist() == [0, 1, 2]
    assert adapted.picked.tolist() == [1, 2, -1]  # source-only was kept in the last

    (before, after, _), options = caught["feature_scatter"]
    for place, pair in enumerate((before, after)):
        np.testing.assert_array_equal(pair[0], source.features[:, place])
        np.testing.assert_array_equal(pair[1], test.features[:, place])
    np.testing.assert_array_equal(options["target_labels"], labels[1])

    (matrices, _), _ = caught["confusion_picture"]
    for place, matrix in enumerate(matrices.values()):
        said = test.logits[:, place].argmax(-1)
        assert np.trace(matrix) == (said == labels[1]).sum()
        assert np.asarray(matrix).sum() == 7


def test_too_few_examples_have_no_picture_of_features(tmp_path):
    draws = np.random.default_rng(0)
    source, test = (
        Classification(draws.normal(size=(n, 2, 5)), draws.normal(size=(n, 2, 2))) for n in (3, 9)
    )
    curves = Curves(np.array([10, 20, 30]), *draws.random((2, 3, 3, 3)))
    shown = Shown(source, test, np.array([0, 1, 0]), np.arange(9) % 2)
    draw(RESULT, curves, shown, tmp_path, classes=("no", "yes"), title="t")
    assert {path.name for path in tmp_path.iterdir()} == {"learning_curves.png", "confusion.png"}
