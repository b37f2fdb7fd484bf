"""Batch normalisation against NumPy in double precision, and what it records."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxfer.models import BatchNorm, from_nnx

SCALE, BIAS, EPSILON = np.array([2.0, -0.5, 1.5]), np.array([0.1, 0.2, -3.0]), 1e-3
SHAPES = [(7, 3), (4, 5, 6, 3)]


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def make_norm(momentum):
    norm = BatchNorm(3, momentum=momentum, epsilon=EPSILON, rngs=nnx.Rngs(0))
    norm.scale[...], norm.bias[...] = jnp.asarray(SCALE), jnp.asarray(BIAS)
    return norm


def draw(shape, seed=0):
    return np.random.default_rng(seed).normal(3.0, [1.0, 5.0, 0.1], size=shape)


def normalise(x, mean, variance):
    return SCALE * (x - mean) / np.sqrt(variance + EPSILON) + BIAS


@pytest.mark.parametrize("shape", SHAPES)
def test_training_normalises_by_the_batch_and_records_it(shape, x64):
    norm, mean, variance = make_norm(momentum=0.9), np.zeros(3), np.ones(3)
    for seed in range(3):
        x = draw(shape, seed)
        batch_mean, batch_variance = (f(x.reshape(-1, 3), 0) for f in (np.mean, np.var))
        np.testing.assert_allclose(norm(x), normalise(x, batch_mean, batch_variance), rtol=1e-9)
        mean = 0.9 * mean + 0.1 * batch_mean
        variance = 0.9 * variance + 0.1 * batch_variance
        np.testing.assert_allclose(norm.mean[...], mean, rtol=1e-10)
        np.testing.assert_allclose(norm.variance[...], variance, rtol=1e-10)


def test_evaluation_normalises_by_the_record_and_leaves_it(x64):
    norm = make_norm(momentum=0.0)
    first, second = draw((7, 3), 0), draw((5, 3), 1)
    norm(first)
    norm.eval()
    np.testing.assert_allclose(
        norm(second), normalise(second, first.mean(0), first.var(0)), rtol=1e-9
    )
    np.testing.assert_allclose(norm.mean[...], first.mean(0), rtol=1e-12)
    norm.train()
    np.testing.assert_allclose(
        norm(second), normalise(second, second.mean(0), second.var(0)), rtol=1e-9
    )


def test_views_share_the_record_and_differ_in_mode(x64):
    norm, x = make_norm(momentum=0.0), draw((7, 3))
    evaluation = nnx.view(norm, use_running_average=True)
    assert not norm.use_running_average
    norm(x)
    np.testing.assert_allclose(evaluation(x), normalise(x, x.mean(0), x.var(0)), rtol=1e-9)


def test_the_gradient_of_a_loss_by_recorded_statistics_is_exact(x64):
    """Of a query batch by the statistics of the support batch, in the support batch."""
    network = from_nnx(lambda rngs: BatchNorm(3, momentum=0.3, epsilon=EPSILON, rngs=rngs))
    params, state = network.init(jax.random.key(0))
    params = {"scale": jnp.asarray(SCALE), "bias": jnp.asarray(BIAS)}
    support, query = draw((4, 3), 0), draw((5, 3), 1)

    def loss(support):
        _, recorded = network.apply(params, state, support, train=True)
        return jnp.sum(jnp.sin(network.apply(params, recorded, query, train=False)[0]))

    def reference(support):
        mean = 0.3 * 0.0 + 0.7 * support.mean(0)
        variance = 0.3 * 1.0 + 0.7 * support.var(0)
        return np.sin(normalise(query, mean, variance)).sum()

    gradient = jax.grad(loss)(jnp.asarray(support))
    np.testing.assert_allclose(loss(support), reference(support), rtol=1e-10)
    for index in np.ndindex(support.shape):
        up, down = support.copy(), support.copy()
        up[index] += 1e-6
        down[index] -= 1e-6
        slope = (reference(up) - reference(down)) / 2e-6
        np.testing.assert_allclose(gradient[index], slope, rtol=1e-5, atol=1e-7)


def test_a_constant_batch_has_a_finite_gradient():
    norm = BatchNorm(3, rngs=nnx.Rngs(0))
    x = jnp.ones((4, 3))
    np.testing.assert_array_equal(norm(x), np.zeros((4, 3)))
    gradient = jax.grad(lambda x: jnp.sum(BatchNorm(3)(x) ** 3))(x)
    assert np.all(np.isfinite(gradient))


def test_the_variance_does_not_cancel_far_from_zero():
    x = 1e4 + np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
    norm = BatchNorm(2, momentum=0.0, rngs=nnx.Rngs(0))
    norm(jnp.asarray(x))
    np.testing.assert_allclose(norm.variance[...], x.astype(np.float64).var(0), rtol=1e-2)
