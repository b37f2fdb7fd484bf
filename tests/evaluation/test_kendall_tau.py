"""Kendall's tau against SciPy, ties included, and by its identities."""

import jax
import numpy as np
import pytest
from scipy import stats

from jaxfer.evaluation import kendall_tau


@pytest.mark.parametrize("values", [3, 50])
def test_it_is_scipys(x64, values):
    draw = np.random.default_rng(values)
    for n in (2, 7, 30):
        first = draw.integers(0, values, n) + 0.0
        first[0] = values  # not all tied
        second = first + draw.integers(-values, values, n)
        second[0] = 3 * values
        expected = stats.kendalltau(first, second).statistic
        assert float(kendall_tau(first, second)) == pytest.approx(expected, abs=1e-12)


def test_orders_that_agree_are_opposite_or_say_nothing():
    x = np.array([0.3, -1.0, 2.0, 0.7], np.float32)
    assert kendall_tau(x, np.exp(x)) == 1 and kendall_tau(x, -x) == -1
    assert kendall_tau(x, np.ones(4, np.float32)) == 0
    one = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    other = np.array([0.1, 0.2, 0.4, 0.3], np.float32)  # one of six pairs
    assert float(jax.jit(kendall_tau)(one, other)) == pytest.approx(4 / 6)


def test_mistakes_are_refused():
    for first, second in (
        ([1.0], [1.0]),
        ([1.0, 2.0], [1.0, 2.0, 3.0]),
        ([[1.0, 2.0]], [[1.0, 2.0]]),
    ):
        with pytest.raises(ValueError, match="the same at least two things; their shapes"):
            kendall_tau(np.array(first), np.array(second))
    with pytest.raises(TypeError, match="second must be of floating point"):
        kendall_tau([1.0, 2.0], [1, 2])
