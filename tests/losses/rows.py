"""What losses share in their tests: one array of logits as two, one sample as two, other batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ..divergences import checks

MAPS = np.random.default_rng(7).normal(size=(2, 3, 4))


def as_two(f):
    """A loss of one array of logits, under the checks of two: the second counts for nothing."""
    return lambda z, other, axis=-1, where=None: f(z, axis=axis, where=where)


def of_both(f, **options):
    """A loss of one sample, under the checks of two: the product of both samples' losses."""

    def product(source, target, source_weights=None, target_weights=None, axis_name=None):
        both = [(source, source_weights), (target, target_weights)]
        mine, theirs = (f(x, weights=w, axis_name=axis_name, **options) for x, w in both)
        return mine * theirs

    return product


def assert_batch_coupled(f, *, repeat=True, atol=1e-9):
    """All that a batch-coupled loss holds whatever it computes, in float64."""
    checks.assert_order_is_of_no_account(f)
    checks.assert_weights_are_weights(f, repeat=repeat, atol=1e-10)
    checks.assert_derivatives(f)
    checks.assert_transforms(f)
    checks.assert_shards_equal_the_whole(f, atol=atol)


def assert_degenerate_batches(f, least=1):
    """In float32: points that coincide, traced weights that are all 0, half precision."""
    checks.assert_finite_where_points_coincide(f, least=least)
    checks.assert_an_empty_side_is_0(f)
    checks.assert_half_precision_is_computed_in_float32(f)


def assert_one_sample_mistakes_are_refused(f, name, weights_name="weights"):
    x = checks.two(dtype=np.float32)[0]
    with pytest.raises(TypeError, match=f"{name} must be of floating point; it is int32"):
        f(x.astype(np.int32))
    with pytest.raises(ValueError, match=rf"{name} must be an array \[n, features\]; it has the"):
        f(x[None])
    with pytest.raises(ValueError, match=f"{name} must be finite"):
        f(np.full_like(x, np.nan))
    for weights, message in (
        (np.ones(len(x) + 1), f"{weights_name} must hold one weight for each point of {name}"),
        (-np.ones(len(x)), f"{weights_name} must be finite and not negative"),
        (np.zeros(len(x)), f"{weights_name} must hold at least 1 above 0; 0 of 7 are"),
    ):
        with pytest.raises(ValueError, match=message):
            f(x, **{weights_name: weights})


def assert_two_sample_mistakes_are_refused(f, names, rank):
    d = None if rank == 1 else 3
    source, target = checks.two(d=d, dtype=np.float32)
    shape = r"\[n\]" if rank == 1 else r"\[n, features\]"
    with pytest.raises(TypeError, match=f"{names[0]} must be of floating point; it is int32"):
        f(source.astype(np.int32), target)
    with pytest.raises(ValueError, match=f"{names[1]} must be an array {shape}; it has the shape"):
        f(source, target[..., None])
    with pytest.raises(ValueError, match=f"{names[0]} must hold at least 1 point"):
        f(source[:0], target)
    with pytest.raises(ValueError, match=f"{names[1]} must be finite"):
        f(source, np.full_like(target, np.inf))
    with pytest.raises(ValueError, match=f"one weight for each point of {names[0]}"):
        f(source, target, source_weights=np.ones(len(source) + 1))
    with pytest.raises(ValueError, match="target_weights must hold at least 1 above 0"):
        f(source, target, target_weights=np.zeros(len(target)))


def assert_derivatives_of_one(f, x, second=True, rtol=1e-6):
    """Both modes, and the second derivative, of a scalar function of one array."""
    direction = np.random.default_rng(5).normal(size=x.shape)
    step = 1e-5

    @checks.quickly
    def both(x):
        value, gradient = jax.value_and_grad(f)(x)
        forward = jax.jvp(f, (x,), (direction,))[1]
        curvature = jax.jvp(jax.grad(f), (x,), (direction,))[1]
        reverse = jax.grad(lambda x: jnp.vdot(jax.grad(f)(x), direction))(x)
        return value, gradient, forward, curvature, reverse

    (_, gradient, forward, curvature, reverse) = both(x)
    above, below = both(x + step * direction), both(x - step * direction)
    scale = np.abs(gradient).max()
    difference = (above[0] - below[0]) / (2 * step)
    np.testing.assert_allclose(forward, difference, rtol=rtol, atol=rtol * scale)
    np.testing.assert_allclose(jnp.vdot(gradient, direction), forward, rtol=1e-9)
    if second:
        difference = (above[1] - below[1]) / (2 * step)
        size = np.abs(difference).max()
        np.testing.assert_allclose(curvature, difference, rtol=1e-4, atol=1e-5 * size)
        np.testing.assert_allclose(reverse, curvature, rtol=1e-6, atol=1e-8 * size)
