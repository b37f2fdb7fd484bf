"""CMD: against SciPy's moments, by its identities, and where its norms have no derivative."""

from functools import partial

import jax
import numpy as np
import pytest
from scipy import stats

from jaxfer.divergences import central_moment_discrepancy

from . import checks

WIDE = partial(central_moment_discrepancy, bounds=(-3.0, 4.0))


def reference(source, target, moments=5, bounds=(0.0, 1.0)):
    width = bounds[1] - bounds[0]
    total = np.linalg.norm(source.mean(0) - target.mean(0)) / width
    for k in range(2, moments + 1):
        difference = stats.moment(source, k, axis=0) - stats.moment(target, k, axis=0)
        total += np.linalg.norm(difference) / width**k
    return total


@pytest.mark.parametrize("moments", [1, 2, 5])
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-2, 3)])
def test_it_is_the_sum_of_distances_of_scipys_moments(moments, bounds, x64):
    source, target = checks.two(n=11, m=6, d=4)
    np.testing.assert_allclose(
        central_moment_discrepancy(source, target, moments=moments, bounds=bounds),
        reference(source, target, moments, bounds),
        rtol=1e-12,
    )


def test_defaults_are_five_moments_of_the_unit_interval(x64):
    source, target = checks.two()
    np.testing.assert_allclose(
        central_moment_discrepancy(source, target), reference(source, target), rtol=1e-12
    )


def test_means_apart_with_the_same_shape_leave_the_first_term_alone(x64):
    source, _ = checks.two()
    shift = np.array([3.0, 0.0, 4.0])
    np.testing.assert_allclose(WIDE(source, source + shift), 5 / 7, rtol=1e-12)


def test_the_gradient_where_all_but_the_mean_coincide():
    source, _ = checks.two(dtype=np.float32)
    shift = np.array([3.0, 0.0, 4.0], np.float32)
    gradient = jax.grad(WIDE)(source, source + shift)
    expected = np.tile(-shift / 5 / 7 / len(source), (len(source), 1))
    # Moments that are equal up to rounding still have norms with a direction.
    np.testing.assert_allclose(gradient.sum(0), expected.sum(0), rtol=1e-4, atol=1e-7)
    assert np.isfinite(gradient).all()


def test_a_mean_far_from_0_costs_no_digits():
    source, target = checks.two(n=200, m=300, d=4, dtype=np.float32)
    source, target = source + 1000, target + 1000
    expected = reference(source.astype(np.float64), target.astype(np.float64))
    np.testing.assert_allclose(central_moment_discrepancy(source, target), expected, rtol=1e-4)


def test_identities(x64):
    checks.assert_zero_at_equality(WIDE, smooth=False)
    checks.assert_symmetric(WIDE)
    checks.assert_order_is_of_no_account(WIDE)
    source, target = checks.two()
    scaled = central_moment_discrepancy(10 * source, 10 * target, bounds=(-30, 40))
    np.testing.assert_allclose(scaled, WIDE(source, target))


def test_weights(x64):
    checks.assert_weights_are_weights(WIDE)


def test_derivatives_and_transforms(x64):
    checks.assert_derivatives(WIDE)
    checks.assert_transforms(WIDE)


def test_degenerate_samples():
    checks.assert_finite_where_points_coincide(WIDE)
    checks.assert_an_empty_side_is_0(WIDE)
    checks.assert_half_precision_is_computed_in_float32(WIDE)


def test_shards_equal_the_whole(x64):
    checks.assert_shards_equal_the_whole(WIDE, atol=1e-9)


def test_mistakes_are_refused():
    checks.assert_mistakes_are_refused(WIDE)
    source, target = checks.two()
    cmd = partial(central_moment_discrepancy, source, target)
    with pytest.raises(ValueError, match="moments must be an integer of at least 1; it is 0"):
        cmd(moments=0)
    with pytest.raises(TypeError, match="moments must be an integer of at least 1; it is 2.0"):
        cmd(moments=2.0)
    with pytest.raises(TypeError, match="bounds must be two numbers"):
        cmd(bounds=1.0)
    with pytest.raises(ValueError, match=r"bounds must be \(least, greatest\)"):
        cmd(bounds=(1.0, 0.0))
    with pytest.raises(ValueError, match="each of bounds must be a finite number"):
        cmd(bounds=(0.0, np.inf))
    with pytest.raises(TypeError, match="each of bounds must be a number; it is 'a'"):
        cmd(bounds=("a", 1))
