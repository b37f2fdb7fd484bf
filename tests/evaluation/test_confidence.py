"""Entropy and mutual information against SciPy; MMD as a score."""

import jax
import numpy as np
from scipy.stats import entropy

from jaxfer.divergences import mmd
from jaxfer.evaluation import entropy_score, information_maximization_score, mmd_score

from . import examples

LOGITS, _ = examples.labelled()


def test_they_are_scipys(x64):
    p, w = examples.softmax(LOGITS), examples.weights()
    own, of_mean = entropy(p, axis=1), entropy(p.mean(0))
    np.testing.assert_allclose(entropy_score(LOGITS), -own.mean(), rtol=1e-10)
    found = information_maximization_score(LOGITS)
    np.testing.assert_allclose(found, of_mean - own.mean(), rtol=1e-10)
    assert found > 0.1
    own, of_mean = np.average(own, weights=w), entropy(np.average(p, axis=0, weights=w))
    np.testing.assert_allclose(entropy_score(LOGITS, weights=w), -own, rtol=1e-10)
    found = information_maximization_score(LOGITS, weights=w)
    np.testing.assert_allclose(found, of_mean - own, rtol=1e-10)


def test_weights_and_mistakes(x64):
    for score in (entropy_score, information_maximization_score):
        examples.assert_weights_are_weights(score, LOGITS)
        examples.assert_mistakes_are_refused(score, LOGITS)


def test_a_collapsed_predictor_fools_the_first_alone():
    collapsed = np.tile(np.float32([30, 0, 0, 0]), (examples.N, 1))
    logits = LOGITS.astype(np.float32)
    assert entropy_score(collapsed) > entropy_score(logits)
    assert information_maximization_score(collapsed) < information_maximization_score(logits)


def test_a_run_that_went_wrong_shows():
    runs = np.stack([LOGITS, np.full_like(LOGITS, np.nan)]).astype(np.float32)
    for score in (entropy_score, information_maximization_score):
        np.testing.assert_array_equal(np.isnan(jax.jit(jax.vmap(score))(runs)), [False, True])


def test_mmd_is_turned_round_and_takes_its_options():
    draw = np.random.default_rng(0)
    x, y = (draw.normal(size=(n, 3)).astype(np.float32) for n in (8, 9))
    w = examples.weights(n=8).astype(np.float32)
    options = {"bandwidth": 2.0, "estimator": "unbiased"}
    found = mmd_score(x, y, source_weights=w, **options)
    np.testing.assert_allclose(found, -mmd(x, y, source_weights=w, **options), rtol=1e-6)
    assert mmd_score(x, y + 3) < mmd_score(x, y) < 0
