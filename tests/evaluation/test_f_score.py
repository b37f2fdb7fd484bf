"""Precision, recall and F1 against scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from jaxfer.evaluation import f_score


@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_scikit_learns(x64, weighted):
    draw = np.random.default_rng(0)
    labels, logits = draw.integers(0, 4, 50), draw.normal(size=(50, 4))
    weights = draw.uniform(size=50) if weighted else None
    found = f_score(logits, labels, weights=weights)
    expected = precision_recall_fscore_support(labels, logits.argmax(1), sample_weight=weights)
    for mine, theirs in zip(found[:3], expected[:3], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9)
    means = (found.macro_precision, found.macro_recall, found.macro_f1)
    np.testing.assert_allclose(means, [each.mean() for each in expected[:3]], rtol=1e-9)


def test_a_class_that_does_not_occur_counts_for_nothing():
    found = f_score(np.eye(3, dtype=np.float32)[[0, 0, 1]], np.array([0, 1, 1]))
    assert found.precision.tolist() == [0.5, 1.0, 0.0] and found.recall.tolist() == [1.0, 0.5, 0.0]
    means = (found.macro_precision, found.macro_recall, found.macro_f1)
    np.testing.assert_allclose(means, [3 / 4, 3 / 4, 2 / 3], rtol=1e-6)
