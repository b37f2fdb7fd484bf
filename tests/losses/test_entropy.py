"""Entropy against SciPy; information maximisation by its identities and limits."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from jaxfer import losses

from ..divergences import checks, predictions
from .contracts import (
    assert_batch_coupled,
    assert_finite_in_float32,
    assert_one_sample_mistakes_are_refused,
    assert_per_example,
    grad,
    value_and_grad,
    whole,
)

entropy = whole(losses.entropy)
information_maximization = whole(losses.information_maximization)


def test_it_is_scipys(x64):
    z = predictions.logits(batch=20, classes=6)[0]
    expected = stats.entropy(special.softmax(z, -1), axis=-1)
    np.testing.assert_allclose(entropy(z), expected, rtol=1e-10)
    np.testing.assert_allclose(entropy(np.zeros((2, 6))), np.log(6))


def test_a_sure_prediction_keeps_what_there_is():
    """In float32 the other class, with p = exp(-30), is all there is of it."""
    found = entropy(jnp.array([30.0, 0.0]))
    np.testing.assert_allclose(found, 30 * np.exp(-30.0), rtol=1e-5)


def test_contract(x64):
    assert_per_example(entropy)


def test_extreme_logits():
    assert_finite_in_float32(entropy)
    assert entropy(jnp.array([1e4, -1e4])) == 0


def test_mistakes_are_refused():
    z = predictions.logits()[0]
    with pytest.raises(TypeError, match="logits must be of floating point; it is int"):
        losses.entropy(z.astype(int))
    with pytest.raises(ValueError, match="where must broadcast to the shape of the logits"):
        losses.entropy(z, where=np.ones(3, bool))
    with pytest.raises(ValueError, match="logits must be finite"):
        losses.entropy(np.full((2, 2), np.inf))


def reference(z, beta=1.0, w=None):
    p = special.softmax(z, -1)
    mean = np.average(p, axis=0, weights=w)
    return np.average(stats.entropy(p, axis=1), weights=w) - beta * stats.entropy(mean)


def test_information_maximization_is_scipys(x64):
    z = predictions.logits(batch=20)[0]
    w = checks.weights(1, 20)
    np.testing.assert_allclose(information_maximization(z), reference(z), rtol=1e-10)
    found = information_maximization(z, diversity=0.3, weights=w)
    np.testing.assert_allclose(found, reference(z, 0.3, w), rtol=1e-10)


def test_it_is_the_formula_of_shot_in_pytorch(x64):
    torch = pytest.importorskip("torch")
    z = predictions.logits(batch=20)[0]
    p = torch.tensor(z).softmax(1)
    mean = p.mean(0)
    expected = -(p * torch.log(p + 1e-5)).sum(1).mean() + (mean * torch.log(mean + 1e-5)).sum()
    np.testing.assert_allclose(information_maximization(z), float(expected), rtol=1e-2)


def test_it_is_minus_the_mutual_information(x64):
    """That is the mean divergence of predictions from their mean: never negative."""
    z = predictions.logits(batch=20)[0]
    p = special.softmax(z, -1)
    divergence = stats.entropy(p, np.broadcast_to(p.mean(0), p.shape), axis=1).mean()
    np.testing.assert_allclose(information_maximization(z), -divergence, rtol=1e-10)
    # One prediction for all says nothing, however sure; without diversity it is the entropy.
    same = np.repeat(z[:1], 5, axis=0)
    np.testing.assert_allclose(information_maximization(same), 0, atol=1e-12)
    np.testing.assert_allclose(information_maximization(z, diversity=0.0), entropy(z).mean())
    balanced = information_maximization(1e4 * np.eye(4))
    np.testing.assert_allclose(balanced, -np.log(4))


def test_a_class_without_examples_has_a_finite_gradient():
    z = np.float32([[0, 0, -1e4], [1e4, -1e4, -1e4]])
    value, gradient = value_and_grad(information_maximization)(z)
    assert np.isfinite(value) and np.isfinite(gradient).all()
    curvature = jax.jvp(grad(information_maximization), (z,), (np.ones_like(z) * z,))[1]
    assert np.isfinite(curvature).all()


def test_information_maximization_contract(x64):
    assert_batch_coupled(partial(information_maximization, diversity=0.7))


def test_information_maximization_mistakes_are_refused():
    assert_one_sample_mistakes_are_refused(losses.information_maximization, "logits")
    with pytest.raises(ValueError, match="diversity must be a finite number of at least 0"):
        losses.information_maximization(np.ones((2, 2)), diversity=-1)
