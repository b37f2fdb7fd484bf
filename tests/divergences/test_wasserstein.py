"""Wasserstein distances without a solver: against SciPy, POT, linear programming and closed forms."""

import os
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, stats

from jaxfer.divergences import sliced_wasserstein, wasserstein_1d

from . import checks

# POT looks for every array library there is; of those, only NumPy is used here.
os.environ.update({f"POT_BACKEND_DISABLE_{name}": "1" for name in ("PYTORCH", "JAX", "CUPY")})
import ot  # noqa: E402

KEY = jax.random.key(0)
SLICED = partial(sliced_wasserstein, key=KEY, projections=5)


def linear_program(source, target, a, b, p):
    """The cheapest of all plans, found without sorting."""
    n, m = len(source), len(target)
    cost = np.abs(source[:, None] - target) ** p
    rows, columns = np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))
    marginals = np.concatenate([a / a.sum(), b / b.sum()])
    return optimize.linprog(cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=marginals).fun


@pytest.mark.parametrize("sizes", [(7, 9), (1, 5)])
def test_p_1_is_scipys(sizes, x64):
    source, target = checks.two(n=sizes[0], m=sizes[1], d=None)
    a, b = checks.weights(1, sizes[0]), checks.weights(2, sizes[1])
    np.testing.assert_allclose(
        wasserstein_1d(source, target, p=1), stats.wasserstein_distance(source, target), rtol=1e-12
    )
    np.testing.assert_allclose(
        wasserstein_1d(source, target, p=1, source_weights=a, target_weights=b),
        stats.wasserstein_distance(source, target, a, b),
        rtol=1e-12,
    )


@pytest.mark.parametrize("p", [1, 1.5, 2, 4.0])
def test_any_p_is_pots_and_the_cheapest_plan(p, x64):
    source, target = checks.two(n=6, m=8, d=None)
    a, b = checks.weights(1, 6), checks.weights(2, 8)
    found = wasserstein_1d(source, target, p=p, source_weights=a, target_weights=b)
    np.testing.assert_allclose(
        found, ot.wasserstein_1d(source, target, a / a.sum(), b / b.sum(), p=p), rtol=1e-12
    )
    np.testing.assert_allclose(found, linear_program(source, target, a, b, p), rtol=1e-7)


def test_closed_forms(x64):
    source, _ = checks.two(n=40, d=None)
    shifted = source[::-1] + 3.0
    np.testing.assert_allclose(wasserstein_1d(source, shifted), 9)
    np.testing.assert_allclose(wasserstein_1d(source, shifted, p=3), 27)
    np.testing.assert_allclose(
        wasserstein_1d(source, 2 * source), np.mean(np.square(source)), rtol=1e-12
    )


def test_many_points_with_weights_in_float32():
    source, target = checks.two(n=20_000, m=30_000, d=None, dtype=np.float32)
    a, b = checks.weights(1, 20_000), checks.weights(2, 30_000)
    expected = ot.wasserstein_1d(
        source.astype(np.float64), target.astype(np.float64), a / a.sum(), b / b.sum(), p=2
    )
    found = wasserstein_1d(source, target, source_weights=a, target_weights=b)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize(
    "p",
    [1, pytest.param(1.5, marks=pytest.mark.thorough), pytest.param(2, marks=pytest.mark.thorough)],
)
def test_contract_on_the_line(p, x64):
    f = partial(wasserstein_1d, p=p)
    # A gradient of p=1 has the size of a weight however close two points are.
    checks.assert_zero_at_equality(f, d=None, smooth=p > 1)
    checks.assert_symmetric(f, d=None)
    checks.assert_order_is_of_no_account(f, d=None)
    checks.assert_weights_are_weights(f, d=None)
    if p == 2:
        checks.assert_derivatives(f, d=None)
        checks.assert_transforms(f, d=None)


@pytest.mark.parametrize("p", [1, pytest.param(1.5, marks=pytest.mark.thorough), 2])
def test_degenerate_samples(p):
    f = partial(wasserstein_1d, p=p)
    checks.assert_finite_where_points_coincide(f, d=None)
    checks.assert_an_empty_side_is_0(f, d=None)


def test_an_absent_point_may_stand_anywhere():
    """Its power would overflow, and infinity times a weight of 0 be NaN."""
    source, target = checks.two(d=None, dtype=np.float32)
    a = np.ones(len(source), np.float32)
    a[2] = 0
    expected = wasserstein_1d(source, target, source_weights=a)
    source[2] = 1e30
    value, gradient = jax.value_and_grad(partial(wasserstein_1d, source_weights=a))(source, target)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert np.isfinite(gradient).all() and gradient[2] == 0


def test_half_precision_is_computed_in_float32():
    checks.assert_half_precision_is_computed_in_float32(wasserstein_1d, d=None)


def test_the_second_derivative_at_equality():
    """Of the mean of squares: 2 / n on the diagonal, for a float too."""
    points = np.array([0.0, 1.0, 3.0], np.float32)
    for p in (2, 2.0):
        hessian = jax.hessian(partial(wasserstein_1d, p=p))(points, points)
        np.testing.assert_allclose(hessian, 2 / 3 * np.eye(3), atol=1e-6)


@pytest.mark.slow
def test_sliced_is_pots_on_the_same_directions(x64):
    source, target = checks.two(n=11, m=6, d=4)
    a, b = checks.weights(1, 11), checks.weights(2, 6)
    directions = np.asarray(jax.random.normal(KEY, (5, 4), np.float64))
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    for p in (1, 2):
        for both in ((None, None), (a / a.sum(), b / b.sum())):
            found = SLICED(source, target, p=p, source_weights=both[0], target_weights=both[1])
            expected = ot.sliced_wasserstein_distance(
                source, target, *both, p=p, projections=directions.T
            )
            np.testing.assert_allclose(found, expected**p, rtol=1e-10)


def test_sliced_on_a_line_is_the_distance_itself(x64):
    source, target = checks.two(d=1)
    np.testing.assert_allclose(
        SLICED(source, target), wasserstein_1d(source[:, 0], target[:, 0]), rtol=1e-12
    )


def test_sliced_of_a_shift_has_the_mean_over_the_sphere():
    """The mean of a squared coordinate of a unit vector is 1 / d."""
    source, _ = checks.two(d=3, dtype=np.float32)
    shift = np.array([1.0, -2.0, 2.0], np.float32)
    found = sliced_wasserstein(source, source + shift, key=KEY, projections=20_000)
    np.testing.assert_allclose(found, 9 / 3, rtol=0.02)
    other = sliced_wasserstein(source, source + shift, key=jax.random.key(1), projections=20_000)
    assert found != other


@pytest.mark.slow
def test_sliced_contract(x64):
    checks.assert_weights_are_weights(SLICED)
    checks.assert_derivatives(SLICED, second=False)


@pytest.mark.slow
def test_sliced_identities_and_transforms(x64):
    checks.assert_zero_at_equality(SLICED)
    checks.assert_symmetric(SLICED)
    checks.assert_order_is_of_no_account(SLICED)
    checks.assert_derivatives(SLICED)
    checks.assert_transforms(SLICED)


@pytest.mark.slow
def test_sliced_degenerate_samples():
    checks.assert_finite_where_points_coincide(SLICED)
    checks.assert_an_empty_side_is_0(SLICED)
    checks.assert_half_precision_is_computed_in_float32(SLICED)


def test_mistakes_are_refused():
    checks.assert_mistakes_are_refused(wasserstein_1d, d=None)
    checks.assert_mistakes_are_refused(SLICED)
    source, target = checks.two(dtype=np.float32)
    with pytest.raises(ValueError, match="p must be a finite number of at least 1; it is 0.5"):
        SLICED(source, target, p=0.5)
    with pytest.raises(TypeError, match="p must be a Python number of at least 1"):
        wasserstein_1d(source[:, 0], target[:, 0], p=jnp.float32(2))
    with pytest.raises(ValueError, match="projections must be an integer of at least 1; it is 0"):
        SLICED(source, target, projections=0)
