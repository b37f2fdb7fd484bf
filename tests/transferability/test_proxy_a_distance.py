"""Proxy A-distance against scikit-learn on the same folds, and where its value is known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from jaxfer.transferability import proxy_a_distance

KEY = jax.random.key(0)


def two(n=43, m=62, d=5, *, shift=0.0, seed=0):
    """Two samples whose features differ in unit and depend on each other.

    Most tests take the same sizes and four folds, which are compiled once.
    """
    draw = np.random.default_rng(seed)
    mix = np.eye(d) + 0.5 * draw.normal(size=(d, d)) / np.sqrt(d)
    units = 10.0 ** draw.uniform(-2, 2, size=d)
    x, y = draw.normal(size=(n, d)) @ mix, draw.normal(size=(m, d)) @ mix + shift
    return 5 + x * units, 5 + y * units


def scikit_learn(source, target, info, l2):
    """Held-out log-odds, and the share of wrong answers of each side in each fold."""
    x = np.concatenate([source, target])
    y = np.repeat([1, 0], [len(source), len(target)])
    folds = np.concatenate([info.source_folds, info.target_folds])
    odds, errors = np.empty(len(x)), []
    for fold in range(folds.max() + 1):
        train, test = folds != fold, folds == fold
        counts = np.bincount(y[train])
        weights = 0.5 / counts[y[train]]
        scaler = StandardScaler().fit(x[train], sample_weight=weights)
        model = LogisticRegression(C=1 / l2, tol=1e-12, max_iter=10_000)
        model.fit(scaler.transform(x[train]), y[train], sample_weight=weights)
        odds[test] = model.decision_function(scaler.transform(x[test]))
        wrong = (odds > 0) != y
        errors.append([wrong[test & (y == side)].mean() for side in (1, 0)])
    return odds, wrong, y, np.array(errors)


@pytest.mark.parametrize(
    ("n", "m", "d", "folds", "l2"), [(40, 61, 5, 4, 0.1), (33, 20, 60, 3, 0.01)]
)
def test_it_is_scikit_learns_logistic_regression_on_the_same_folds(x64, n, m, d, folds, l2):
    source, target = two(n, m, d, shift=0.4)
    distance, info = proxy_a_distance(source, target, key=KEY, folds=folds, l2=l2, tolerance=1e-11)
    assert info.converged.all() and info.source_log_odds.dtype == jnp.float64
    odds, wrong, y, errors = scikit_learn(source, target, info, l2)
    found = np.concatenate([info.source_log_odds, info.target_log_odds])
    np.testing.assert_allclose(found, odds, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(info.fold_errors, errors.mean(1), atol=1e-12)
    expected = (wrong[y == 1].mean() + wrong[y == 0].mean()) / 2
    assert 0.02 < expected < 0.45  # neither trivial nor hopeless
    np.testing.assert_allclose(info.error, expected, atol=1e-12)
    np.testing.assert_allclose(distance, 2 * (1 - 2 * expected), atol=1e-12)


@pytest.mark.slow
def test_in_single_precision_it_is_nearly_the_same():
    source, target = two(shift=0.5)
    _, info = proxy_a_distance(
        source.astype(np.float32), target.astype(np.float32), key=KEY, folds=4
    )
    odds, *_ = scikit_learn(source, target, info, 0.1)
    assert info.converged.all() and info.source_log_odds.dtype == jnp.float32
    np.testing.assert_allclose(
        np.concatenate([info.source_log_odds, info.target_log_odds]), odds, rtol=1e-2, atol=2e-3
    )


def test_separable_samples_are_at_the_greatest_distance():
    source, target = two(shift=30.0)
    distance, info = proxy_a_distance(source, target, key=KEY, folds=4)
    assert distance == 2 and info.error == 0
    assert (info.source_log_odds > 0).all() and (info.target_log_odds < 0).all()


def test_samples_of_one_distribution_are_at_none():
    # Its standard deviation before clipping is 0.09 or so for each of them.
    found = [
        proxy_a_distance(*two(250, 250, 6, seed=seed), key=jax.random.key(seed))
        for seed in range(10)
    ]
    distances, errors = np.array([distance for distance, _ in found]), [i.error for _, i in found]
    assert distances.max() < 0.35 and distances.min() == 0  # clipped
    assert abs(np.mean(errors) - 0.5) < 0.03
    assert max(errors) > 0.5  # the error is not clipped


def test_features_that_are_all_the_same_leave_a_coin():
    source, target = jnp.full((43, 5), 0.1), jnp.full((62, 5), 0.1)
    distance, info = proxy_a_distance(source, target, key=KEY, folds=4)
    assert distance == 0 and info.error == 0.5
    np.testing.assert_array_equal(info.fold_errors, 0.5)


def test_a_feature_that_varies_in_one_fold_alone_does_no_harm():
    # In the fold that is trained without point 0 the last feature has no spread at all.
    source, target = two(shift=30.0)
    source[:, -1] = target[:, -1] = 0.1
    source[0, -1] = 1e4
    _, info = proxy_a_distance(source, target, key=KEY, folds=4)
    assert np.isfinite(info.source_log_odds).all() and info.error <= 0.02
    fold = info.source_folds[0]
    others = np.asarray(info.source_log_odds)[1:][np.asarray(info.source_folds[1:]) == fold]
    np.testing.assert_allclose(info.source_log_odds[0], others.mean(), atol=5)


def test_units_and_places_of_features_are_of_no_account():
    source, target = two(shift=0.5)
    _, info = proxy_a_distance(source, target, key=KEY, folds=4)
    scale, place = np.array([1e3, 1e-3, 1, 7, 0.1]), np.array([1.0, -3, 0, 5, 2])
    _, moved = proxy_a_distance(source * scale + place, target * scale + place, key=KEY, folds=4)
    np.testing.assert_allclose(moved.source_log_odds, info.source_log_odds, rtol=2e-2, atol=5e-3)


@pytest.mark.slow
def test_both_sides_count_alike_whatever_their_sizes():
    # 20 against 400: to call everything target would be right on 95% of the points.
    draw = np.random.default_rng(0)
    source, target = draw.normal(size=(20, 2)), draw.normal(size=(400, 2)) + 1.2
    distance, info = proxy_a_distance(source, target, key=KEY)
    sides = (np.mean(info.source_log_odds < 0), np.mean(info.target_log_odds > 0))
    assert max(sides) < 0.35
    np.testing.assert_allclose(info.error, np.mean(sides), atol=1e-6)
    there, _ = proxy_a_distance(target, source, key=KEY)
    assert abs(there - distance) < 0.25  # other folds, the same question


def test_the_folds_are_dealt_evenly_by_the_key():
    source, target = two()
    _, info = proxy_a_distance(source, target, key=KEY, folds=4)
    assert sorted(np.bincount(info.source_folds)) == [10, 11, 11, 11]
    assert sorted(np.bincount(info.target_folds)) == [15, 15, 16, 16]
    _, again = proxy_a_distance(source, target, key=KEY, folds=4)
    np.testing.assert_array_equal(again.source_log_odds, info.source_log_odds)
    _, other = proxy_a_distance(source, target, key=jax.random.key(1), folds=4)
    assert (other.source_folds != info.source_folds).any()


def test_the_order_of_points_changes_nothing_but_the_folds():
    source, target = two(shift=30.0)
    order = np.random.default_rng(1).permutation(len(source))
    distance, _ = proxy_a_distance(source[order], target, key=KEY, folds=4)
    assert distance == 2


def test_held_out_points_are_held_out():
    # Random labels with more features than points: learnt by heart, of no use on other points.
    draw = np.random.default_rng(0)
    source, target = draw.normal(size=(40, 200)), draw.normal(size=(40, 200))
    distance, info = proxy_a_distance(source, target, key=KEY, l2=1e-3)
    assert info.error > 0.3 and distance < 0.8


@pytest.mark.slow
def test_jit_and_vmap_and_half_precision():
    source, target = (jnp.asarray(x, jnp.float32) for x in two(shift=0.5))
    measure = functools.partial(proxy_a_distance, folds=4)
    distance, info = measure(source, target, key=KEY)
    jitted = jax.jit(lambda x, y, key, l2: measure(x, y, key=key, l2=l2))
    np.testing.assert_allclose(jitted(source, target, KEY, 0.1)[0], distance, atol=1e-6)
    pairs = jnp.stack([source, source + 100])
    several, _ = jax.vmap(lambda x: measure(x, target, key=KEY))(pairs)
    np.testing.assert_allclose(several, [distance, 2], atol=1e-6)
    half, of_half = measure(source.astype(jnp.bfloat16), target.astype(jnp.bfloat16), key=KEY)
    assert half.dtype == jnp.float32 and abs(half - distance) < 0.3
    np.testing.assert_array_equal(of_half.source_folds, info.source_folds)


def test_what_did_not_converge_is_said():
    source, target = two(shift=0.5)
    _, info = proxy_a_distance(source, target, key=KEY, folds=4, l2=1e-3, max_iterations=1)
    assert not info.converged.any()
    np.testing.assert_array_equal(info.iterations, 1)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"folds": 1}, ValueError, "folds must be an integer of at least 2; it is 1"),
        ({"folds": 2.0}, TypeError, "folds must be an integer"),
        ({"folds": 5}, ValueError, "folds must be from 2 to 4, the points of the smaller side"),
        ({"l2": 0.0}, ValueError, "l2 must be a finite number above 0"),
        ({"l2": "much"}, TypeError, "l2 must be a number"),
        ({"tolerance": -1}, ValueError, "tolerance must be a finite number above 0"),
        ({"max_iterations": 0}, ValueError, "max_iterations must be an integer of at least 1"),
        ({"target": np.zeros((4, 3))}, ValueError, "same number of features"),
        ({"target": np.zeros((1, 2))}, ValueError, "target must hold at least 2 points"),
        ({"source": np.full((4, 2), np.nan)}, ValueError, "source must be finite"),
        ({"source": np.zeros((4, 2), int)}, TypeError, "source must be of floating point"),
    ],
)
def test_what_makes_no_sense(change, error, message):
    arguments = {"source": np.zeros((6, 2)), "target": np.zeros((4, 2)), "key": KEY, "folds": 2}
    with pytest.raises(error, match=message):
        proxy_a_distance(**(arguments | change))
