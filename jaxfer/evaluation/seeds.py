"""A few seeds: intervals that hold for few of them, and the share of the gap that was closed."""

import math

import numpy as np
from numpy.typing import ArrayLike

from jaxfer.evaluation.intervals import Interval, mean_interval, paired_difference

_NORMAL_975 = 1.959963984540054
# 97.5% quantiles of Student's t with 1 to 30 degrees of freedom.
_T_975 = (
    12.706204736, 4.302652730, 3.182446305, 2.776445105, 2.570581836, 2.446911851, 2.364624252,
    2.306004135, 2.262157163, 2.228138852, 2.200985160, 2.178812830, 2.160368656, 2.144786688,
    2.131449546, 2.119905299, 2.109815578, 2.100922040, 2.093024054, 2.085963447, 2.079613845,
    2.073873068, 2.068657610, 2.063898562, 2.059538553, 2.055529439, 2.051830516, 2.048407142,
    2.045229642, 2.042272456,
)  # fmt: skip


def seed_interval(values: ArrayLike) -> Interval:
    r"""The mean over a few seeds and its 95% confidence interval, by Student's t.

    .. math:: \bar x \pm t_{0.975, n - 1} \, s / \sqrt{n}

    With three seeds this interval is 2.2 times as wide as :func:`mean_interval`'s, with five 1.4
    times, with ten 1.15 times: the normal approximation is for hundreds of episodes, and of few
    seeds it would promise too much.

    Args:
      values: ``[seeds]``, such as one accuracy for each.

    Returns:
      An `Interval`; its width is NaN for a single seed.

    Raises:
      ValueError: if ``values`` is empty or not of rank 1.

    Source: Student 1908, The probable error of a mean.

    >>> mean, ci95 = seed_interval([0.70, 0.72, 0.74])
    >>> f"{mean:.3f} ± {ci95:.3f}"
    '0.720 ± 0.050'
    """
    return _of_few(mean_interval(values), np.size(values))


def seed_difference(first: ArrayLike, second: ArrayLike) -> Interval:
    """The mean of ``first - second`` over the same seeds, and its 95% interval by Student's t.

    A seed draws the same subset, order and start for both, so that pairing removes what they share.

    Args:
      first: ``[seeds]``, one method's values.
      second: ``[seeds]``, the other's of the same seeds in the same order.

    Returns:
      An `Interval`; the methods differ where it leaves out 0. Its width is NaN for a single seed.

    Raises:
      ValueError: if the shapes differ, or as `seed_interval`.

    >>> mean, ci95 = seed_difference([0.75, 0.78, 0.81], [0.70, 0.72, 0.74])
    >>> f"{mean:+.3f} ± {ci95:.3f}"
    '+0.060 ± 0.025'
    """
    return _of_few(paired_difference(first, second), np.size(first))


def gap_closed(
    method: ArrayLike, source_only: ArrayLike, target_trained: ArrayLike, *, least_gap: float = 0.0
) -> Interval:
    r"""The share of the gap between source-only and training on the target that a method closes.

    .. math::
        g = \frac{\bar m - \bar s}{\bar t - \bar s}

    of mean accuracies over seeds: 0 is source-only, 1 is as good as with the target's labels, below
    0 is negative transfer. The interval is that of a ratio of means, by the delta method with
    Student's t: the means of :math:`m - s - g (t - s)` over :math:`\bar t - \bar s`.

    Where there is no gap there is no share of it: both numbers are NaN where
    :math:`\bar t - \bar s` is at most ``least_gap``, so also where training on the target is the
    worse of the two. Ratios of means, not means of ratios: a seed of a small gap would decide.

    Args:
      method: ``[seeds]``, accuracies on the target, or one number.
      source_only: ``[seeds]``, of the same seeds in the same order, or one number.
      target_trained: ``[seeds]``, likewise, trained with the target's labels, or one number.
      least_gap: at least 0, in the unit of the accuracies.

    Returns:
      An `Interval`; its width is NaN for a single seed.

    Raises:
      ValueError: if shapes do not fit or ``least_gap`` is negative.

    Source: Ganin et al. 2016, Domain-adversarial training of neural networks, table 2, which gives
    the share in parentheses; Cochran 1977, Sampling techniques, equation 2.39, for the interval.

    >>> round(gap_closed(0.7666, 0.5225, 0.9596).mean, 3)  # MNIST to MNIST-M in the paper
    0.558
    >>> gap_closed(0.9, 0.9, 0.9).mean
    nan
    """
    if not least_gap >= 0:
        raise ValueError(f"least_gap must be a number of at least 0; it is {least_gap}.")
    arrays = [np.asarray(values, np.float64) for values in (method, source_only, target_trained)]
    try:
        method, source_only, target_trained = np.broadcast_arrays(*map(np.atleast_1d, arrays))
    except ValueError:
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise ValueError(f"all three need the same seeds; got shapes {shapes}.") from None
    gained, gap = method - source_only, target_trained - source_only
    mean = mean_interval(gap).mean
    if not mean > least_gap:
        return Interval(math.nan, math.nan)
    share = float(np.mean(gained)) / mean
    return Interval(share, seed_interval(gained - share * gap).ci95 / mean)


def _of_few(interval: Interval, size: int) -> Interval:
    """Widens a normal interval of so many values to Student's."""
    return Interval(interval.mean, interval.ci95 * _student_975(size - 1) / _NORMAL_975)


def _student_975(degrees: int) -> float:
    """The 97.5% quantile of Student's t."""
    if degrees < 1:
        return math.nan
    if degrees <= len(_T_975):
        return _T_975[degrees - 1]
    # Cornish and Fisher's expansion about the normal quantile: to 1e-6 from here on.
    z = _NORMAL_975
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / degrees**power for power, term in enumerate(terms, start=1))
