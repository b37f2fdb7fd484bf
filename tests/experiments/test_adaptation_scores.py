"""What a validation measures, beside scikit-learn and by its limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, recall_score

from jaxfer.experiments.adaptation_scores import (
    OPEN_SET,
    VALIDATORS,
    collapsed,
    keep_source_only,
    open_set_scores,
    validator_scores,
    with_classes,
)
from jaxfer.typing import Classification


def outputs(count, shift, seed, classes=3):
    draw = np.random.default_rng(seed)
    features = (draw.normal(size=(count, 4)) + shift).astype(np.float32)
    return Classification(features, draw.normal(size=(count, classes)).astype(np.float32))


def of_classes(classes, count):
    """Logits whose most probable classes are these."""
    return 4 * jnp.eye(count)[jnp.array(classes)]


def test_the_importance_weighted_scores_are_those_of_a_classifier_of_the_domains():
    source, target = outputs(60, 0.0, seed=0), outputs(40, 0.4, seed=1)
    labels = np.arange(60) % 3
    scores = jax.jit(validator_scores)(source, target, labels)
    assert set(scores) == set(VALIDATORS)
    both = np.concatenate([source.features, target.features]).astype(np.float64)
    weights = np.repeat([0.5 / 60, 0.5 / 40], [60, 40])
    mean = weights @ both
    scaled = (both - mean) / np.sqrt(weights @ (both - mean) ** 2)
    domains = LogisticRegression(C=100, tol=1e-10).fit(
        scaled, np.repeat([0, 1], [60, 40]), sample_weight=weights
    )
    ratios = np.exp(domains.decision_function(scaled[:60]))
    shares = np.exp(source.logits.astype(np.float64))
    shares /= shares.sum(1, keepdims=True)
    losses = -np.log(shares[np.arange(60), labels])
    assert log_loss(labels, shares) == pytest.approx(losses.mean())
    risk = (ratios * losses).mean()
    assert float(scores["importance_weighted"]) == pytest.approx(-risk, rel=1e-3)
    covariance = np.cov(ratios * losses, ratios)
    risk -= covariance[0, 1] / covariance[1, 1] * (ratios.mean() - 1)
    assert float(scores["deep_embedded"]) == pytest.approx(-risk, rel=1e-3)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([0, 1, 2, 0, 1, 2, 3, 3, 3, 3], False),  # agrees, and calls four unknown
        ([0, 1, 2, 0, 1, 2, 0, 1, 2, 0], False),  # never says unknown
        ([3, 3, 3, 3, 3, 3, 3, 3, 3, 3], True),
        ([0, 3, 3, 3, 3, 3, 3, 3, 3, 3], True),
        ([0, 0, 0, 0, 0, 0, 3, 3, 3, 3], True),  # one class and the unknown
        ([1, 2, 0, 1, 2, 0, 3, 3, 3, 3], True),  # known classes mixed up
    ],
)
def test_the_guard_counts_the_unknown_as_a_class_and_asks_agreement_of_the_known(said, expected):
    source_only = of_classes([0, 1, 2, 0, 1, 2, 0, 1, 2, 0], 3)
    assert bool(collapsed(of_classes(said, 4), source_only)) == expected


def test_the_guard_lets_a_partial_target_use_few_classes():
    few = of_classes([0, 1, 2, 3, 4] * 4, 10)
    assert bool(collapsed(few, few))
    assert not bool(collapsed(few, few, least_class_entropy=0.25))
    one = of_classes([0] * 20, 10)
    assert bool(collapsed(one, few, least_class_entropy=0.25))


@pytest.mark.parametrize("columns", [3, 4])
def test_open_set_scores_count_each_class_alike(columns):
    draw = np.random.default_rng(columns)
    labels = np.repeat([0, 2, 3], [30, 5, 12])  # class 1 does not occur
    logits = draw.normal(size=(len(labels), columns)).astype(np.float32)
    scores = jax.jit(lambda z, y: open_set_scores(z, y, unknown=3))(logits, labels)
    recalls = recall_score(labels, logits.argmax(1), labels=[0, 2, 3], average=None)
    expected = dict(zip(OPEN_SET, (recalls.mean(), recalls[:2].mean(), recalls[2]), strict=True))
    assert {name: float(value) for name, value in scores.items()} == pytest.approx(expected)
    assert columns == 4 or float(scores["target_unknown"]) == 0


def test_scores_of_an_open_set_that_died_are_not_numbers():
    logits = jnp.full((4, 3), jnp.nan)
    scores = jax.jit(lambda z: open_set_scores(z, jnp.arange(4), unknown=3))(logits)
    assert all(np.isnan(value) for value in scores.values())


def test_source_only_is_kept_run_by_run_and_says_unknown_of_nothing():
    ours, theirs = (
        jax.tree.map(lambda *runs: np.stack(runs), outputs(5, 0, 1, n), outputs(5, 0, 2, n))
        for n in (4, 3)
    )
    kept = keep_source_only(ours, theirs, jnp.array([True, False]))
    for mine, before, other in zip(kept, ours, theirs, strict=True):
        np.testing.assert_array_equal(mine[1], before[1])
        np.testing.assert_array_equal(mine[0, :, : other.shape[-1]], other[0])
    assert (kept.logits[0].argmax(-1) < 3).all()
    assert with_classes(theirs.logits, 3) is theirs.logits
