"""Intervals against SciPy, and by their coverage."""

import numpy as np
import pytest
import scipy.stats

from jaxfer.evaluation import Interval, mean_interval, paired_difference


@pytest.mark.parametrize("size", [2, 3, 600])
def test_mean_interval_is_scipy_s_normal_interval(size):
    values = np.random.default_rng(size).beta(9, 1, size)
    interval = mean_interval(values)
    low, high = scipy.stats.norm.interval(0.95, values.mean(), scipy.stats.sem(values))
    np.testing.assert_allclose(interval.mean, values.mean(), rtol=1e-12)
    np.testing.assert_allclose(interval.mean - interval.ci95, low, rtol=1e-12)
    np.testing.assert_allclose(interval.mean + interval.ci95, high, rtol=1e-12)
    assert all(isinstance(value, float) for value in interval)


def test_nineteen_of_twenty_intervals_hold_the_mean():
    draws = np.random.default_rng(0).binomial(5, 0.8, size=(2000, 100)) / 5
    intervals = [mean_interval(row) for row in draws]
    covered = np.mean([abs(each.mean - 0.8) < each.ci95 for each in intervals])
    assert 0.93 < covered < 0.97


def test_a_single_value_has_no_interval():
    interval = mean_interval([0.25])
    assert interval.mean == 0.25
    assert np.isnan(interval.ci95)


def test_equal_values_have_an_interval_of_zero():
    assert mean_interval([0.5, 0.5, 0.5]) == Interval(0.5, 0.0)


def test_sums_are_taken_in_double_precision():
    values = np.full(10_000, 0.9, np.float32)
    assert abs(mean_interval(values).mean - float(np.float32(0.9))) < 1e-12
    assert mean_interval([1, 0, 1, 1]).mean == 0.75


def test_an_episode_that_is_not_a_number_shows():
    assert np.isnan(mean_interval([0.5, np.nan, 0.7]).mean)


def test_paired_difference_is_the_interval_of_the_differences():
    draw = np.random.default_rng(1)
    difficulty = draw.normal(size=200)
    first, second = difficulty + 0.1 + 0.01 * draw.normal(size=200), difficulty
    interval = paired_difference(first, second)
    low, high = scipy.stats.norm.interval(
        0.95, np.mean(first - second), scipy.stats.sem(first - second)
    )
    np.testing.assert_allclose(interval.mean - interval.ci95, low, rtol=1e-10)
    np.testing.assert_allclose(interval.mean + interval.ci95, high, rtol=1e-10)
    # What both have in common is gone: unpaired, the intervals would overlap by far.
    assert interval.ci95 < 0.02 < mean_interval(first).ci95
    reverse = paired_difference(second, first)
    np.testing.assert_allclose(reverse, (-interval.mean, interval.ci95), rtol=1e-12)


@pytest.mark.parametrize("values", [[], [[0.1, 0.2]], 0.3])
def test_values_of_another_shape_are_shown(values):
    shape = np.shape(values)
    with pytest.raises(ValueError, match="values must be .*got shape") as caught:
        mean_interval(values)
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize(("first", "second"), [([0.1], [0.1, 0.2]), ([0.1, 0.2], 0.3)])
def test_different_episodes_are_not_paired(first, second):
    with pytest.raises(ValueError, match="both need the same episodes; got shapes"):
        paired_difference(first, second)


def test_a_pair_of_nothing_is_refused():
    with pytest.raises(ValueError, match="values must be"):
        paired_difference([], [])
