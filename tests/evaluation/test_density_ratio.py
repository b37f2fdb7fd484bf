"""Density ratios against scikit-learn's logistic regression, and where they are known."""

import jax
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from jaxfer.evaluation import domain_density_ratio


def two(n=30, m=43, d=4, *, shift=0.7, seed=0):
    """Two samples whose features differ in unit and depend on each other."""
    draw = np.random.default_rng(seed)
    mix = (np.eye(d) + 0.3 * draw.normal(size=(d, d))) * 10.0 ** draw.uniform(-2, 2, size=d)
    return 5 + draw.normal(size=(n, d)) @ mix, 5 + (draw.normal(size=(m, d)) + shift) @ mix


def scikit_learn(source, target, a, b, at, l2):
    x, y = np.concatenate([source, target]), np.repeat([0, 1], [len(source), len(target)])
    w = np.concatenate([a / a.sum(), b / b.sum()]) / 2
    scaler = StandardScaler().fit(x, sample_weight=w)
    model = LogisticRegression(C=1 / l2, tol=1e-12, max_iter=10_000)
    model.fit(scaler.transform(x), y, sample_weight=w)
    return np.exp(model.decision_function(scaler.transform(at)))


def test_it_is_scikit_learns_logistic_regression(x64):
    source, target = two()
    draw = np.random.default_rng(1)
    a, b = draw.uniform(0.5, 3, size=30), draw.uniform(0.5, 3, size=43)
    a[3] = b[4] = 0
    at = two(shift=0.2)[1][:30]
    for l2 in (0.01, 1.0):
        ratios, info = domain_density_ratio(
            source, target, at=at, l2=l2, source_weights=a, target_weights=b, tolerance=1e-11
        )
        expected = scikit_learn(source, target, a, b, at, l2)
        np.testing.assert_allclose(ratios, expected, rtol=1e-5)
        assert info.converged and expected.max() / expected.min() > 1.3
        np.testing.assert_allclose(info.log_ratios, np.log(ratios), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(at @ info.slope + info.intercept, info.log_ratios, rtol=1e-8)
        effective = ratios.sum() ** 2 / (ratios**2).sum()
        np.testing.assert_allclose(info.effective_sample_size, effective, rtol=1e-10)
    ratios, _ = domain_density_ratio(source, target, tolerance=1e-11)
    expected = scikit_learn(source, target, np.ones(30), np.ones(43), source, 0.01)
    np.testing.assert_allclose(ratios, expected, rtol=1e-5)


def test_in_single_precision_it_is_nearly_the_same():
    source, target = (x.astype(np.float32) for x in two())
    ratios, info = domain_density_ratio(source, target)
    expected = scikit_learn(source, target, np.ones(30), np.ones(43), source, 0.01)
    assert info.converged and ratios.dtype == np.float32
    np.testing.assert_allclose(ratios, expected, rtol=1e-2)


def test_of_two_gaussians_it_is_their_ratio():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(20_000, 1)).astype(np.float32)
    ratios, info = domain_density_ratio(x, x[:7000] + 1, at=np.float32([[-1], [0], [2]]), l2=1e-4)
    np.testing.assert_allclose(ratios, np.exp([-1.5, -0.5, 1.5]), rtol=0.1)
    assert 1 < info.effective_sample_size < 3


def test_far_apart_and_all_the_same_and_empty_samples_are_finite():
    source, target = (x.astype(np.float32) for x in two(shift=1000.0))
    measure = jax.jit(lambda x, y, w: domain_density_ratio(x, y, source_weights=w, l2=1e-4))
    ones = np.ones(30, np.float32)
    ratios, info = measure(source, target, ones)
    assert np.isfinite(ratios).all() and ratios.max() < 0.1 and info.converged
    for x, y, w in ((0 * source + 0.1, 0 * target + 0.1, ones), (source, target, 0 * ones)):
        ratios, info = measure(x, y, w)
        np.testing.assert_allclose(ratios, 1, rtol=1e-5)
        np.testing.assert_allclose(info.effective_sample_size, 30, rtol=1e-5)


def test_runs_side_by_side():
    sources, targets = (
        np.stack(x).astype(np.float32) for x in zip(two(), two(seed=1), strict=True)
    )
    together, info = jax.jit(jax.vmap(domain_density_ratio))(sources, targets)
    assert info.converged.all()
    for ratios, source, target in zip(together, sources, targets, strict=True):
        np.testing.assert_allclose(ratios, domain_density_ratio(source, target)[0], rtol=1e-3)


def test_what_did_not_converge_is_said():
    _, info = domain_density_ratio(*two(), max_iterations=1)
    assert not info.converged and info.iterations == 1


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"l2": 0.0}, ValueError, "l2 must be a finite number above 0"),
        ({"tolerance": "small"}, TypeError, "tolerance must be a number"),
        ({"max_iterations": 0}, ValueError, "max_iterations must be an integer of at least 1"),
        ({"target_features": np.zeros((4, 3))}, ValueError, "same number of features"),
        ({"source_features": np.full((4, 2), np.nan)}, ValueError, "source must be finite"),
        ({"at": np.zeros((4, 3))}, ValueError, r"at must be an array \[k, 2\], with the features"),
        ({"at": np.zeros((4, 2), int)}, TypeError, "at must be of floating point"),
    ],
)
def test_what_makes_no_sense(change, error, message):
    arguments = {"source_features": np.zeros((6, 2)), "target_features": np.zeros((4, 2))}
    with pytest.raises(error, match=message):
        domain_density_ratio(**(arguments | change))
