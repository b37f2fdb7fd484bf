"""Random Fourier features: on average the exact value, closer with more of them, smooth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import GaussianKernel, mmd, mmd_random_features

from .checks import assert_mistakes_are_refused
from .mmd_references import quickly, reference_mmd, run, two, weights

KEY = jax.random.key(0)
KERNELS = {
    "five": "gaussian",
    "one": GaussianKernel(scales=(0.7,)),
    "weighted": GaussianKernel(scales=(3.0, 0.2), weight=0.4),
}


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_mean_over_keys_is_exact(kernel):
    source, target = two(dtype=np.float32)
    a, b = weights(1, 7).astype(np.float32), weights(2, 9).astype(np.float32)

    def f(key):
        return mmd_random_features(
            source, target, key=key, features=64, kernel=KERNELS[kernel], bandwidth=1.7,
            source_weights=a, target_weights=b,
        )  # fmt: skip

    found = quickly(jax.vmap(f))(jax.random.split(KEY, 1000))
    exact = mmd(
        source, target, kernel=KERNELS[kernel], bandwidth=1.7, source_weights=a, target_weights=b
    )
    assert found.min() >= 0
    assert abs(found.mean() - exact) < 4 * found.std() / np.sqrt(1000)
    assert found.std() < 0.3 * exact


def test_the_error_falls_with_the_root_of_the_features():
    source, target = two(1, dtype=np.float32)

    def spread(features):
        f = jax.vmap(lambda key: mmd_random_features(source, target, key=key, features=features))
        return np.asarray(quickly(f)(jax.random.split(KEY, 400))).std()

    few, many = spread(16), spread(256)
    np.testing.assert_allclose(few / many, 4, rtol=0.2)


@pytest.mark.parametrize("rule", ["mean", "median", "features"])
def test_near_the_exact_value_under_every_rule(rule, x64):
    source, target = two(2, 30, 40, 2)
    found = run(mmd_random_features, source, target, key=KEY, features=20000, bandwidth=rule)
    np.testing.assert_allclose(found, reference_mmd(source, target, b=rule), rtol=0.03)
    assert found.dtype == jnp.float64


def test_a_key_gives_one_function():
    source, target = two(3, dtype=np.float32)

    def f(key):
        return mmd_random_features(source, target, key=key, features=8)

    assert f(KEY) == f(KEY)
    assert f(KEY) != f(jax.random.key(1))


@pytest.mark.parametrize("features", [1, 3, 8])
def test_few_features(features):
    source, target = two(3, dtype=np.float32)
    assert mmd_random_features(source, target, key=KEY, features=features) >= 0


def test_identities_hold_for_each_key(x64):
    source, target = two(4)
    a, b = weights(1, 7), weights(2, 9)

    @quickly
    def f(x, y, a, b):
        return mmd_random_features(
            x, y, key=KEY, features=16, bandwidth=2.0, source_weights=a, target_weights=b
        )

    given = f(source, target, a, b)
    order = np.random.default_rng(3).permutation(7)
    np.testing.assert_allclose(f(source[order], target, a[order], b), given, rtol=1e-10)
    np.testing.assert_allclose(f(target, source, b, a), given, rtol=1e-10)
    np.testing.assert_allclose(f(source + 100, target + 100, a, b), given, rtol=1e-8)
    np.testing.assert_allclose(f(source, source, a, a), 0, atol=1e-15)
    np.testing.assert_allclose(f(source, target, 9 * a, b / 9), given, rtol=1e-10)
    a[2] = 0
    expected = f(source[a > 0], target, a[a > 0], b)
    source[2] = 1e3
    np.testing.assert_allclose(f(source, target, a, b), expected, rtol=1e-8)


def test_derivatives(x64):
    """Of one key, by central differences of its own values, along one direction."""
    source, target = two(5)
    arguments = (source, target, weights(1, 7), weights(2, 9), np.float64(1.7))
    draw = np.random.default_rng(0)
    direction = tuple(np.float64(draw.normal(size=np.shape(x))) for x in arguments)

    def loss(x, y, a, b, width):
        return mmd_random_features(
            x, y, key=KEY, features=16, bandwidth=width, source_weights=a, target_weights=b
        )

    @quickly
    def first(arguments, direction):
        value, slope = jax.jvp(loss, arguments, direction)
        return value, slope, jax.grad(loss, argnums=(0, 1, 2, 3, 4))(*arguments)

    def moved(by):
        return first(
            tuple(x + by * t for x, t in zip(arguments, direction, strict=True)), direction
        )

    _, slope, gradients = moved(0.0)
    (up, up_slope, _), (down, down_slope, _) = moved(1e-5), moved(-1e-5)
    np.testing.assert_allclose(slope, (up - down) / 2e-5, rtol=1e-6)
    reverse = sum(np.vdot(g, t) for g, t in zip(gradients, direction, strict=True))
    np.testing.assert_allclose(reverse, slope, rtol=1e-9)
    _, curvature = quickly(
        lambda: jax.jvp(lambda *z: jax.jvp(loss, z, direction)[1], arguments, direction)
    )()
    np.testing.assert_allclose(curvature, (up_slope - down_slope) / 2e-5, rtol=1e-5)


def test_the_mean_gradient_over_keys_is_exact():
    source, target = two(6, dtype=np.float32)
    exact = quickly(jax.grad(lambda x: mmd(x, target, bandwidth=2.0)))(source)
    gradient = jax.grad(
        lambda x, key: mmd_random_features(x, target, key=key, features=64, bandwidth=2.0)
    )
    found = quickly(jax.vmap(gradient, in_axes=(None, 0)))(source, jax.random.split(KEY, 1000))
    error = np.abs(found.mean(0) - exact)
    assert (error < 5 * found.std(0) / np.sqrt(1000)).all()
    assert error.max() < 0.1 * np.abs(exact).max()


def test_far_from_the_origin_in_single_precision():
    source, target = two(7, 40, 30, 4)
    source, target = ((z + 1e4).astype(np.float32) for z in (source, target))
    f = quickly(lambda x, y: mmd_random_features(x, y, key=KEY, features=4096, bandwidth=3.0))
    expected = reference_mmd(source.astype(float), target.astype(float), b=3.0)
    np.testing.assert_allclose(f(source, target), expected, rtol=0.1)
    np.testing.assert_allclose(
        f(source, target), f(source - np.float32(1e4), target - np.float32(1e4)), rtol=1e-4
    )


def test_degenerate_points_and_weights():
    source, target = two(8, 6, 7, dtype=np.float32)
    ones = np.ones_like(source), np.ones_like(target)

    @quickly
    def both(x, y, a):
        return jax.value_and_grad(
            lambda x, a: mmd_random_features(x, y, key=KEY, features=8, source_weights=a),
            argnums=(0, 1),
        )(x, a)

    full = np.ones(6, np.float32)
    for number in jax.tree.leaves(both(*ones, full)):
        assert np.isfinite(number).all()
        assert np.abs(number).max() < 1e-5
    value, gradients = both(source, target, 0 * full)
    assert value == 0
    assert not any(np.asarray(gradient).any() for gradient in gradients)
    source[1, 1] = np.nan
    assert np.isnan(both(source, target, full)[0])


def test_mistakes():
    def f(source, target, **options):
        return mmd_random_features(source, target, key=KEY, **options)

    assert_mistakes_are_refused(f)
    source, target = two(9, dtype=np.float32)
    for options, message in [
        ({"features": 0}, "features must be an integer of at least 1; it is 0"),
        ({"features": 8.0}, "features must be an integer of at least 1"),
        ({"kernel": "laplace_l1"}, "kernel must be Gaussian"),
        ({"kernel": "x"}, "kernel must be"),
        ({"bandwidth": 0.0}, "bandwidth must be a positive number"),
        ({"bandwidth": "x"}, "bandwidth must be .*it is 'x'"),
    ]:
        with pytest.raises(ValueError, match=message):
            f(source, target, **options)
