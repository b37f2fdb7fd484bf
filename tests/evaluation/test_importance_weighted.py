"""Importance-weighted validation against NumPy, and where the target's risk is known."""

import jax
import numpy as np
import pytest
from sklearn.metrics import log_loss

from jaxfer.evaluation import deep_embedded_validation, importance_weighted_validation

from . import examples

LOGITS, LABELS = examples.labelled()
RATIOS = np.random.default_rng(2).gamma(2.0, 0.6, size=examples.N)


def losses_of(kind):
    if kind == "zero_one":
        return (LOGITS.argmax(-1) != LABELS).astype(float)
    rows = zip(LABELS, examples.softmax(LOGITS), strict=True)
    return np.array([log_loss([label], [row], labels=range(4)) for label, row in rows])


@pytest.mark.parametrize("kind", ["cross_entropy", "zero_one"])
def test_both_are_their_formula_in_numpy(kind, x64):
    weighted = RATIOS * losses_of(kind)
    found = importance_weighted_validation(LOGITS, LABELS, RATIOS, loss=kind)
    np.testing.assert_allclose(found, -weighted.mean(), rtol=1e-10)
    covariance = np.cov(weighted, RATIOS)
    eta = -covariance[0, 1] / covariance[1, 1]
    found = deep_embedded_validation(LOGITS, LABELS, RATIOS, loss=kind)
    expected = -(weighted.mean() + eta * RATIOS.mean() - eta)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    assert abs(expected + weighted.mean()) > 1e-3


@pytest.mark.parametrize("score", [importance_weighted_validation, deep_embedded_validation])
def test_weights_and_mistakes(score, x64):
    examples.assert_weights_are_weights(score, LOGITS, LABELS, RATIOS)
    examples.assert_mistakes_are_refused(score, LOGITS, LABELS, RATIOS)
    examples.assert_wrong_labels_are_refused(score, LOGITS, LABELS, RATIOS)
    with pytest.raises(ValueError, match="loss must be 'cross_entropy' or 'zero_one'; it is 'mse'"):
        score(LOGITS, LABELS, RATIOS, loss="mse")
    with pytest.raises(ValueError, match=r"density_ratios must hold one ratio .*\(12,\)"):
        score(LOGITS, LABELS, RATIOS[1:])
    with pytest.raises(ValueError, match="density_ratios must not be negative; exponentiate"):
        score(LOGITS, LABELS, -RATIOS)


def test_ratios_of_1_leave_the_risk_of_the_source(x64):
    # With nothing to control for, the control variate is left out rather than 0 / 0.
    for value in (1.0, 1 / 3):
        ratios = np.full(examples.N, value)
        expected = -value * losses_of("cross_entropy").mean()
        for score in (importance_weighted_validation, deep_embedded_validation):
            np.testing.assert_allclose(score(LOGITS, LABELS, ratios), expected, rtol=1e-10)


def test_they_estimate_the_risk_of_the_target_and_the_second_varies_less():
    # Source N(0, 1), target N(1, 1), the label 1 above 0.5, and a network that never says so.
    draw = np.random.default_rng(0)
    source, target = draw.normal(size=(200, 400)), draw.normal(size=100_000) + 1
    true_risk = np.mean(target > 0.5)

    def both(x, y, ratios):
        logits = x[:, None] * 0 + np.array([1, 0], np.float32)
        return [
            score(logits, y, ratios, loss="zero_one")
            for score in (importance_weighted_validation, deep_embedded_validation)
        ]

    x = source.astype(np.float32)
    plain, controlled = jax.jit(jax.vmap(both))(x, (x > 0.5).astype(int), np.exp(x - 0.5))
    assert abs(-np.mean(plain) - true_risk) < 0.02
    assert abs(-np.mean(controlled) - true_risk) < 0.02
    assert np.std(controlled) < 0.6 * np.std(plain)
    assert abs(np.mean(x > 0.5) - true_risk) > 0.3  # unweighted it is another number


def test_a_run_that_went_wrong_shows_and_no_example_is_0():
    def both(logits, w):
        return [
            score(logits, LABELS, RATIOS.astype(np.float32), loss=kind, weights=w)
            for score in (importance_weighted_validation, deep_embedded_validation)
            for kind in ("cross_entropy", "zero_one")
        ]

    both = jax.jit(both)
    broken = LOGITS.astype(np.float32)
    broken[1] = np.nan
    assert np.isnan(both(broken, np.ones(examples.N, np.float32))).all()
    np.testing.assert_array_equal(
        both(LOGITS.astype(np.float32), np.zeros(examples.N, np.float32)), 0
    )
