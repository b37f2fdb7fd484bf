"""Bandwidth rules against all pairs by hand; weights; ties; large samples; devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import pdist

from jaxfer import kernel_bandwidth, mmd

from .mmd_references import (
    DISTANCES,
    bandwidth,
    differences,
    quickly,
    run,
    squared_l2,
    two,
    weights,
)

MEANS = ("mean", "mean_with_gradient", "mean_off_diagonal")
MEDIANS = ("median", "median_exact", "median_bisection", "median_subsample")
RULES = (*MEANS, *MEDIANS, "median_source", "features")
CLOSE = {"median_bisection": 1e-7}


@pytest.mark.parametrize(
    ("kernel", "rule"),
    [
        *(("gaussian", rule) for rule in RULES),
        *(("laplace_l1", rule) for rule in ("mean_with_gradient", "median", "median_bisection")),
        *(("laplace_l2", rule) for rule in ("mean", "median_source", "median_bisection")),
        ("rational_quadratic", "mean"),
    ],
)
def test_value(rule, kernel, x64):
    source, target = two(n=6, m=9)  # 105 pairs: an odd number
    found = run(kernel_bandwidth, source, target, rule=rule, kernel=kernel)
    expected = bandwidth(rule, source, target, DISTANCES[kernel])
    np.testing.assert_allclose(found, expected, rtol=CLOSE.get(rule, 1e-11))


@pytest.mark.parametrize("rule", MEDIANS)
def test_the_median_of_an_even_number_of_pairs(rule, x64):
    """Half way between the middle two; by bisection the lower of them."""
    source, target = two(1, 7, 9)  # 120 pairs
    found = run(kernel_bandwidth, source, target, rule=rule)
    expected = bandwidth(rule, source, target)
    if rule == "median_bisection":
        points = np.concatenate([source, target])
        apart = ((points[:, None] - points) ** 2).sum(-1)[np.triu_indices(16, 1)]
        expected = np.sort(apart)[59]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("n", [4, 5])
def test_the_median_of_the_source_is_the_lower_one_with_the_diagonal(n):
    points = 2.0 ** np.arange(n, dtype=np.float32)[:, None]
    found = kernel_bandwidth(points, points[:1] + 100, rule="median_source")
    assert found == np.sort(squared_l2(points, points), axis=None)[(n * n - 1) // 2]


@pytest.mark.parametrize("rule", RULES)
def test_single_precision_far_from_the_origin(rule):
    source, target = two(2, 20, 30, 8)
    source, target = ((z + 1e3).astype(np.float32) for z in (source, target))
    found = run(kernel_bandwidth, source, target, rule=rule)
    assert found.dtype == jnp.float32 and found.shape == ()
    expected = bandwidth(rule, source.astype(float), target.astype(float))
    # 1225 pairs lie about 1e-3 apart where the median is.
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("rule", MEANS)
def test_means_with_weights(rule, x64):
    source, target = two(3)
    a, b = weights(1, 7), weights(2, 9)
    expected = bandwidth(rule, source, target, p=a, q=b)
    f = quickly(
        lambda a, b: kernel_bandwidth(source, target, rule=rule, source_weights=a, target_weights=b)
    )
    for scale in (1, 100):
        found = f(scale * a, b / scale)
        np.testing.assert_allclose(found, expected, rtol=1e-11)


@pytest.mark.parametrize("rule", [*MEDIANS, "median_source"])
def test_half_of_the_weight_lies_below_a_weighted_median(rule, x64):
    source, target = two(4, 13, 11)
    a, b = weights(1, 13), weights(2, 11)
    f = quickly(
        lambda a, b: kernel_bandwidth(source, target, rule=rule, source_weights=a, target_weights=b)
    )
    found = f(a, b)
    if rule == "median_source":
        pairs, mass = squared_l2(source, source), np.outer(a, a)
    else:
        z = np.concatenate([source, target])
        r = np.concatenate([13 * a / a.sum(), 11 * b / b.sum()])
        upper = np.triu_indices(24, 1)
        pairs, mass = squared_l2(z, z)[upper], np.outer(r, r)[upper]
    below = mass[pairs < found * (1 - 1e-6)].sum() / mass.sum()
    above = mass[pairs > found * (1 + 1e-6)].sum() / mass.sum()
    assert below <= 0.5 and above <= 0.5
    assert abs(found - f(np.ones(13), np.ones(11))) > 1e-6


@pytest.mark.parametrize("rule", RULES)
def test_weights_of_zero_slice_the_points_away(rule, x64):
    source, target = two(5, 10, 9)
    a, b = np.ones(10), np.ones(9)
    a[[0, 4]], b[[3, 8]] = 0, 0
    expected = bandwidth(rule, source[a > 0], target[b > 0])  # 105 pairs
    source[4], target[8] = 1e3, -1e3

    def f(a, b):
        return kernel_bandwidth(source, target, rule=rule, source_weights=a, target_weights=b)

    close = CLOSE.get(rule, 1e-10)
    np.testing.assert_allclose(quickly(f)(5 * a, b), expected, rtol=close)
    if rule in ("mean", "median"):
        np.testing.assert_allclose(f(a, b), expected, rtol=close)


@pytest.mark.parametrize("rule", RULES)
def test_gradient(rule, x64):
    source, target = two(6, 6, 5)
    found = quickly(jax.grad(lambda x: kernel_bandwidth(x, target, rule=rule)))(source)
    if rule == "mean_with_gradient":
        expected = differences(lambda x: bandwidth(rule, x, target), source)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)
        hessian = quickly(jax.hessian(lambda x: kernel_bandwidth(x, target, rule=rule)))(source)
        # Of sum (x_i - x_j)^2 / N^2 over all ordered pairs.
        within = 4 * (11 * np.eye(6) - np.ones((6, 6))) / 121
        np.testing.assert_allclose(
            hessian, np.einsum("ij,kl->ikjl", within, np.eye(3)), atol=1e-9
        )  # fmt: skip
    else:
        np.testing.assert_array_equal(found, np.zeros_like(source))


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "features"])
def test_one_where_all_points_are_equal(rule):
    bandwidth_of = quickly(
        lambda x, y: jax.value_and_grad(lambda x: kernel_bandwidth(x, y, rule=rule))(x)
    )
    for at in (0.0, 1.0, 0.1, -7.3, 1e4, 1e6):
        x, y = np.full((6, 3), at, np.float32), np.full((7, 3), at, np.float32)
        value, gradient = bandwidth_of(x, y)
        assert value == 1, at
        assert not np.asarray(gradient).any()


@pytest.mark.parametrize("rule", ["median", "median_bisection"])
@pytest.mark.parametrize("kernel", ["gaussian", "laplace_l2"])
def test_mmd_is_finite_where_most_distances_are_zero(kernel, rule):
    source = np.zeros((6, 2), np.float32)
    target = np.zeros((7, 2), np.float32)
    target[0] = 3.0
    value, gradient = quickly(
        lambda x, y: jax.value_and_grad(lambda x: mmd(x, y, kernel=kernel, bandwidth=rule))(x)
    )(source, target)
    assert np.isfinite(value) and value > 0
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "features"])
def test_nan_stays_nan_when_traced(rule):
    source, target = two(7, dtype=np.float32)
    source[2, 1] = np.nan
    assert np.isnan(quickly(lambda x: kernel_bandwidth(x, target, rule=rule))(source))


@pytest.mark.slow
def test_a_subsample_is_exact_up_to_its_size_and_near_above():
    source, target = two(7, 1500, 900, 2, np.float32)
    exact = np.median(pdist(np.concatenate([source, target]).astype(float), "sqeuclidean"))

    def of(seed):
        key = None if seed is None else jax.random.key(seed)
        return float(kernel_bandwidth(source, target, rule="median_subsample", key=key))

    found = [of(seed) for seed in range(3)]
    assert len(set(found)) == 3
    np.testing.assert_allclose(found, exact, rtol=0.1)
    assert of(1) == found[1]
    assert of(None) == found[0]
    np.testing.assert_allclose(kernel_bandwidth(source, target, rule="median"), exact, rtol=1e-5)


@pytest.mark.slow
def test_the_median_of_many_points():
    """Above 4096 points it is found by division of an interval."""
    source, target = two(8, 2300, 1900, 2, np.float32)
    z = np.concatenate([source, target]).astype(float)
    expected = np.median(pdist(z, "sqeuclidean"))
    np.testing.assert_allclose(kernel_bandwidth(source, target, rule="median"), expected, rtol=1e-5)


def test_vmap(x64):
    pairs = [two(seed, 6, 9) for seed in range(3)]
    source, target = (np.stack(side) for side in zip(*pairs, strict=True))
    for rule in ("mean", "median", "median_bisection"):
        found = quickly(
            jax.vmap(lambda x, y, rule=rule: kernel_bandwidth(x, y, rule=rule))
        )(source, target)  # fmt: skip
        np.testing.assert_allclose(found, [bandwidth(rule, x, y) for x, y in pairs], rtol=1e-7)


@pytest.mark.parametrize("rule", ["mean", "mean_off_diagonal", "median", "features"])
def test_shards_have_the_bandwidth_of_the_whole(rule):
    source, target = two(9, 8, 12, dtype=np.float32)
    local = jax.vmap(
        lambda x, y: kernel_bandwidth(x, y, rule=rule, axis_name="batch"), axis_name="batch"
    )
    found = quickly(local)(source.reshape(4, -1, 3), target.reshape(4, -1, 3))
    expected = bandwidth(rule, source, target)
    if rule == "median":  # of an even number of pairs the lower one
        points = np.concatenate([source, target]).astype(float)
        expected = np.sort(((points[:, None] - points) ** 2).sum(-1)[np.triu_indices(20, 1)])[94]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("rule", ["median_exact", "median_subsample", "median_source"])
def test_rules_that_cannot_be_computed_across_devices(rule):
    source, target = two(10, 8, 8, dtype=np.float32)

    def local(x, y):
        return kernel_bandwidth(x, y, rule=rule, axis_name="batch")

    with pytest.raises(ValueError, match=rule):
        jax.vmap(local, axis_name="batch")(source.reshape(4, 2, 3), target.reshape(4, 2, 3))


def test_mistakes():
    source, target = two(11, dtype=np.float32)
    with pytest.raises(ValueError, match="(?s)rule must be one of mean.*it is 'auto'"):
        kernel_bandwidth(source, target, rule="auto")
    with pytest.raises(ValueError, match="(?s)rule must be one of mean.*it is 2"):
        kernel_bandwidth(source, target, rule=2.0)
    with pytest.raises(ValueError, match="kernel must be one of"):
        kernel_bandwidth(source, target, kernel="gauss")
    with pytest.raises(TypeError, match="source must be of floating point"):
        kernel_bandwidth(source.astype(int), target)
    with pytest.raises(ValueError, match="source must be an array"):
        kernel_bandwidth(source[0], target)
    with pytest.raises(ValueError, match="same number of features"):
        kernel_bandwidth(source[:, 1:], target)
    with pytest.raises(ValueError, match="target must be finite"):
        kernel_bandwidth(source, np.full_like(target, np.nan))
    with pytest.raises(ValueError, match="source_weights must be finite and not negative"):
        kernel_bandwidth(source, target, source_weights=-np.ones(7))
    with pytest.raises(ValueError, match="target_weights must hold at least 1 above 0"):
        kernel_bandwidth(source, target, target_weights=np.zeros(9))
