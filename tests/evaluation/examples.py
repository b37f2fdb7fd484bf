"""Logits with labels, and what every score of them must hold."""

import jax
import numpy as np
import pytest

N, CLASSES = 12, 4


def labelled(seed=0, n=N, classes=CLASSES, scale=2.0):
    """Logits that are right more often than not, and their labels."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(classes, size=n)
    return scale * draw.normal(size=(n, classes)) + 2 * np.eye(classes)[labels], labels


def weights(seed=1, n=N):
    """Some of them 0."""
    drawn = np.random.default_rng(seed).uniform(0.5, 3, size=n)
    drawn[::5] = 0
    return drawn


def softmax(logits):
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def assert_weights_are_weights(score, *arrays):
    """``score(*arrays, weights=...)``: scale is of no account, absent is absent, and jit is as eager."""
    w = weights()
    found = jax.jit(lambda w, *arrays: score(*arrays, weights=w))(w, *arrays)
    for same in (w, 7 * w):
        np.testing.assert_allclose(score(*arrays, weights=same), found, rtol=1e-10)
    assert abs(found - score(*arrays)) > 1e-4
    # None of the first example, one of the second, two of the third, and so on: N in all.
    twice = np.repeat(np.arange(N), np.arange(N) % 3)
    np.testing.assert_allclose(
        score(*arrays, weights=np.arange(N) % 3),
        score(*(array[twice] for array in arrays)),
        rtol=1e-10,
    )


def assert_mistakes_are_refused(score, logits, *others):
    """What a score of logits with weights refuses."""
    with pytest.raises(TypeError, match="logits must be of floating point; it is int32"):
        score(logits.astype(np.int32), *others)
    with pytest.raises(ValueError, match=r"logits must be an array \[n, features\]"):
        score(logits[0], *others)
    with pytest.raises(ValueError, match="logits must be finite"):
        score(np.full_like(logits, np.nan), *others)
    with pytest.raises(ValueError, match="weights must hold one weight for each point of logits"):
        score(logits, *others, weights=np.ones(N + 1))
    with pytest.raises(ValueError, match="weights must be finite and not negative"):
        score(logits, *others, weights=-np.ones(N))


def assert_wrong_labels_are_refused(score, logits, labels, *others):
    with pytest.raises(TypeError, match="labels must be integers; they are float"):
        score(logits, labels.astype(np.float32), *others)
    with pytest.raises(
        ValueError, match=r"labels must hold one class for each row of logits: \(12,\)"
    ):
        score(logits, labels[1:], *others)
    with pytest.raises(
        ValueError, match="labels must be from 0 to 3, as logits have 4 classes; they go"
    ):
        score(logits, labels + 1, *others)
