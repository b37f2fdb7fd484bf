"""The energy distance against SciPy's, all pairs by hand, and where points coincide."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from scipy.spatial.distance import cdist

from jaxfer import energy_distance

from .checks import assert_mistakes_are_refused
from .mmd_references import differences, estimate, minus_l2, quickly, run, two, weights


def reference(x, y, estimator="biased", p=None, q=None, xp=np):
    return estimate(lambda x, y: minus_l2(x, y, 1.0, xp), x, y, estimator, p, q, xp)


def test_one_feature_is_the_square_of_scipy_s(x64):
    source, target = two(d=1)
    a, b = weights(1, 7), weights(2, 9)
    for p, q in ((None, None), (a, b)):
        expected = scipy.stats.energy_distance(source[:, 0], target[:, 0], p, q) ** 2
        found = energy_distance(source, target, source_weights=p, target_weights=q)
        np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("estimator", ["biased", "unbiased", "unbiased_shifted", "linear", "block"])
def test_value_of_every_estimator(estimator, x64):
    source, target = two(1, 10, 13)
    expected = reference(source, target, estimator)
    np.testing.assert_allclose(
        run(energy_distance, source, target, estimator=estimator), expected, rtol=1e-10
    )
    if estimator in ("biased", "unbiased"):
        a, b = weights(1, 10), weights(2, 13)
        found = energy_distance(
            source, target, estimator=estimator, source_weights=3 * a, target_weights=b,
            block_size=4,
        )  # fmt: skip
        np.testing.assert_allclose(found, reference(source, target, estimator, a, b), rtol=1e-10)


@pytest.mark.parametrize("block_size", [4, pytest.param(None, marks=pytest.mark.thorough)])
def test_derivatives(block_size, x64):
    source, target = two(2)
    arguments = (source, target, weights(1, 7), weights(2, 9))

    def loss(x, y, a, b):
        return energy_distance(x, y, source_weights=a, target_weights=b, block_size=block_size)

    value, gradients = quickly(jax.value_and_grad(loss, argnums=(0, 1, 2, 3)))(*arguments)
    for i, found in enumerate(gradients):
        by_hand = differences(
            lambda new, i=i: reference(
                *(*arguments[:i], new, *arguments[i + 1 :])[:2],
                p=new if i == 2 else arguments[2],
                q=new if i == 3 else arguments[3],
            ),
            arguments[i],
        )
        np.testing.assert_allclose(found, by_hand, rtol=1e-6, atol=1e-8)
    direction = two(9)[0]

    def products(x):
        backward = jax.grad(lambda x: jnp.vdot(jax.grad(loss)(x, *arguments[1:]), direction))(x)
        forward = jax.jvp(lambda x: jax.grad(loss)(x, *arguments[1:]), (x,), (direction,))[1]
        return backward, forward

    hessian = quickly(
        jax.hessian(lambda x: reference(x, target, p=arguments[2], q=arguments[3], xp=jnp))
    )(source)
    expected = jnp.einsum("ijkl,kl->ij", hessian, direction)
    for found in quickly(products)(source):
        np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)


def test_identities(x64):
    source, target = two(3)
    a, b = weights(1, 7), weights(2, 9)

    @quickly
    def f(x, y, a, b):
        return energy_distance(x, y, source_weights=a, target_weights=b)

    given = f(source, target, a, b)
    order = np.random.default_rng(3).permutation(7)
    np.testing.assert_allclose(f(source[order], target, a[order], b), given, rtol=1e-11)
    np.testing.assert_allclose(f(target, source, b, a), given, rtol=1e-11)
    np.testing.assert_allclose(f(5 * source, 5 * target, a, b), 5 * given, rtol=1e-10)
    np.testing.assert_allclose(f(source + 100, target + 100, a, b), given, rtol=1e-8)
    np.testing.assert_allclose(f(source, source, a, a), 0, atol=1e-12)
    a[1] = 0
    present = a > 0
    expected = reference(source[present], target, p=a[present], q=b)
    source[1] = 1e3
    np.testing.assert_allclose(f(source, target, a, b), expected, rtol=1e-9)


@pytest.mark.parametrize("offset", [1e3, 1e4])
def test_far_from_the_origin_in_single_precision(offset):
    source, target = ((z + offset).astype(np.float32) for z in two(4, 256, 256, 64))
    z = np.concatenate([source, target]).astype(float)
    r = np.concatenate([np.full(256, 1 / 256), np.full(256, -1 / 256)])
    pairs = cdist(z, z)
    expected = -r @ pairs @ r
    slope = np.divide(r[None], pairs, out=np.zeros_like(pairs), where=pairs > 0)
    gradient = -2 * r[:, None] * (slope.sum(1, keepdims=True) * (z - offset) - slope @ (z - offset))
    value, found = quickly(jax.value_and_grad(energy_distance, argnums=(0, 1)))(source, target)
    # A kernel here is as large as a distance.
    limit = 1e-5 * max(expected, 2 * pairs.mean() / 256)
    assert abs(value - expected) < limit
    found = np.concatenate(found)
    assert np.abs(found - gradient).max() < min(limit, 1e-3 * np.abs(gradient).max())


@quickly
def everything(x, y):
    def loss(x, y):
        return energy_distance(x, y)

    value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(x, y)
    tangent = jax.jvp(loss, (x, y), (jnp.ones_like(x), -jnp.ones_like(y)))[1]
    curvature = jax.grad(lambda x: jnp.sum(jnp.sin(jax.grad(loss)(x, y))))(x)
    return value, *gradients, tangent, curvature


def test_derivatives_are_finite_where_points_coincide():
    source, target = two(5, 6, 6, dtype=np.float32)
    ones = np.ones_like(source)
    repeated = source[[0, 0, 0, 1, 1, 2]]
    for x, y in [
        (ones, ones),
        (1.1e4 * ones, 1.1e4 * ones),
        (ones, target),
        (repeated, repeated[::-1]),
        (repeated, target),
        (source, source),
        (source + 1e3, source[::-1] + 1e3),
    ]:
        for number in everything(x, y):
            assert np.isfinite(number).all()
    for at in (1.0, 0.1, -7.3, 1.1e4):
        value, *gradients, tangent, _ = everything(at * ones, at * ones)
        assert value == 0 and tangent == 0
        assert not np.asarray(gradients).any()


@pytest.mark.parametrize("offset", [0, 30, 1e3, 1e4])
def test_a_sample_is_at_distance_zero_of_itself(offset):
    """And downhill nowhere, in single precision, in whatever order the points stand."""
    source = (two(6, 64, 64, 16)[0] + offset).astype(np.float32)
    for other in (source, source[::-1].copy()):
        value, *gradients = everything(source, other)[:3]
        # A typical distance is 6, and a typical gradient 4e-3.
        assert abs(value) < 2e-6
        assert np.abs(gradients).max() < 4e-6


def test_one_moved_point_of_a_sample():
    """The distance is as small as it should be, and downhill is back."""
    source = two(7, 64, 64, 4, np.float32)[0]
    moved = source.copy()
    moved[3, 0] += 0.5
    value, gradient = quickly(jax.value_and_grad(energy_distance))(moved, source)
    expected = reference(moved.astype(float), source.astype(float))
    # Its own size is 2.4e-4, that of the distances it is made of 2.7.
    np.testing.assert_allclose(value, expected, rtol=0.05)
    by_hand = differences(lambda x: reference(x, source.astype(float)), moved.astype(float))
    np.testing.assert_allclose(gradient[3], by_hand[3], atol=1e-2 * by_hand[3, 0])


def test_traced_weights_of_zero_give_zero():
    source, target = two(8, dtype=np.float32)
    both = quickly(
        jax.value_and_grad(
            lambda x, a: energy_distance(x, target, source_weights=a), argnums=(0, 1)
        )
    )
    value, gradients = both(source, np.zeros(7, np.float32))
    assert value == 0
    assert not any(np.asarray(gradient).any() for gradient in gradients)


def test_unbiased_is_zero_on_average_and_biased_never_negative():
    draw = jax.random.normal(jax.random.key(0), (300, 2, 6, 2))
    unbiased, biased = (
        quickly(jax.vmap(lambda z, name=name: energy_distance(z[0], z[1], estimator=name)))(draw)
        for name in ("unbiased", "biased")
    )
    assert abs(unbiased.mean()) < 3 * unbiased.std() / np.sqrt(300)
    assert biased.min() > 0


def test_nan_stays_nan_when_traced():
    source, target = two(10, 6, 6, dtype=np.float32)
    target[2, 1] = np.nan
    assert np.isnan(everything(source, target)[0])


def test_mistakes():
    assert_mistakes_are_refused(energy_distance)
    source, target = two(11, dtype=np.float32)
    with pytest.raises(ValueError, match="estimator must be one of.*it is 'x'"):
        energy_distance(source, target, estimator="x")
    with pytest.raises(ValueError, match="source must hold at least 2 points"):
        energy_distance(source[:1], target, estimator="unbiased")
    with pytest.raises(ValueError, match="block_size must be a positive integer"):
        energy_distance(source, target, block_size=-1)
