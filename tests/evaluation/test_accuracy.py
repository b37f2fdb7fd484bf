"""Accuracy against scikit-learn."""

import jax
import numpy as np
from sklearn.metrics import accuracy_score

from jaxfer.evaluation import accuracy, source_accuracy

from . import examples

LOGITS, LABELS = examples.labelled()


def test_it_is_scikit_learns(x64):
    expected = accuracy_score(LABELS, LOGITS.argmax(-1))
    assert 0.3 < expected < 1
    np.testing.assert_allclose(accuracy(LOGITS, LABELS), expected, rtol=1e-12)
    w = examples.weights()
    expected = accuracy_score(LABELS, LOGITS.argmax(-1), sample_weight=w)
    np.testing.assert_allclose(accuracy(LOGITS, LABELS, weights=w), expected, rtol=1e-12)
    np.testing.assert_allclose(source_accuracy(LOGITS, LABELS, weights=w), expected, rtol=1e-12)


def test_weights_and_mistakes(x64):
    examples.assert_weights_are_weights(accuracy, LOGITS, LABELS)
    examples.assert_mistakes_are_refused(accuracy, LOGITS, LABELS)
    examples.assert_wrong_labels_are_refused(accuracy, LOGITS, LABELS)


def test_a_run_that_went_wrong_shows_and_no_example_is_0():
    # Labels of 0, which is where the largest of NaN would be found.
    broken = LOGITS.copy()
    broken[3, 1] = np.nan
    runs = jax.jit(jax.vmap(accuracy, (0, None)))(np.stack([LOGITS, broken]), 0 * LABELS)
    np.testing.assert_array_equal(np.isnan(runs), [False, True])
    assert jax.jit(lambda w: accuracy(LOGITS, LABELS, weights=w))(np.zeros(examples.N)) == 0
