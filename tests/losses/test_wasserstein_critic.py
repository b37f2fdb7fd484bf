"""The critic's difference against NumPy; its gradient penalty by critics of known slope."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import losses
from jaxfer.losses.wasserstein_critic import _in_proportion

from ..divergences import checks
from .contracts import (
    assert_batch_coupled,
    assert_two_sample_mistakes_are_refused,
    grad,
    value_and_grad,
    whole,
)


def gradient_penalty(critic, source, target, **options):
    return whole(partial(losses.gradient_penalty, critic))(source, target, **options)


wasserstein_critic = whole(losses.wasserstein_critic)


KEY = jax.random.key(0)


def of_features(source, target, **options):
    return wasserstein_critic(jnp.sin(source).sum(1), jnp.sin(target).sum(1), **options)


def half_square(h):
    """Its slope at h is the length of h."""
    return 0.5 * jnp.sum(jnp.square(h), axis=1)


def test_it_is_the_difference_of_numpys_means(x64):
    x, y = checks.two(d=None)
    a, b = checks.weights(1, len(x)), checks.weights(2, len(y))
    np.testing.assert_allclose(wasserstein_critic(x, y), x.mean() - y.mean(), rtol=1e-12)
    found = wasserstein_critic(x, y, source_weights=a, target_weights=b)
    expected = np.average(x, weights=a) - np.average(y, weights=b)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(wasserstein_critic(y, x), y.mean() - x.mean(), rtol=1e-12)


def test_contract(x64):
    assert_batch_coupled(of_features, samples=2)


def test_a_linear_critic_has_one_slope(x64):
    source, target = checks.two()
    w = np.array([2.0, -1, 2])
    for options in ({}, {"endpoints": False}):
        found = gradient_penalty(lambda h: h @ w, source, target, key=KEY, **options)
        np.testing.assert_allclose(found, (3 - 1) ** 2, rtol=1e-12)
    found = gradient_penalty(lambda h: h @ w, source, target, key=KEY, slope=2.5)
    np.testing.assert_allclose(found, 0.25, rtol=1e-12)


@pytest.mark.slow
def test_points_lie_between_the_pairs_uniformly(x64):
    """From 0 to 2 the slope of half the square is 2 u: E (2 u - 1)^2 = 1/3; at the ends it is 1."""
    source, target = np.zeros((20_000, 1)), np.full((20_000, 1), 2.0)
    between = gradient_penalty(half_square, source, target, key=KEY, endpoints=False)
    np.testing.assert_allclose(between, 1 / 3, rtol=0.03)
    everywhere = gradient_penalty(half_square, source, target, key=KEY)
    np.testing.assert_allclose(everywhere, (1 + 1 + between) / 3, rtol=1e-10)


@pytest.mark.slow
def test_every_point_is_on_the_line_of_its_pair(x64):
    """Recovered from a critic whose slope is 1 on the line between two points alone."""
    source, target = np.array([[0.0, 1.0]]), np.array([[2.0, 1.0]])
    off = lambda h: h[:, 0] + 10 * jnp.square(h[:, 1] - 1)  # noqa: E731
    for seed in range(5):
        assert gradient_penalty(off, source, target, key=jax.random.key(seed)) == 0


@pytest.mark.slow
def test_the_key_decides(x64):
    source, target = checks.two()
    f = jax.jit(lambda key: gradient_penalty(half_square, source, target, key=key))
    assert f(KEY) == f(KEY)
    assert abs(f(KEY) - f(jax.random.key(1))) > 1e-6


def test_its_gradient_trains_the_critic(x64):
    """Grad of grad, against differences, under jit and vmap."""
    source, target = checks.two()
    params = 0.7 * np.random.default_rng(0).normal(size=(3, 3))

    def loss(params):
        critic = lambda h: jnp.sum(jnp.tanh(h @ params), axis=1)  # noqa: E731
        return losses.gradient_penalty(critic, source, target, key=KEY)

    direction = np.random.default_rng(1).normal(size=(3, 3))

    @checks.quickly
    @jax.vmap
    def derivatives(params):
        return *jax.value_and_grad(loss)(params), jax.jvp(loss, (params,), (direction,))[1]

    step = 1e-6 * direction
    values, gradients, forward = derivatives(np.stack([params, params + step, params - step]))
    difference = (values[1] - values[2]) / 2e-6
    np.testing.assert_allclose(np.vdot(gradients[0], direction), difference, rtol=1e-7)
    np.testing.assert_allclose(forward[0], difference, rtol=1e-7)


@pytest.mark.slow
def test_a_descent_brings_the_slope_to_1():
    source, target = checks.two(dtype=np.float32)
    w = jnp.array([3.0, 0.0, 4.0])
    step = jax.jit(
        lambda w, key: (
            w - 0.1 * grad(lambda w: gradient_penalty(lambda h: h @ w, source, target, key=key))(w)
        )
    )
    for index in range(60):
        w = step(w, jax.random.key(index))
    np.testing.assert_allclose(jnp.linalg.norm(w), 1, atol=1e-4)


def test_a_flat_critic_has_a_finite_gradient():
    source, target = checks.two(dtype=np.float32)

    def loss(w):
        return gradient_penalty(lambda h: h @ w, source, target, key=KEY)

    for w in (jnp.zeros(3), jnp.full(3, 1e-30), jnp.full(3, 1e15)):
        value, gradient = value_and_grad(loss)(w)
        assert np.isfinite(value) and np.isfinite(gradient).all()
    assert loss(jnp.zeros(3)) == 1


@pytest.mark.slow
def test_an_example_of_weight_0_is_absent_and_others_count_evenly(x64):
    source, target = checks.two()
    a, b = np.array([1.0, 2, 0, 1, 1, 0, 1]), np.ones(9)  # each in at least one of nine pairs
    present = a > 0

    def penalty(x, a):
        return gradient_penalty(half_square, x, target, key=KEY, source_weights=a, target_weights=b)

    value, gradient = value_and_grad(penalty)(source, a)
    np.testing.assert_allclose(value, penalty(source[present], a[present]), rtol=1e-12)
    assert not np.any(gradient[~present]) and np.all(np.any(gradient[present], axis=1))
    np.testing.assert_allclose(penalty(source, 7 * a), value, rtol=1e-12)
    counts = np.bincount(_in_proportion(a / a.sum(), 1000), minlength=7)
    np.testing.assert_allclose(counts / 1000, a / a.sum(), atol=0.001 + 1e-9)
    np.testing.assert_array_equal(_in_proportion(np.full(9, 1 / 9, np.float32), 9), np.arange(9))
    many = np.full(1000, 1e-3, np.float32)
    np.testing.assert_array_equal(_in_proportion(many, 1000), np.arange(1000))


def test_an_empty_side_is_0():
    source, target = checks.two(dtype=np.float32)
    f = jax.jit(
        value_and_grad(
            lambda x, a: gradient_penalty(half_square, x, target, key=KEY, source_weights=a)
        )
    )
    value, gradient = f(source, np.zeros(7, np.float32))
    assert value == 0 and not np.any(gradient)


def test_a_batch_cannot_leak_between_examples(x64):
    """A critic that centres its batch sees each example alone, and is flat there."""
    source, target = checks.two()
    centred = lambda h: jnp.sum(h - h.mean(0), axis=1)  # noqa: E731
    assert gradient_penalty(centred, source, target, key=KEY) == 1


def test_mistakes_are_refused():
    names = ("source_scores", "target_scores")
    assert_two_sample_mistakes_are_refused(losses.wasserstein_critic, names, rank=1)
    checks.assert_mistakes_are_refused(
        lambda x, y, **options: losses.gradient_penalty(half_square, x, y, key=KEY, **options)
    )
    source, target = checks.two(dtype=np.float32)
    with pytest.raises(
        ValueError,
        match=r"critic must map \[batch, features\] to \[batch\]; of \(1, 3\) it made \(1, 3\)",
    ):
        losses.gradient_penalty(lambda h: h, source, target, key=KEY)
    with pytest.raises(ValueError, match="slope must be a finite number of at least 0"):
        losses.gradient_penalty(half_square, source, target, key=KEY, slope=-1)
    with pytest.raises(TypeError, match="endpoints must be True or False; it is None"):
        losses.gradient_penalty(half_square, source, target, key=KEY, endpoints=None)
