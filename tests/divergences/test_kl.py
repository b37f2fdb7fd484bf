"""KL of Gaussian fits: against PyTorch, SciPy and closed forms. KL of logits: against SciPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from jaxfer.divergences import kl_gaussian, kl_logits

from . import checks, predictions

FULL = partial(kl_gaussian, ridge=0.1)
DIAGONAL = partial(kl_gaussian, ridge=0.1, covariance="diagonal")


def fit(sample, weights=None, ridge=0.0, covariance="full"):
    """Mean and covariance by NumPy, of maximum likelihood."""
    mean = np.average(sample, axis=0, weights=weights)
    found = np.cov(sample, rowvar=False, aweights=weights, ddof=0) + ridge * np.eye(len(mean))
    return mean, np.diag(np.diag(found)) if covariance == "diagonal" else found


def reference(source, target):
    """By the expectation of the log-ratio of SciPy's densities, exact for a quadratic."""
    (mean, cov), (other_mean, other_cov) = source, target
    # Points whose mean and covariance are exactly the source's.
    root = np.linalg.cholesky(cov) * np.sqrt(len(mean))
    points = np.concatenate([mean + root.T, mean - root.T])
    first = stats.multivariate_normal(mean, cov).logpdf(points)
    second = stats.multivariate_normal(other_mean, other_cov).logpdf(points)
    return np.mean(first - second)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_it_is_the_expected_log_ratio_of_scipys_densities(covariance, ridge, x64):
    source, target = checks.two(n=11, m=9, d=4)
    a, b = checks.weights(1, 11), checks.weights(2, 9)
    found = kl_gaussian(source, target, covariance=covariance, ridge=ridge)
    expected = reference(fit(source, None, ridge, covariance), fit(target, None, ridge, covariance))
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    found = kl_gaussian(
        source, target, covariance=covariance, ridge=ridge, source_weights=a, target_weights=b
    )
    expected = reference(fit(source, a, ridge, covariance), fit(target, b, ridge, covariance))
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_closed_forms(x64):
    square = np.array([[-1.0, -1], [-1, 1], [1, -1], [1, 1]])  # mean 0, covariance I
    exact = partial(kl_gaussian, ridge=0.0)
    np.testing.assert_allclose(exact(square, square + [3, 4]), 25 / 2)
    np.testing.assert_allclose(exact(2 * square, square), 4 - 1 - np.log(4))
    np.testing.assert_allclose(exact(square, 2 * square), 1 / 4 - 1 + np.log(4))
    # An invertible map of both changes nothing.
    source, target = checks.two(n=20, m=20)
    matrix = np.random.default_rng(2).normal(size=(3, 3))
    np.testing.assert_allclose(
        exact(source @ matrix, target @ matrix), exact(source, target), rtol=1e-8
    )
    # Features taken as independent: a sum over them.
    alone = [exact(source[:, [k]], target[:, [k]], covariance="diagonal") for k in range(3)]
    np.testing.assert_allclose(exact(source, target, covariance="diagonal"), sum(alone))


@pytest.mark.slow
@pytest.mark.parametrize(
    "f", [FULL, pytest.param(DIAGONAL, marks=pytest.mark.thorough)], ids=["full", "diagonal"]
)
def test_gaussian_contract(f, x64):
    checks.assert_zero_at_equality(f)
    checks.assert_order_is_of_no_account(f)
    checks.assert_weights_are_weights(f, rtol=1e-8, atol=1e-9)
    checks.assert_derivatives(f)
    checks.assert_transforms(f)
    checks.assert_shards_equal_the_whole(f, atol=1e-9)


@pytest.mark.parametrize(
    "covariance", ["diagonal", pytest.param("full", marks=pytest.mark.thorough)]
)
def test_degenerate_samples(covariance):
    f = partial(kl_gaussian, covariance=covariance)
    checks.assert_finite_where_points_coincide(f)
    checks.assert_an_empty_side_is_0(f)
    checks.assert_half_precision_is_computed_in_float32(f)


def test_fewer_points_than_features_in_float32():
    """The covariance has eigenvalues of 0 and of 4e4; the ridge is 1e-3."""
    source, target = checks.two(n=8, m=8, d=32, dtype=np.float32)
    source, target = 100 * source, 100 * target
    expected = reference(
        fit(source.astype(np.float64), ridge=1e-3), fit(target.astype(np.float64), ridge=1e-3)
    )
    value, gradient = checks.quickly(jax.value_and_grad(partial(kl_gaussian, ridge=1e-3)))(
        source, target
    )
    np.testing.assert_allclose(value, expected, rtol=1e-3)
    assert np.isfinite(gradient).all()


def test_a_mean_far_from_0_costs_no_digits():
    source, target = checks.two(n=200, m=300, d=4, dtype=np.float32)
    source, target = source + 1000, target + 1000
    expected = reference(fit(source.astype(np.float64)), fit(target.astype(np.float64)))
    np.testing.assert_allclose(kl_gaussian(source, target), expected, rtol=1e-4)


def test_gaussian_mistakes_are_refused():
    checks.assert_mistakes_are_refused(kl_gaussian)
    source, target = checks.two(n=2, dtype=np.float32)
    with pytest.raises(ValueError, match="covariance must be 'full' or 'diagonal'; it is 'diag'"):
        kl_gaussian(source, target, covariance="diag")
    with pytest.raises(ValueError, match="ridge must be a finite number of at least 0; it is -1"):
        kl_gaussian(source, target, ridge=-1)
    with pytest.raises(ValueError, match="is singular, .* raise ridge, which is 0"):
        kl_gaussian(source, target, ridge=0)
    with pytest.raises(ValueError, match="is singular, .* raise ridge, which is 0"):
        kl_gaussian(source[:1], target, ridge=0, covariance="diagonal")


def test_logits_are_those_of_scipys_relative_entropy(x64):
    z, other = predictions.logits(batch=50, classes=6)
    for temperature in (1.0, 2.5):
        p, q = (special.softmax(x / temperature, axis=-1) for x in (z, other))
        found = kl_logits(z, other, temperature=temperature)
        np.testing.assert_allclose(found, stats.entropy(p, q, axis=-1), rtol=1e-10)


def test_hand_computed_logits():
    value = kl_logits(jnp.array([1e4, -1e4, -1e4]), jnp.array([-1e4, 1e4, -1e4]))
    np.testing.assert_allclose(value, 2e4, rtol=1e-6)
    # A class that only the second believes in costs what it takes from the others.
    value = kl_logits(jnp.array([0.0, -1e4]), jnp.array([0.0, 0.0]))
    np.testing.assert_allclose(value, np.log(2), rtol=1e-6)


def test_close_predictions_lose_no_digits():
    """In float32, where the sum of p ln (p / q) is noise and can be less than 0."""
    z, other = predictions.logits(batch=50, scale=1.0, dtype=np.float32)
    close = z + np.float32(1e-3) * other
    first, second = (x.astype(np.float64) for x in (z, close))
    expected = stats.entropy(special.softmax(first, -1), special.softmax(second, -1), axis=-1)
    assert expected.max() < 1e-5
    np.testing.assert_allclose(kl_logits(z, close), expected, rtol=5e-3)
    assert (kl_logits(z, close) > 0).all()


def test_logits_contract(x64):
    predictions.assert_one_number_an_example(kl_logits)
    predictions.assert_where_is_slicing(kl_logits)
    predictions.assert_zero_at_equality(kl_logits)
    predictions.assert_derivatives(kl_logits)


def test_extreme_logits():
    predictions.assert_finite_for_extreme_logits(kl_logits)


def test_a_temperature_can_be_traced():
    z, other = predictions.logits(dtype=np.float32)
    found = jax.jit(lambda t: kl_logits(z, other, temperature=t))(2.0)
    np.testing.assert_allclose(found, kl_logits(z / 2, other / 2), rtol=1e-6)
