"""The diagnosis: its words follow its numbers, and its indices those of the samples given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer.divergences import mmd, mmd_two_sample_test, mmd_witness
from jaxfer.transferability import diagnose, proxy_a_distance
from jaxfer.transferability.diagnose import _verdict

KEY = jax.random.key(0)
N, M = 60, 80


def two(shift=0.0, spread=1.0, seed=0):
    draw = np.random.default_rng(seed)
    source, target = draw.normal(size=(N, 3)), shift + spread * draw.normal(size=(M, 3))
    return jnp.asarray(source, jnp.float32), jnp.asarray(target, jnp.float32)


def words(**options):
    shift = {name: options.pop(name) for name in ("shift", "spread", "seed") if name in options}
    return diagnose(*two(**shift), key=KEY, permutations=199, **options)


def test_no_shift():
    found = words()
    assert found.verdict == (
        f"No shift found: p = {float(found.p_value):.2g}, and a linear classifier tells the two "
        f"apart no better than chance (proxy A-distance {float(found.proxy_a_distance):.2f})."
    )


def test_a_shift_of_the_mean():
    found = words(shift=3.0)
    right = 1 - float(found.classifier.error)
    assert found.verdict == (
        f"Strong shift: p = 0.005, and a linear classifier is right on {right:.1%} of unseen "
        f"points (proxy A-distance {float(found.proxy_a_distance):.2f})."
    )


def test_a_shift_that_no_linear_classifier_sees():
    found = words(spread=3.0, seed=3)
    assert found.p_value <= 0.01
    assert found.verdict.startswith("A shift that is real (p = 0.005), but small or not linear:")
    assert "\n" not in found.verdict


@pytest.mark.parametrize(
    ("p_value", "distance", "beginning"),
    [
        (0.051, 0.10, "No shift found: p = 0.051, and a linear"),
        (0.05, 0.10, "A shift that is real (p = 0.05), but small or not linear"),
        (0.2, 0.21, "Perhaps a shift, in few of many directions: MMD shows none (p = 0.2), but a"),
        (
            0.001,
            0.21,
            "A shift that is real (p = 0.001) but small to a linear classifier: it is right on 55.2%",
        ),
        (0.001, 0.49, "A shift that is real (p = 0.001) but small to a"),
        (0.001, 0.5, "Clear shift: p = 0.001, and a linear classifier is right on 62.5% of"),
        (0.001, 1.49, "Clear shift"),
        (0.001, 1.5, "Strong shift"),
    ],
)
def test_the_words_follow_the_numbers(p_value, distance, beginning):
    # With 200 points a side a coin's distance has a standard deviation of 0.1.
    verdict = _verdict(p_value, distance, 0.5 - distance / 4, (200, 200))
    assert verdict.startswith(beginning)
    assert f"(proxy A-distance {distance:.2f})" in verdict and verdict.endswith(".")


def test_what_few_points_cannot_show_is_chance():
    assert _verdict(0.5, 0.6, 0.35, (200, 200)).startswith("Perhaps")
    assert _verdict(0.5, 0.6, 0.35, (20, 20)).startswith("No shift found")


def test_the_numbers_are_those_of_the_three_functions():
    source, target = two(shift=1.0)
    found = diagnose(source, target, key=KEY, permutations=199, top=4)
    np.testing.assert_allclose(
        found.mmd_squared, mmd(source, target, estimator="unbiased"), rtol=1e-3
    )
    assert found.test.statistic == found.mmd_squared and found.test.null.shape == (199,)
    assert found.p_value == (1 + np.sum(found.test.null >= found.test.statistic)) / 200
    witness = mmd_witness(source, target, top=4)
    for ours, theirs in zip(found.witness[:4], witness[:4], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    _, deal, permute = jax.random.split(KEY, 3)
    p_value, test = mmd_two_sample_test(source, target, key=permute, permutations=199)
    distance, classifier = proxy_a_distance(source, target, key=deal)
    np.testing.assert_allclose(found.test.null, test.null, rtol=1e-5)
    np.testing.assert_allclose(found.proxy_a_distance, distance)
    np.testing.assert_array_equal(found.classifier.source_folds, classifier.source_folds)
    np.testing.assert_array_equal(found.source_points, np.arange(N))
    np.testing.assert_array_equal(found.target_points, np.arange(M))


@pytest.mark.slow
def test_the_kernel_and_the_folds_are_the_callers():
    found = words(shift=1.0, kernel="laplace_l2", bandwidth=2.0, folds=3)
    source, target = two(shift=1.0)
    expected = mmd(source, target, kernel="laplace_l2", bandwidth=2.0, estimator="unbiased")
    np.testing.assert_allclose(found.mmd_squared, expected, rtol=1e-3)
    assert found.classifier.fold_errors.shape == (3,)


@pytest.mark.slow
def test_of_many_points_some_are_looked_at_and_the_verdict_says_so():
    source, target = two(shift=3.0)
    found = diagnose(source, target, key=KEY, permutations=49, top=5, max_points=70)
    assert found.verdict.endswith(
        "It was looked for among 60 of 60 source points and 70 of 80 target points."
    )
    points = np.asarray(found.target_points)
    assert len(points) == 70 and (np.diff(points) > 0).all() and points.max() < M
    np.testing.assert_array_equal(found.source_points, np.arange(N))
    # The examples and the function count all points that were given.
    np.testing.assert_array_equal(np.isnan(found.witness.target), ~np.isin(np.arange(M), points))
    expected = mmd_witness(source, target[points], top=5)
    np.testing.assert_allclose(found.witness.target[points], expected.target, rtol=1e-5)
    np.testing.assert_array_equal(
        found.witness.target_examples, points[np.asarray(expected.target_examples)]
    )
    np.testing.assert_array_equal(found.witness.source_examples, expected.source_examples)
    assert found.classifier.target_folds.shape == (70,)


@pytest.mark.slow
def test_the_key_decides():
    source, target = two(shift=0.3)
    one, again, other = (
        diagnose(source, target, key=jax.random.key(seed), permutations=49, max_points=50)
        for seed in (0, 0, 1)
    )
    assert one.verdict == again.verdict and one.p_value == again.p_value
    assert (one.target_points != other.target_points).any()
    assert (one.test.null != other.test.null).any()


def test_the_least_p_value_of_the_fewest_permutations_is_small_enough():
    found = diagnose(*two(shift=3.0), key=KEY, permutations=19)
    assert found.p_value == np.float32(0.05)
    assert found.verdict.startswith("Strong shift: p = 0.05, and")


def test_two_points_a_side_are_enough():
    found = diagnose(jnp.eye(2), 5 + jnp.eye(2), key=KEY, permutations=19)
    assert found.verdict.startswith("No shift found")
    assert found.witness.source_examples.shape == (2,)
    assert found.classifier.fold_errors.shape == (2,)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"permutations": 18}, ValueError, "permutations must be an integer of at least 19"),
        ({"top": 0}, ValueError, "top must be an integer of at least 1"),
        ({"max_points": 1}, ValueError, "max_points must be an integer of at least 2"),
        ({"folds": 9}, ValueError, "folds must be from 2 to 4"),
        ({"kernel": "gausian"}, ValueError, "kernel must be"),
        ({"bandwidth": "median_source"}, ValueError, "makes the test invalid"),
        ({"target": np.zeros((4, 3))}, ValueError, "same number of features"),
        ({"source": np.zeros((1, 2))}, ValueError, "source must hold at least 2 points"),
        ({"source": np.zeros((4, 2), int)}, TypeError, "source must be of floating point"),
    ],
)
def test_what_makes_no_sense(change, error, message):
    arguments = {"source": np.zeros((6, 2)), "target": np.zeros((4, 2)), "key": KEY}
    with pytest.raises(error, match=message):
        diagnose(**(arguments | change))


def test_words_cannot_be_traced():
    with pytest.raises(TypeError, match="source is traced.*call it outside jit"):
        jax.jit(lambda x: diagnose(x, x, key=KEY).p_value)(jnp.zeros((4, 2)))
