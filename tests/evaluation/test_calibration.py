"""Calibration against bins counted by NumPy, and the confusion matrix against scikit-learn."""

import jax
import numpy as np
import pytest
from sklearn.metrics import confusion_matrix as scikit_learns

from jaxfer.evaluation import confusion_matrix, expected_calibration_error

from . import examples

LOGITS, LABELS = examples.labelled(scale=1.0)


@pytest.mark.parametrize("weighted", [False, True])
def test_calibration_is_that_of_bins_counted_one_by_one(weighted, x64):
    w = examples.weights() if weighted else np.ones(examples.N)
    confidence, right = examples.softmax(LOGITS).max(1), LOGITS.argmax(1) == LABELS
    expected = 0
    for low in np.arange(5) / 5:
        inside = (confidence > low) & (confidence <= low + 0.2) & (w > 0)
        if inside.any():
            gap = np.average(right[inside], weights=w[inside]) - np.average(
                confidence[inside], weights=w[inside]
            )
            expected += w[inside].sum() / w.sum() * abs(gap)
    assert 0.05 < expected < 0.95
    error, info = expected_calibration_error(LOGITS, LABELS, bins=5, weights=w)
    np.testing.assert_allclose(error, expected, rtol=1e-10)
    np.testing.assert_allclose(np.sum(info.share), 1)
    np.testing.assert_allclose(
        np.nansum(info.share * info.confidence), np.average(confidence, weights=w)
    )
    assert np.isnan(info.accuracy[np.asarray(info.share) == 0]).all()


def test_the_sure_and_the_undecided_are_in_the_last_and_the_first_bin():
    error, info = expected_calibration_error(np.float32([[200.0, 0], [0, 200.0]]), np.array([0, 0]))
    assert error == 0.5 and info.share[-1] == 1
    _, info = expected_calibration_error(
        np.zeros((4, 2), np.float32), np.array([0, 1, 0, 1]), bins=2
    )
    assert info.share[0] == 1  # bins are closed to the right
    error, _ = expected_calibration_error(np.zeros((4, 2), np.float32), np.array([0, 1, 0, 1]))
    assert error == 0


def test_the_confusion_matrix_is_scikit_learns(x64):
    predicted, w = LOGITS.argmax(1), examples.weights()
    expected = scikit_learns(LABELS, predicted, labels=range(4))
    assert np.trace(expected) < examples.N
    np.testing.assert_array_equal(confusion_matrix(LOGITS, LABELS), expected)
    expected = scikit_learns(LABELS, predicted, labels=range(4), sample_weight=w)
    np.testing.assert_allclose(confusion_matrix(LOGITS, LABELS, weights=w), expected)


def test_a_run_that_went_wrong_shows():
    runs = np.stack([LOGITS, LOGITS]).astype(np.float32)
    runs[1, 2] = np.nan
    matrix = jax.jit(jax.vmap(confusion_matrix, (0, None)))(runs, LABELS)
    np.testing.assert_array_equal(np.isnan(matrix[1]).all(1), np.arange(4) == LABELS[2])
    assert np.isfinite(matrix[0]).all()
    error, _ = jax.jit(jax.vmap(expected_calibration_error, (0, None)))(runs, LABELS)
    np.testing.assert_array_equal(np.isnan(error), [False, True])


def test_mistakes():
    for score in (confusion_matrix, expected_calibration_error):
        examples.assert_mistakes_are_refused(score, LOGITS, LABELS)
        examples.assert_wrong_labels_are_refused(score, LOGITS, LABELS)
    with pytest.raises(ValueError, match="bins must be an integer of at least 1"):
        expected_calibration_error(LOGITS, LABELS, bins=0)
