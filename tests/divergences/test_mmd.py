"""MMD against every pair by hand: value, derivatives, identities, precision, memory, devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.metrics.pairwise import rbf_kernel

from jaxfer import MMD_PRESETS, GaussianKernel, kernel_bandwidth, mmd

from .checks import assert_mistakes_are_refused, sampled
from .mmd_references import (
    ACROSS,
    DISTANCES,
    FIVE,
    KERNELS,
    OTHER_CONSTANTS,
    all_pairs,
    bandwidth,
    differences,
    estimate,
    quickly,
    reference_mmd,
    run,
    spread,
    squared_l2,
    two,
    weights,
)

ESTIMATORS = ("biased", "unbiased", "unbiased_shifted", "linear", "block")
IN_ORDER = ("linear", "block")
RULES = (
    "mean",
    "mean_with_gradient",
    "mean_off_diagonal",
    "median",
    "median_exact",
    "median_bisection",
    "median_subsample",
    "median_source",
    "features",
)


def formula(name, x, y, b, estimator="biased", p=None, q=None):
    return reference_mmd(x, y, (KERNELS | OTHER_CONSTANTS)[name][1], b, estimator, p, q)


def weighted(**options):
    """``mmd`` of two samples and their weights."""
    return quickly(
        lambda x, y, a, b: mmd(x, y, source_weights=a, target_weights=b, **options)
    )  # fmt: skip


# Value


@pytest.mark.parametrize("kernel", sampled(KERNELS, {"gaussian", "laplace_l1"}))
def test_value_of_every_kernel_and_estimator(kernel, x64):
    source, target = two(n=11, m=9)
    a, b = weights(1, 11), weights(2, 9)
    for estimator in ESTIMATORS:
        f = weighted(kernel=kernel, bandwidth=1.7, estimator=estimator)
        expected = formula(kernel, source, target, 1.7, estimator)
        for scale in (1, 7):  # weights that are all alike are none
            found = f(source, target, np.full(11, scale), np.ones(9))
            np.testing.assert_allclose(found, expected, rtol=1e-11)
        if estimator in ("biased", "unbiased"):
            expected = formula(kernel, source, target, 1.7, estimator, a, b)
            np.testing.assert_allclose(f(source, target, 9 * a, b / 9), expected, rtol=1e-11)


@pytest.mark.parametrize("kernel", OTHER_CONSTANTS)
def test_value_with_other_constants(kernel, x64):
    source, target = two(1)
    expected = formula(kernel, source, target, 1.3)
    found = run(mmd, source, target, kernel=OTHER_CONSTANTS[kernel][0], bandwidth=1.3)
    np.testing.assert_allclose(found, expected, rtol=1e-11)


@pytest.mark.parametrize("kernel", KERNELS)
def test_value_in_single_precision(kernel):
    source, target = two(n=40, m=23, d=5, dtype=np.float32)
    a, b = weights(1, 40).astype(np.float32), weights(2, 23).astype(np.float32)
    expected = formula(kernel, source.astype(float), target.astype(float), 4.0, p=a, q=b)
    for block_size in (None, 16):
        found = weighted(kernel=kernel, bandwidth=4.0, block_size=block_size)(source, target, a, b)
        assert found.dtype == jnp.float32 and found.shape == ()
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("rule", RULES)
def test_value_under_every_rule(rule, x64):
    source, target = two(2, 6, 9)
    expected = reference_mmd(source, target, b=rule)
    close = 1e-7 if rule == "median_bisection" else 1e-11
    np.testing.assert_allclose(run(mmd, source, target, bandwidth=rule), expected, rtol=close)


@pytest.mark.parametrize("kernel", DISTANCES)
def test_a_rule_is_of_the_distance_of_the_kernel(kernel, x64):
    source, target = two(2)
    a, b = weights(1, 7), weights(2, 9)
    width = bandwidth("mean", source, target, DISTANCES[kernel], a, b)
    expected = formula(kernel, source, target, width, p=a, q=b)
    found = mmd(source, target, kernel=kernel, source_weights=a, target_weights=b)
    np.testing.assert_allclose(found, expected, rtol=1e-11)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 5), (6, 1)])
def test_one_point_a_side(n, m, x64):
    source, target = two(3, n, m)
    np.testing.assert_allclose(
        mmd(source, target), reference_mmd(source, target), rtol=1e-11, atol=1e-14
    )


@pytest.mark.parametrize("estimator", IN_ORDER)
@pytest.mark.parametrize(("n", "m"), [(2, 2), (3, 2), (4, 5), (16, 16), (17, 30)])
def test_pairs_in_order_leave_the_rest_out(n, m, estimator, x64):
    """A point that is left out counts for the bandwidth all the same."""
    source, target = two(4, n, m)
    width = bandwidth("mean", source, target)
    expected = reference_mmd(source, target, b=width, estimator=estimator)
    found = quickly(lambda x, y: mmd(x, y, estimator=estimator))(source, target)
    np.testing.assert_allclose(found, expected, rtol=1e-11)


@pytest.mark.parametrize("estimator", [each for each in ESTIMATORS if each != "block"])
def test_weights_of_zero_slice_the_points_away(estimator, x64):
    """Concrete and traced, and even where the absent point lies far away."""
    source, target = two(5, 13, 11)
    a, b = np.ones(13), np.ones(11)
    a[[0, 5, 12]], b[[3, 4]] = 0, 0
    expected = reference_mmd(
        source[a > 0], target[b > 0], b="mean_off_diagonal", estimator=estimator
    )
    source[5], target[3] = 1e3, -1e3
    options = {"estimator": estimator, "bandwidth": "mean_off_diagonal"}
    np.testing.assert_allclose(weighted(**options)(source, target, a, b), expected, rtol=1e-10)
    concrete = mmd(source, target, source_weights=a, target_weights=b, **options)
    np.testing.assert_allclose(concrete, expected, rtol=1e-10)


def test_padding_at_the_end_is_sliced_away_from_pairs_in_order(x64):
    source, target = two(5, 13, 11)
    a, b = np.arange(13) < 8, np.arange(11) < 9
    expected = reference_mmd(source[:8], target[:9], b=1.7, estimator="linear")
    found = weighted(bandwidth=1.7, estimator="linear")(source, target, a, b)
    np.testing.assert_allclose(found, expected, rtol=1e-11)


@pytest.mark.parametrize("estimator", IN_ORDER)
def test_pairs_in_order_do_not_mind_the_scale_of_weights(estimator, x64):
    source, target = two(5, 13, 11)
    a, b = weights(1, 13), weights(2, 11)
    f = weighted(bandwidth=1.7, estimator=estimator)
    given = f(source, target, a, b)
    np.testing.assert_allclose(f(source, target, 90 * a, b / 90), given, rtol=1e-11)
    assert abs(f(source, target, np.ones(13), np.ones(11)) - given) > 1e-6


@pytest.mark.parametrize("block_size", [None, 8])
def test_absent_points_far_away_cost_no_precision(block_size):
    source, target = two(5, 13, 11, dtype=np.float32)
    a, b = np.ones(13, np.float32), np.ones(11, np.float32)
    a[5], b[3] = 0, 0
    expected = reference_mmd(source[a > 0].astype(float), target[b > 0].astype(float))
    source[5], target[3] = 1e7, -3e7
    value, gradient = quickly(
        jax.value_and_grad(
            lambda x: mmd(x, target, source_weights=a, target_weights=b, block_size=block_size)
        )
    )(source)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert not np.asarray(gradient[5]).any()


def test_repeated_points_are_integer_weights(x64):
    source, target = two(6)
    counts = np.array([1, 2, 1, 3, 1, 1, 2])
    found = mmd(source, target, source_weights=counts, bandwidth=2.0)
    repeated = np.repeat(source, counts, axis=0)
    np.testing.assert_allclose(found, mmd(repeated, target, bandwidth=2.0), rtol=1e-12)


# Block sizes


@pytest.mark.parametrize(
    ("size", "kernel", "estimator"),
    sampled(
        [(size, "gaussian", "unbiased") for size in (1, 4, 7, 64)]
        + [(4, "gaussian", "biased"), (4, "laplace_l1", "biased"), (7, "polynomial", "unbiased")],
        {(4, "gaussian", "unbiased"), (7, "polynomial", "unbiased")},
    ),
)
def test_block_size_is_of_no_account(size, kernel, estimator, x64):
    source, target = two(7, 10, 13)
    a, b = weights(1, 10), weights(2, 13)

    def loss(x, y, a, b, width):
        return mmd(
            x, y, kernel=kernel, estimator=estimator, bandwidth=width, source_weights=a,
            target_weights=b, block_size=size,
        )  # fmt: skip

    arguments = (source, target, a, b, np.float64(1.7))
    value, gradients = quickly(jax.value_and_grad(loss, argnums=(0, 1, 2, 3, 4)))(*arguments)
    assert_first_derivatives(kernel, estimator, value, gradients, arguments)


# Derivatives


def assert_first_derivatives(kernel, estimator, value, gradients, arguments):
    def expected(*arguments):
        x, y, a, b, width = arguments
        return formula(kernel, x, y, width, estimator, a, b)

    np.testing.assert_allclose(value, expected(*arguments), rtol=1e-11)
    for i, found in enumerate(gradients):
        if arguments[i] is None:
            continue
        by_hand = differences(
            lambda new, i=i: expected(*arguments[:i], new, *arguments[i + 1 :]), arguments[i]
        )
        np.testing.assert_allclose(found, by_hand, rtol=1e-6, atol=1e-8)
        assert np.abs(by_hand).max() > 1e-5 or kernel == "linear"


@pytest.mark.parametrize(
    ("kernel", "estimator"),
    [("gaussian", estimator) for estimator in ESTIMATORS]
    + [(kernel, "biased") for kernel in KERNELS if kernel != "gaussian"],
)
def test_gradient_by_points_weights_and_bandwidth(kernel, estimator, x64):
    source, target = two(8, 7, 9)
    both = (weights(1, 7), weights(2, 9))
    if estimator not in ("biased", "unbiased"):
        both = (None, None)
    arguments = (source, target, *both, np.float64(1.3))
    present = tuple(i for i, given in enumerate(arguments) if given is not None)

    def loss(x, y, a, b, width):
        return mmd(
            x, y, kernel=kernel, estimator=estimator, bandwidth=width, source_weights=a,
            target_weights=b,
        )  # fmt: skip

    value, found = quickly(jax.value_and_grad(loss, argnums=present))(*arguments)
    gradients = [None] * 5
    for i, gradient in zip(present, found, strict=True):
        gradients[i] = gradient
    assert_first_derivatives(kernel, estimator, value, gradients, arguments)


@pytest.mark.parametrize("rule", ["mean", "mean_off_diagonal", "median", "mean_with_gradient"])
def test_which_rules_have_a_gradient(rule, x64):
    source, target = two(9)
    fixed = bandwidth(rule, source, target)
    found = quickly(jax.grad(lambda x: mmd(x, target, bandwidth=rule)))(source)
    stopped = differences(lambda x: reference_mmd(x, target, b=fixed), source)
    through = differences(lambda x: reference_mmd(x, target, b=rule), source)
    assert np.abs(stopped - through).max() > 1e-3
    expected = through if rule == "mean_with_gradient" else stopped
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


SECOND = {
    "at once": {"bandwidth": 1.7},
    "in blocks": {"bandwidth": 1.7, "block_size": 4, "estimator": "unbiased"},
    "mean_with_gradient": {"bandwidth": "mean_with_gradient"},
    "laplace_l2": {"bandwidth": 1.7, "kernel": "laplace_l2"},
    "laplace_l1": {"bandwidth": 1.7, "kernel": "laplace_l1", "block_size": 4},
    "polynomial": {"bandwidth": 1.7, "kernel": "polynomial"},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "in blocks",
        pytest.param("mean_with_gradient", marks=pytest.mark.thorough),
        pytest.param("laplace_l2", marks=pytest.mark.thorough),
        *(pytest.param(name, marks=pytest.mark.thorough) for name in SECOND),
    ],
)
def test_second_derivative_in_every_mode(name, x64):
    """By both samples, weights and bandwidth together."""
    options = dict(SECOND[name])
    kernel = KERNELS[options.pop("kernel", "gaussian")]
    width = options.pop("bandwidth")
    source, target = two(10, 4, 5, 2)
    split = np.cumsum([source.size, target.size, 4, 5])
    at = np.concatenate([source.ravel(), target.ravel(), weights(1, 4), weights(2, 5), [1.7]])

    def parts(z):
        x, y, a, b, h = jnp.split(z, split)
        return x.reshape(4, 2), y.reshape(5, 2), a, b, h[0]

    def loss(z):
        x, y, a, b, h = parts(z)
        h = width if isinstance(width, str) else h
        return mmd(
            x, y, kernel=kernel[0], bandwidth=h, source_weights=a, target_weights=b, **options
        )

    def expected(z):
        x, y, a, b, h = parts(z)
        if isinstance(width, str):
            r = jnp.concatenate([4 * a / a.sum(), 5 * b / b.sum()])
            both = jnp.concatenate([x, y])
            h = r @ squared_l2(both, both, jnp) @ r / 81
        formula = kernel[1]
        return estimate(
            lambda x, y: formula(x, y, h, jnp), x, y, options.get("estimator", "biased"), a, b, jnp
        )

    direction = np.random.default_rng(0).normal(size=at.shape)
    gradient, by_hand = run(lambda z, t: jax.jvp(jax.grad(expected), (z,), (t,)), at, direction)

    def forward_over_reverse(z, t):
        return jax.jvp(loss, (z,), (t,))[1], jax.jvp(jax.grad(loss), (z,), (t,))[1]

    slope, forward = run(forward_over_reverse, at, direction)
    np.testing.assert_allclose(slope, gradient @ direction, rtol=1e-9)
    np.testing.assert_allclose(forward, by_hand, rtol=1e-8, atol=1e-10)
    backward = run(jax.grad(lambda z, t: jnp.vdot(jax.grad(loss)(z), t)), at, direction)
    np.testing.assert_allclose(backward, by_hand, rtol=1e-8, atol=1e-10)
    if name == "laplace_l2":
        jacobian = quickly(jax.jacfwd(jax.jacrev(loss)))(at)
        np.testing.assert_allclose(jacobian @ direction, by_hand, rtol=1e-8, atol=1e-10)
    if name == "at once":
        twice = quickly(lambda z, t: jax.jvp(lambda z: jax.jvp(loss, (z,), (t,))[1], (z,), (t,)))
        np.testing.assert_allclose(twice(at, direction)[1], direction @ by_hand, rtol=1e-8)


@pytest.mark.parametrize("block_size", [None, 4])
def test_vmap_over_seeds_and_bandwidths(block_size, x64):
    pairs = [two(seed) for seed in range(3)]
    source, target = (np.stack(side) for side in zip(*pairs, strict=True))
    widths = np.array([0.5, 2.0])

    def both(x, y, width):
        return jax.value_and_grad(
            lambda x: mmd(x, y, bandwidth=width, block_size=block_size)
        )(x)  # fmt: skip

    over_widths = jax.vmap(both, in_axes=(None, None, 0))
    values, gradients = quickly(jax.vmap(over_widths, in_axes=(0, 0, None)))(source, target, widths)
    assert values.shape == (3, 2)
    for seed, (x, y) in enumerate(pairs):
        for i, width in enumerate(widths):
            expected = reference_mmd(x, y, b=width)
            np.testing.assert_allclose(values[seed, i], expected, rtol=1e-11)
    by_hand = differences(lambda x: reference_mmd(x, pairs[2][1], b=2.0), pairs[2][0])
    np.testing.assert_allclose(gradients[2, 1], by_hand, rtol=1e-6, atol=1e-8)


# Other libraries


def test_deepda(x64):
    source, target = two(11, 9, 9)

    def published(source, target):
        total = jnp.concatenate([source, target])
        pairs = squared_l2(total, total, jnp)
        width = jax.lax.stop_gradient(jnp.sum(pairs)) / (18**2 - 18) / 4
        kernels = sum(jnp.exp(-pairs / (width * 2**i)) for i in range(5))
        xx, yy = kernels[:9, :9], kernels[9:, 9:]
        return jnp.mean(xx + yy - kernels[:9, 9:] - kernels[9:, :9])

    assert_preset("deepda", published, source, target)


def test_tllib(x64):
    source, target = two(12, 8, 8)

    def published(source, target):
        total = jnp.concatenate([source, target])
        pairs = squared_l2(total, total, jnp)
        mean = jax.lax.stop_gradient(jnp.mean(pairs))
        kernels = sum(jnp.exp(-pairs / (2 * 2.0**k * mean)) for k in range(-3, 2))
        within = jnp.kron(jnp.eye(2), (1 - jnp.eye(8)) / (8 * 7))
        across = jnp.kron(1 - jnp.eye(2), jnp.full((8, 8), -1 / 64))
        return jnp.sum(kernels * (within + across)) + 2 / 7

    assert_preset("tllib", published, source, target)


def _lower_median(pairs):
    return jnp.sort(jax.lax.stop_gradient(pairs).ravel())[(pairs.size - 1) // 2]


@pytest.mark.parametrize("n", sampled([6, 7], {6}))
def test_pytorch_adapt(n, x64):
    source, target = two(13, n, n)

    def published(source, target):
        width = _lower_median(squared_l2(source, source, jnp))

        def k(x, y):
            return jnp.exp(-squared_l2(x, y, jnp) / width)

        total = 0.0
        for i in range(n // 2):
            x, x2, y, y2 = source[2 * i], source[2 * i + 1], target[2 * i], target[2 * i + 1]
            total += k(x[None], x2[None]) + k(y[None], y2[None])
            total -= k(x[None], y2[None]) + k(x2[None], y[None])
        return total[0, 0] / (n // 2)

    assert_preset("pytorch_adapt", published, source, target)


@pytest.mark.parametrize(("n", "m"), sampled([(6, 9), (7, 7)], {(6, 9)}))
def test_pytorch_adapt_quadratic(n, m, x64):
    source, target = two(14, n, m)

    def published(source, target):
        width = _lower_median(squared_l2(source, source, jnp))
        xx, yy, xy = (
            jnp.exp(-squared_l2(a, b, jnp) / width)
            for a, b in ((source, source), (target, target), (source, target))
        )
        within = (jnp.sum(xx) - n) / (n * (n - 1)) + (jnp.sum(yy) - m) / (m * (m - 1))
        return within - 2 * jnp.mean(xy)

    assert_preset("pytorch_adapt_quadratic", published, source, target)


def test_scikit_learn(x64):
    source, target = two(15)
    expected = all_pairs(rbf_kernel, source, target, np.full(7, 1 / 7), np.full(9, 1 / 9))
    found = mmd(source, target, **MMD_PRESETS["scikit_learn"])
    np.testing.assert_allclose(found, expected, rtol=1e-11)


@pytest.mark.slow
def test_the_lower_median_is_that_of_torch(x64):
    torch = pytest.importorskip("torch")
    for n in (6, 7):
        source, target = two(16, n, 5)
        expected = torch.median(torch.tensor(squared_l2(source, source))).item()
        found = kernel_bandwidth(source, target, rule="median_source")
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def assert_preset(name, published, source, target):
    def ours(x, y):
        return mmd(x, y, **MMD_PRESETS[name])

    found, gradients = quickly(jax.value_and_grad(ours, argnums=(0, 1)))(source, target)
    expected, theirs = quickly(jax.value_and_grad(published, argnums=(0, 1)))(source, target)
    np.testing.assert_allclose(found, expected, rtol=1e-11)
    np.testing.assert_allclose(gradients[0], theirs[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(gradients[1], theirs[1], rtol=1e-9, atol=1e-12)


def test_every_preset_has_a_test():
    assert set(MMD_PRESETS) == {
        "deepda",
        "tllib",
        "pytorch_adapt",
        "pytorch_adapt_quadratic",
        "scikit_learn",
    }


def test_presets_cannot_be_changed():
    with pytest.raises(TypeError):
        MMD_PRESETS["deepda"]["bandwidth"] = "median"


# Identities


@pytest.mark.parametrize("kernel", sampled(KERNELS, {"gaussian", "laplace_l2"}))
def test_identities(kernel, x64):
    source, target = two(17)
    a, b = weights(1, 7), weights(2, 9)

    @quickly
    def f(x, y, a, b):
        return mmd(x, y, kernel=kernel, bandwidth=2.0, source_weights=a, target_weights=b)

    given = f(source, target, a, b)
    order = np.random.default_rng(3).permutation(7)
    np.testing.assert_allclose(f(source[order], target, a[order], b), given, rtol=1e-11)
    np.testing.assert_allclose(f(target, source, b, a), given, rtol=1e-11)
    np.testing.assert_allclose(f(source[order], source, a[order], a), 0, atol=1e-12)
    if kernel == "linear":
        apart = a @ source / a.sum() - b @ target / b.sum()
        np.testing.assert_allclose(given, apart @ apart, rtol=1e-11)
    if kernel != "polynomial":
        np.testing.assert_allclose(f(source + 100, target + 100, a, b), given, rtol=1e-8)


def test_biased_is_not_negative_and_unbiased_is_about_half_the_time():
    draw = jax.random.normal(jax.random.key(0), (200, 2, 8, 2))
    biased, unbiased = (
        quickly(jax.vmap(lambda z, name=name: mmd(z[0], z[1], estimator=name)))(draw)
        for name in ("biased", "unbiased")
    )
    assert biased.min() > 0
    assert 0.4 < np.mean(unbiased < 0) < 0.75
    assert abs(np.mean(unbiased)) < 3 * np.std(unbiased) / np.sqrt(200)
    np.testing.assert_allclose(biased.mean(), 5 * (1 / 8 + 1 / 8), rtol=0.5)


@pytest.mark.parametrize(
    ("kernel", "offset"),
    [("gaussian", 1e3), *((kernel, 1e4) for kernel in DISTANCES)],
)
def test_far_from_the_origin_in_single_precision(kernel, offset):
    source, target = two(18, 256, 256, 64)
    source, target = ((z + offset).astype(np.float32) for z in (source, target))
    assert_precise(kernel, source, target)


@pytest.mark.slow
def test_many_points_far_from_the_origin():
    source, target = two(19, 2048, 2048, 64)
    assert_precise("gaussian", (source + 1e3).astype(np.float32), (target + 1e3).astype(np.float32))


def assert_precise(kernel, source, target):
    """Value and gradient against the same numbers in double precision."""
    n, m = len(source), len(target)
    z = np.concatenate([source, target]).astype(np.float64)
    r = np.concatenate([np.full(n, 1 / n), np.full(m, -1 / m)])
    pairs = cdist(z, z, {"laplace_l1": "cityblock", "laplace_l2": "euclidean"}.get(kernel, "sqeuclidean"))  # fmt: skip
    width = pairs.mean()
    if kernel == "rational_quadratic":
        k = 1 / (1 + pairs / (2 * width))
        slope = -(k**2) / (2 * width)
    else:
        rates = [1 / (2 * a * width) for a in FIVE] if kernel == "gaussian" else [1 / width]
        k, slope = np.zeros_like(pairs), np.zeros_like(pairs)
        for rate in rates:
            each = np.exp(-pairs * rate)
            k += each
            slope -= rate * each
    expected = r @ k @ r
    if kernel == "laplace_l1":
        gradient = np.stack(
            [(slope * np.sign(c[:, None] - c[None])) @ r for c in z.T], axis=1
        )  # fmt: skip
        gradient *= 2 * r[:, None]
    else:
        if kernel == "laplace_l2":
            slope = np.divide(slope, 2 * pairs, out=np.zeros_like(pairs), where=pairs > 0)
        slope *= 2 * r[None]
        centred = z - z.mean(0)
        gradient = 2 * r[:, None] * (slope.sum(1, keepdims=True) * centred - slope @ centred)
    limit = 1e-5 * max(expected, (5 if kernel == "gaussian" else 1) * (1 / n + 1 / m))
    value, found = quickly(
        jax.value_and_grad(lambda x, y: mmd(x, y, kernel=kernel), argnums=(0, 1))
    )(source, target)
    assert abs(value - expected) < limit
    assert np.abs(np.concatenate(found) - gradient).max() < limit
    assert np.abs(np.concatenate(found) - gradient).max() < 1e-3 * np.abs(gradient).max()


# Degenerate points


@pytest.mark.parametrize(
    ("kernel", "rule"),
    sampled(
        [
            *((kernel, "mean") for kernel in KERNELS),
            ("gaussian", "median"),
            ("laplace_l2", "median"),
        ],
        {("gaussian", "mean"), ("laplace_l2", "median")},
    ),
)
def test_derivatives_are_finite_where_points_coincide(kernel, rule):
    """Two derivatives, with all points equal, one point a side, a side that is one point."""

    @quickly
    def everything(x, y):
        def loss(x, y):
            return mmd(x, y, kernel=kernel, bandwidth=rule)

        value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(x, y)
        along = (jnp.ones_like(x), -jnp.ones_like(y))
        forward = jax.jvp(loss, (x, y), along)[1]
        curvature = jax.grad(lambda x: jnp.vdot(jax.grad(loss)(x, y), along[0]))(x)
        return value, *gradients, forward, curvature

    source, target = two(20, 6, 6, dtype=np.float32)
    ones = np.ones_like(source)
    repeated = source[[0, 0, 0, 1, 1, 2]]
    for x, y in [
        (ones, ones),
        (ones, 2 * ones),
        (-7.3 * ones, -7.3 * ones),
        *([] if kernel == "polynomial" else [(1e6 * ones, 1e6 * ones)]),
        (source, ones),
        (repeated, repeated),
        (repeated, target),
        (np.where(np.arange(6)[:, None] < 5, ones, 0), ones),  # all but one pair in place
    ]:
        for number in everything(x, y):
            assert np.isfinite(number).all()
    value, *gradients = everything(ones, ones)[:3]
    assert abs(value) < 1e-6
    assert np.abs(gradients).max() < 1e-6
    if kernel != "polynomial":  # sums of larger numbers
        assert abs(everything(repeated, repeated)[0]) < 1e-5


@pytest.mark.parametrize(
    ("estimator", "block_size"),
    sampled(
        [("biased", 4), *((name, None) for name in ESTIMATORS)], {("biased", 4), ("unbiased", None)}
    ),
)
def test_traced_weights_of_zero_give_zero(estimator, block_size):
    source, target = two(21, 6, 8, dtype=np.float32)
    full, none = np.ones(6, np.float32), np.zeros(6, np.float32)
    others, nothing = np.ones(8, np.float32), np.zeros(8, np.float32)

    @quickly
    def both(x, y, a, b):
        def loss(x, y, a, b):
            return mmd(
                x, y, estimator=estimator, source_weights=a, target_weights=b, block_size=block_size
            )

        return jax.value_and_grad(loss, argnums=(0, 1, 2, 3))(x, y, a, b)

    for a, b in ((none, others), (full, nothing), (none, nothing)):
        value, gradients = both(source, target, a, b)
        assert value == 0
        assert not any(np.asarray(gradient).any() for gradient in gradients)
    assert both(source, target, full, others)[0] != 0


def test_one_traced_weight_above_zero_is_finite():
    source, target = two(21, 6, 8, dtype=np.float32)
    one, others = np.eye(6, dtype=np.float32)[2], np.ones(8, np.float32)
    for estimator in ("biased", "unbiased"):
        value, gradients = quickly(
            lambda x, a, estimator=estimator: jax.value_and_grad(
                lambda x, a: mmd(x, target, source_weights=a, target_weights=others, estimator=estimator),
                argnums=(0, 1),
            )(x, a)
        )(source, one)  # fmt: skip
        assert np.isfinite(value)
        assert all(np.isfinite(gradient).all() for gradient in gradients)
        if estimator == "biased":
            expected = reference_mmd(source[[2]].astype(float), target.astype(float))
            np.testing.assert_allclose(value, expected, rtol=1e-5)


NAN_OPTIONS = (
    [{"kernel": kernel} for kernel in KERNELS]
    + [{"estimator": estimator} for estimator in ESTIMATORS[1:]]
    + [{"block_size": 4}, {"bandwidth": "median"}, {"bandwidth": "features"}]
)


@pytest.mark.parametrize("options", NAN_OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_nan_stays_nan_when_traced(options):
    source, target = two(22, 8, 8, dtype=np.float32)
    f = quickly(lambda x, y: mmd(x, y, **options))
    for spoilt in (source, target):
        good = spoilt[2, 1]
        spoilt[2, 1] = np.nan
        assert np.isnan(f(source, target))
        spoilt[2, 1] = good
    assert np.isfinite(f(source, target))


def test_the_gradient_at_nan_is_nan():
    source, target = two(22, dtype=np.float32)
    source[2, 1] = np.nan
    assert np.isnan(quickly(jax.grad(mmd))(source, target)).any()


def test_a_degenerate_traced_bandwidth_gives_its_limit():
    """Every point alone."""
    source, target = two(22, dtype=np.float32)
    f = quickly(lambda b: mmd(source, target, bandwidth=b))
    for width in (1e-12, 0.0):
        np.testing.assert_allclose(f(np.float32(width)), 5 * (1 / 7 + 1 / 9), rtol=1e-6)


def test_a_bandwidth_that_is_not_a_number_when_traced():
    source, target = two(22, dtype=np.float32)
    assert np.isnan(quickly(lambda b: mmd(source, target, bandwidth=b))(np.float32(np.nan)))


def test_dtypes():
    source, target = two(23)
    half = jnp.asarray(source, jnp.bfloat16), jnp.asarray(target, jnp.bfloat16)
    value = mmd(*half)
    assert value.dtype == jnp.float32
    expected = reference_mmd(*(np.asarray(z, np.float64) for z in half))
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    gradient = jax.grad(mmd)(*half)
    assert gradient.dtype == jnp.bfloat16
    with jax.enable_x64(True):
        assert mmd(source, target).dtype == jnp.float64


# Memory


@pytest.mark.slow
@pytest.mark.parametrize("second", [False, True])
def test_memory_stays_far_below_one_kernel_matrix(second):
    """Compiled, not run."""
    n, d = 8192, 32
    points = jax.ShapeDtypeStruct((n, d), jnp.float32)

    def gradient(x, y):
        return jax.grad(mmd, argnums=(0, 1))(x, y)

    def product(x, y, v):
        return jax.grad(lambda x: jnp.vdot(jax.grad(mmd)(x, y), v))(x)

    lowered = jax.jit(product).lower(points, points, points) if second else jax.jit(gradient).lower(points, points)  # fmt: skip
    taken = lowered.compile().memory_analysis().temp_size_in_bytes
    assert taken < 0.25 * 4 * n * n


# Devices


ON_DEVICES = [
    "biased",
    "unbiased",
    "linear",
    "energy",
    "joint",
    "local",
    "mean",
    "median",
]


@pytest.mark.parametrize(
    "name",
    [
        *ON_DEVICES,
        *(
            pytest.param(name, marks=pytest.mark.thorough)
            for name in ACROSS
            if name not in ON_DEVICES
        ),
    ],
)
def test_shards_equal_the_whole(name):
    found = spread(name, lambda f, **options: quickly(jax.vmap(f, **options)))
    assert_shards(*found)


def assert_shards(found, whole):
    (values, gradients), (value, gradient) = found, whole
    assert np.asarray(values).shape == (4,)
    for mine, expected in ((values, value), (gradients, gradient)):
        close = 1e-6 * max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(mine, np.broadcast_to(expected, np.shape(mine)), atol=close)
    assert np.abs(gradient).max() > 0.1


@pytest.fixture(scope="module")
def on_four_devices():
    """What four devices and one say, out of a process of its own that has four."""
    program = f"""
import json, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import jax, numpy as np
from mmd_references import spread
assert jax.device_count() == 4
listed = lambda tree: jax.tree.map(lambda leaf: np.asarray(leaf).tolist(), tree)
print(json.dumps({{name: listed(spread(name, jax.pmap)) for name in {ON_DEVICES!r}}}))
"""
    flags = "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"
    clean = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    extra = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    extra["PYTHONPATH"] = os.pathsep.join(reversed([p for p in paths if p]))
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=clean | extra,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("name", ON_DEVICES)
def test_four_devices_equal_one(name, on_four_devices):
    assert_shards(*on_four_devices[name])


# Mistakes


def test_mistakes():
    assert_mistakes_are_refused(mmd)
    for estimator in ESTIMATORS[1:]:
        assert_mistakes_are_refused(
            lambda *samples, estimator=estimator, **weights: mmd(
                *samples, estimator=estimator, **weights
            ),
            least=2,
        )


POINTS = two(24, dtype=np.float32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": "gauss"}, "kernel must be one of gaussian, laplace_l1.*it is 'gauss'"),
        ({"kernel": GaussianKernel}, "kernel must be one of gaussian"),
        ({"kernel": None}, "kernel must be one of gaussian.*it is None"),
        ({"estimator": "best"}, "estimator must be one of biased, unbiased.*it is 'best'"),
        ({"bandwidth": "auto"}, "bandwidth must be .*mean, mean_with_gradient.*it is 'auto'"),
        ({"bandwidth": 0.0}, "bandwidth must be a positive number"),
        ({"bandwidth": -2}, "bandwidth must be a positive number"),
        ({"bandwidth": np.nan}, "bandwidth must be a positive number"),
        ({"bandwidth": np.inf}, "bandwidth must be a positive number"),
        ({"bandwidth": jnp.array(-1.0)}, "bandwidth must be a positive number"),
        ({"bandwidth": np.ones(2)}, "bandwidth must be a positive number"),
        ({"bandwidth": None}, "bandwidth must be .*it is None"),
        ({"block_size": 0}, "block_size must be a positive integer"),
        ({"block_size": 2.5}, "block_size must be a positive integer"),
        ({"precision": "most"}, "precision must be .*it is 'most'"),
        ({"source_weights": np.ones((7, 1))}, r"source_weights must hold one weight .*\(7, 1\)"),
        ({"target_weights": np.full(9, np.nan)}, "target_weights must be finite"),
        ({"target_weights": np.full(9, np.inf)}, "target_weights must be finite"),
    ],
)  # fmt: skip
def test_options_that_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        mmd(*POINTS, **options)


def test_shapes_and_names_are_checked_when_traced():
    source, target = POINTS
    for f, message in [
        (lambda x: mmd(x, target[:, :2]), "same number of features"),
        (lambda x: mmd(x[0], target), "source must be an array"),
        (lambda x: mmd(x[:1], target, estimator="unbiased"), "source must hold at least 2 points"),
        (lambda x: mmd(x, target, bandwidth="no"), "bandwidth must be"),
        (lambda x: mmd(x, target, bandwidth=x[0]), "bandwidth must be a positive number"),
        (lambda x: mmd(x, target, source_weights=x[:, :1]), "source_weights must hold one weight"),
    ]:
        with pytest.raises(ValueError, match=message):
            jax.jit(f)(source)


def test_a_python_number_is_checked_when_traced():
    source, target = POINTS
    with pytest.raises(ValueError, match="bandwidth must be a positive number"):
        jax.jit(lambda x: mmd(x, target, bandwidth=-1.0))(source)


def test_what_is_no_array_is_named():
    with pytest.raises((TypeError, ValueError), match="source"):
        mmd(None, POINTS[1])
    with pytest.raises(ValueError, match="target must be finite"):
        mmd(POINTS[0], np.full_like(POINTS[1], np.inf))


@pytest.mark.parametrize("rule", ["median_exact", "median_subsample", "median_source"])
def test_rules_that_need_one_device(rule):
    source, target = two(25, 8, 8, dtype=np.float32)

    def local(x, y):
        return mmd(x, y, bandwidth=rule, axis_name="batch")

    with pytest.raises(ValueError, match=rf"(?s){rule}.*axis_name|axis_name.*{rule}|device"):
        jax.vmap(local, axis_name="batch")(source.reshape(4, 2, 3), target.reshape(4, 2, 3))
