"""Intervals over few seeds against SciPy's t, by their coverage, and the share of a gap."""

import numpy as np
import pytest
import scipy.stats

from jaxfer.evaluation import gap_closed, mean_interval, seed_difference, seed_interval


@pytest.mark.parametrize("size", [*range(2, 34), 60, 600])
def test_it_is_scipys_t_interval(size):
    values = np.random.default_rng(size).normal(0.7, 0.02, size)
    interval = seed_interval(values)
    low, high = scipy.stats.t.interval(0.95, size - 1, values.mean(), scipy.stats.sem(values))
    np.testing.assert_allclose(interval.mean - interval.ci95, low, rtol=1e-8)
    np.testing.assert_allclose(interval.mean + interval.ci95, high, rtol=1e-8)


def test_nineteen_of_twenty_intervals_over_five_seeds_hold_the_mean():
    draws = np.random.default_rng(0).normal(size=(2000, 5))
    intervals = [(seed_interval(row), mean_interval(row)) for row in draws]
    covered = np.mean([[abs(each.mean) < each.ci95 for each in both] for both in intervals], axis=0)
    assert 0.935 < covered[0] < 0.965
    assert covered[1] < 0.9  # the normal approximation promises too much


def test_pairs_are_scipys_paired_test():
    draw = np.random.default_rng(1)
    second = draw.normal(0.7, 0.05, 5)
    first = second + 0.02 + 0.005 * draw.normal(size=5)
    interval = seed_difference(first, second)
    expected = scipy.stats.ttest_rel(first, second).confidence_interval(0.95)
    np.testing.assert_allclose(interval.mean - interval.ci95, expected.low, rtol=1e-8)
    np.testing.assert_allclose(interval.mean + interval.ci95, expected.high, rtol=1e-8)


def test_one_seed_has_no_interval():
    assert seed_interval([0.7]).mean == 0.7 and np.isnan(seed_interval([0.7]).ci95)
    assert np.isnan(seed_difference([0.7], [0.6]).ci95)


def test_the_share_of_the_gap():
    method, source_only, target_trained = [0.7, 0.8, 0.9], [0.5, 0.6, 0.7], [0.9, 1.0, 1.1]
    share = gap_closed(method, source_only, target_trained)
    np.testing.assert_allclose(share, (0.5, 0), atol=1e-12)
    assert gap_closed(0.4, 0.5, 0.9).mean == pytest.approx(-0.25)
    # A single target-trained network for all seeds.
    np.testing.assert_allclose(gap_closed(method, source_only, 1.0).mean, 0.2 / 0.4)


def test_its_interval_holds_the_truth_as_often_as_it_says():
    draw = np.random.default_rng(0)
    method, source_only, target = (
        mean + 0.02 * draw.normal(size=(2000, 10)) for mean in (0.7, 0.5, 0.9)
    )
    found = [gap_closed(*rows) for rows in zip(method, source_only, target, strict=True)]
    covered = np.mean([abs(each.mean - 0.5) < each.ci95 for each in found])
    assert 0.93 < covered < 0.97


def test_of_no_gap_there_is_no_share():
    for nothing in ((0.6, 0.5, 0.5), (0.6, 0.5, 0.4), ([0.6, 0.7], [0.5, 0.5], [0.4, 0.6])):
        assert np.isnan(gap_closed(*nothing)).all()
    assert np.isnan(gap_closed(0.505, 0.5, 0.509, least_gap=0.01).mean)
    assert np.isfinite(gap_closed(0.505, 0.5, 0.52, least_gap=0.01).mean)


def test_mistakes():
    with pytest.raises(ValueError, match="least_gap must be a number of at least 0; it is -1"):
        gap_closed(0.5, 0.5, 0.5, least_gap=-1)
    with pytest.raises(
        ValueError, match=r"all three need the same seeds; got shapes \(2,\), \(3,\)"
    ):
        gap_closed(np.zeros(2), np.zeros(3), 1.0)
    with pytest.raises(ValueError, match="both need the same episodes"):
        seed_difference([0.1], [0.1, 0.2])
