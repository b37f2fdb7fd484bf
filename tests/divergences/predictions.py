"""What every divergence of two predictions must hold. ``f(logits, other_logits, axis=, where=)``."""

import jax
import jax.numpy as jnp
import numpy as np

from .checks import quickly


def logits(seed=0, batch=5, classes=4, scale=3.0, dtype=np.float64):
    return (scale * np.random.default_rng(seed).normal(size=(2, batch, classes))).astype(dtype)


def assert_one_number_an_example(f):
    """Along any axis, over several, under jit and vmap, in half precision."""
    z, other = logits()
    expected = f(z, other)
    assert expected.shape == (5,)

    @quickly
    def in_other_ways(z, other):
        cubes = z.reshape(5, 2, 2), other.reshape(5, 2, 2)
        shifted = f(z + 7, other - 3)
        return (
            f(z, other),
            f(z.T, other.T, axis=0),
            f(*cubes, axis=(1, 2)),
            jax.vmap(f)(z, other),
            shifted,
        )

    for found in in_other_ways(z, other):
        np.testing.assert_allclose(found, expected, rtol=1e-10)
    half = quickly(f)(jnp.asarray(z, jnp.bfloat16), jnp.asarray(other, jnp.bfloat16))
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, expected, rtol=0.1)


def assert_where_is_slicing(f):
    z, other = logits()
    z[0, 1] = other[2, 3] = 1e5  # of classes that are left out
    where = np.ones((5, 4), bool)
    where[:, 1] = where[2, 3] = False
    where[4] = False

    @quickly
    def masked(z, other, where):
        def total(z, other):
            each = f(z, other, where=where)
            return each.sum(), each

        return jax.value_and_grad(total, argnums=(0, 1), has_aux=True)(z, other)

    sliced = quickly(jax.value_and_grad(f, argnums=(0, 1)))
    (_, found), gradients = masked(z, other, where)
    for row in range(4):
        kept = where[row]
        value, slices = sliced(z[row, kept], other[row, kept])
        np.testing.assert_allclose(found[row], value, rtol=1e-12)
        for mine, theirs in zip(gradients, slices, strict=True):
            np.testing.assert_allclose(mine[row, kept], theirs, rtol=1e-9, atol=1e-14)
            assert not mine[row, ~kept].any()
    assert found[4] == 0
    assert not gradients[0][4].any() and not gradients[1][4].any()
    # It broadcasts, as in optax.
    broadcast = masked(z, other, where[0])[0][1]
    np.testing.assert_array_equal(broadcast[:2], found[:2])


def assert_zero_at_equality(f, exactly=False):
    z, other = logits()
    both = quickly(jax.value_and_grad(lambda *x: f(*x).sum(), argnums=(0, 1)))
    for scale, shift in ((1.0, 0.0), (1e4, 0.0), (1.0, 2.5)):
        atol = 0 if exactly and not shift else 1e-12
        value, gradients = both(scale * z, scale * z + shift)
        np.testing.assert_allclose(value, 0, atol=atol)
        for gradient in gradients:
            np.testing.assert_allclose(gradient, 0, atol=atol)
    assert both(z, other)[0] > 1e-3


def assert_derivatives(f):
    """Both modes and the second derivative, against central differences."""
    z, other = logits()
    direction = tuple(logits(seed=1, scale=1.0))
    step = 1e-5
    weights = np.arange(1.0, 6)

    def total(z, other):
        return jnp.vdot(weights, f(z, other))

    @quickly
    def derivatives(z, other):
        gradient = jax.grad(total, argnums=(0, 1))
        value, forward = jax.jvp(total, (z, other), direction)
        gradients, curvature = jax.jvp(gradient, (z, other), direction)
        twice = jax.grad(lambda z: jnp.sum(jnp.square(jax.grad(total)(z, other))))(z)
        return value, forward, gradients, curvature, twice

    _, forward, gradients, curvature, twice = derivatives(z, other)
    above, below = (
        derivatives(z + by * direction[0], other + by * direction[1]) for by in (step, -step)
    )
    np.testing.assert_allclose(forward, (above[0] - below[0]) / (2 * step), rtol=1e-6)
    reverse = sum(jnp.vdot(g, t) for g, t in zip(gradients, direction, strict=True))
    np.testing.assert_allclose(reverse, forward, rtol=1e-9)
    for found, up, down in zip(curvature, above[2], below[2], strict=True):
        np.testing.assert_allclose(found, (up - down) / (2 * step), rtol=1e-4, atol=1e-6)
    assert np.isfinite(twice).all() and np.abs(twice).max() > 0


def assert_finite_for_extreme_logits(f):
    rows = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 1e4], [1e4, 1e4, 1e4], [0, 0, 1e-30]], np.float32)

    @quickly
    def derivatives(z, other):
        def total(z, other):
            return f(z, other).sum()

        value, gradients = jax.value_and_grad(total, argnums=(0, 1))(z, other)
        curvature = jax.jvp(jax.grad(total), (z, other), (rows * 1e-4, other * 1e-4))[1]
        return value, *gradients, curvature

    for other in (rows, rows[::-1], -rows, 0 * rows):
        for number in derivatives(rows, other):
            assert np.isfinite(number).all()
