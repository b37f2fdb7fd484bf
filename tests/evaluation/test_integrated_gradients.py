"""Attributions add up, and follow closed forms."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer.evaluation import integrated_gradients


def test_attributions_of_polynomials_are_in_closed_form(x64):
    x = np.random.default_rng(0).normal(size=(4, 3))
    weights = np.array([1.0, -2.0, 0.0])
    found, info = integrated_gradients(lambda x: x @ weights, x, baseline=0.5, steps=1)
    np.testing.assert_allclose(found, (x - 0.5) * weights, rtol=1e-10, atol=1e-12)
    # Of x0 x1^2 from 0: a third of the value for the first, two thirds for the second.
    found, info = integrated_gradients(lambda x: x[:, 0] * x[:, 1] ** 2, x, steps=200)
    value = x[:, 0] * x[:, 1] ** 2
    np.testing.assert_allclose(found[:, :2], value[:, None] * [1 / 3, 2 / 3], rtol=1e-4, atol=1e-8)
    np.testing.assert_allclose(info.change, value, rtol=1e-10)
    np.testing.assert_allclose(info.missing, value - found.sum(1), atol=1e-10)
    assert not found[:, 2].any()


def test_more_steps_lack_less():
    def score(x):
        return jnp.tanh(2 * x).prod(axis=(1, 2))

    x = np.random.default_rng(1).uniform(0.5, 2, size=(3, 2, 2)).astype(np.float32)
    lacks = [np.abs(integrated_gradients(score, x, steps=n)[1].missing).max() for n in (2, 64)]
    assert lacks[1] < 0.05 * lacks[0]


def test_mistakes_are_refused():
    with pytest.raises(TypeError, match="x must be of floating point"):
        integrated_gradients(lambda x: x[:, 0], np.ones((2, 2), int))
    with pytest.raises(ValueError, match="steps must be an integer of at least 1"):
        integrated_gradients(lambda x: x[:, 0], np.ones((2, 2)), steps=0)
