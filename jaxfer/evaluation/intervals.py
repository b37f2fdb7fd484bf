"""Means with their confidence intervals."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

_NORMAL_975 = 1.959963984540054


class Interval(NamedTuple):
    """A mean and the half-width of its 95% confidence interval.

    Attributes:
      mean: the sample's mean.
      ci95: the interval is ``mean - ci95`` to ``mean + ci95``; NaN for a sample of one.

    >>> Interval(mean=0.98, ci95=0.002).ci95
    0.002
    """

    mean: float
    ci95: float


def mean_interval(values: ArrayLike) -> Interval:
    r"""The mean of independent values and its 95% confidence interval, by the normal approximation.

    .. math:: \bar x \pm 1.96 \, s / \sqrt{n}, \qquad s^2 = \tfrac{1}{n-1} \sum_i (x_i - \bar x)^2

    Args:
      values: ``[n]``, such as the accuracies of 600 test episodes.

    Returns:
      An `Interval`.

    Raises:
      ValueError: if ``values`` is empty or not of rank 1.

    >>> mean, ci95 = mean_interval([0.9, 1.0, 0.8, 0.9])
    >>> f"{mean:.2f} ± {ci95:.2f}"
    '0.90 ± 0.08'
    """
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"values must be [n] with n of at least 1; got shape {array.shape}.")
    if array.size == 1:
        return Interval(float(array[0]), float("nan"))
    return Interval(
        float(array.mean()), float(_NORMAL_975 * array.std(ddof=1) / np.sqrt(array.size))
    )


def paired_difference(first: ArrayLike, second: ArrayLike) -> Interval:
    """The mean of ``first - second`` over the same episodes, and its 95% confidence interval.

    Pairing removes what the episodes have in common, such as their difficulty.

    Args:
      first: ``[n]``, one method's values.
      second: ``[n]``, the other's on the same episodes in the same order.

    Returns:
      An `Interval`; the methods differ where it leaves out 0.

    Raises:
      ValueError: if the shapes differ, or as `mean_interval`.

    >>> paired_difference([0.9, 1.0], [0.8, 0.9]).mean.__round__(3)
    0.1
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape:
        raise ValueError(f"both need the same episodes; got shapes {first.shape}, {second.shape}.")
    return mean_interval(first - second)
