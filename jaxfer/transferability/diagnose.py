"""Is there a shift between two samples, how large is it, and where? One call, one sentence."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxfer.divergences import TwoSampleTest, Witness, mmd_two_sample_test, mmd_witness
from jaxfer.divergences.kernels import Kernel
from jaxfer.divergences.options import check_count
from jaxfer.divergences.samples import is_concrete, two_samples
from jaxfer.transferability.proxy_a_distance import ProxyADistanceInfo, proxy_a_distance

SIGNIFICANT = 0.05
"""The largest p-value at which a shift counts as real."""

_ROUNDING = 1e-6  # of a p-value in single precision

CHANCE = 2.0
"""A classifier is no better than chance up to so many standard deviations of its distance."""

CLEAR, STRONG = 0.5, 1.5
"""Proxy A-distances from which a shift is clear and strong: 62.5% and 87.5% of answers right."""

LEAST_PERMUTATIONS = math.ceil(1 / SIGNIFICANT) - 1
"""With fewer permutations no p-value could be as small as `SIGNIFICANT`."""

MAX_POINTS = 4096
"""How many points of each side are looked at unless the caller says otherwise."""

FOLDS = 5
"""Folds of the proxy A-distance, where the sides have as many points."""


class Diagnosis(NamedTuple):
    """What two samples have to say about the shift between them.

    Attributes:
      verdict: one line in words.
      p_value: of the two-sample test, a scalar in (0, 1].
      mmd_squared: the unbiased estimate of MMD squared, a scalar; negative by chance.
      proxy_a_distance: a scalar in [0, 2].
      test: the :class:`TwoSampleTest`: its ``null`` is what MMD squared would be without a shift.
      classifier: the :class:`ProxyADistanceInfo`: held-out errors, convergence.
      witness: the :class:`Witness`; its examples count the points as they were given, and its
        function is NaN at points that were not looked at.
      source_points, target_points: the indices of the points that were looked at, in ascending
        order; ``test``, ``classifier`` and ``witness`` are about these alone.

    >>> x = jnp.arange(6.0)[:, None]
    >>> found = diagnose(x, x.at[2].set(40), key=jax.random.key(0), permutations=19, top=1)
    >>> found.witness.source_examples.tolist(), found.witness.target_examples.tolist()
    ([2], [2])
    """

    verdict: str
    p_value: Array
    mmd_squared: Array
    proxy_a_distance: Array
    test: TwoSampleTest
    classifier: ProxyADistanceInfo
    witness: Witness
    source_points: Array
    target_points: Array


def diagnose(
    source: Any,
    target: Any,
    *,
    key: Array,
    permutations: int = 999,
    top: int = 8,
    folds: int | None = None,
    max_points: int = MAX_POINTS,
    kernel: str | Kernel = "gaussian",
    bandwidth: str | float | Array = "mean",
) -> Diagnosis:
    r"""Says in one line whether two samples differ, and how strongly, with the numbers behind it.

    Three questions are asked of the same points. Is there a shift at all? A permutation test of
    MMD. How large is it? The proxy A-distance. Where is it? The witness function of MMD. The
    verdict depends on the p-value and on the proxy A-distance :math:`d`; with ``SIGNIFICANT`` =
    0.05, ``CLEAR`` = 0.5, ``STRONG`` = 1.5, and :math:`d` no better than chance up to ``CHANCE`` =
    2 times :math:`\sqrt{1/n + 1/m}`, its standard deviation under one distribution:

    - p above 0.05, no better than chance: "No shift found".
    - p above 0.05, better than chance: "Perhaps a shift", one along few of many directions.
    - p up to 0.05, no better than chance: "A shift that is real", but small or of a kind that no
      linear classifier sees, as one of spread can be.
    - p up to 0.05, better than chance, d below 0.5: "A shift that is real" but small to a linear
      classifier.
    - p up to 0.05, better than chance, d from 0.5: "Clear shift"; d from 1.5: "Strong shift".

    "No shift found" is not "no shift": few points show only large ones. The test takes the points
    to be independent; frames of one film are not, and make any p-value too small.

    Args:
      source, target: ``[n, d]`` and ``[m, d]``, floating point, at least 2 points each. Features of
        very different units should be standardised first: MMD is dominated by the largest.
      key: of the permutations, the folds, and of which points are looked at.
      permutations: at least 19, with which the least possible p-value, ``1 / (1 + permutations)``,
        is that of ``SIGNIFICANT``.
      top: how many examples of each side the witness names; fewer where a side has fewer points.
      folds: of the proxy A-distance, at least 2; ``None`` is 5, or the points of a smaller side.
      max_points: of a larger side so many points are drawn by the key, and the verdict says so; at
        least 2. Time grows with their square, memory with their product with ``permutations``.
      kernel: as for :func:`mmd`.
      bandwidth: as for :func:`mmd_two_sample_test`.

    Returns:
      The :class:`Diagnosis`. The verdict being words, this function cannot be jitted; the three
      functions in it can.

    Raises:
      TypeError: for arrays that are not of floating point, traced arrays, options that are no
        integers.
      ValueError: for wrong shapes, NaN or infinity, fewer than 2 points a side, wrong options.

    Source: Gretton et al. 2012 for the test and the witness, Ben-David et al. 2010 for the
    distance. The thresholds are this library's.

    >>> keys = jax.random.split(jax.random.key(0), 3)
    >>> x, y = (jax.random.normal(key, (300, 4)) for key in keys[:2])
    >>> for shift in (0, 3):
    ...     print(diagnose(x, y + shift, key=keys[2]).verdict)
    No shift found: p = 0.76, and a linear classifier tells the two apart no better than chance
    (proxy A-distance 0.00).
    Strong shift: p = 0.001, and a linear classifier is right on 99.7% of unseen points
    (proxy A-distance 1.99).
    """
    for name, sample in (("source", source), ("target", target)):
        if not is_concrete(sample):
            raise TypeError(
                f"{name} is traced, and diagnose answers in words; call it outside jit, or use "
                "mmd_two_sample_test, mmd_witness and proxy_a_distance inside."
            )
    samples = two_samples(source, target, points=2)
    check_count("permutations", permutations, at_least=LEAST_PERMUTATIONS)
    check_count("top", top)
    check_count("max_points", max_points, at_least=2)
    given = (len(samples.source), len(samples.target))
    draw, deal, permute = jax.random.split(key, 3)
    points = [
        jnp.arange(size)
        if size <= max_points
        else jnp.sort(jax.random.choice(side, size, (max_points,), replace=False))
        for side, size in zip(jax.random.split(draw), given, strict=True)
    ]
    looked_at = samples.source[points[0]], samples.target[points[1]]
    fewest = min(map(len, looked_at))
    p_value, test = mmd_two_sample_test(
        *looked_at, key=permute, permutations=permutations, kernel=kernel, bandwidth=bandwidth
    )
    distance, classifier = proxy_a_distance(
        *looked_at, key=deal, folds=min(FOLDS, fewest) if folds is None else folds
    )
    witness = mmd_witness(*looked_at, top=min(top, fewest), kernel=kernel, bandwidth=bandwidth)
    witness = witness._replace(
        source=jnp.full(given[0], jnp.nan).at[points[0]].set(witness.source),
        target=jnp.full(given[1], jnp.nan).at[points[1]].set(witness.target),
        source_examples=points[0][witness.source_examples],
        target_examples=points[1][witness.target_examples],
    )
    sizes = (len(points[0]), len(points[1]))
    verdict = _verdict(float(p_value), float(distance), float(classifier.error), sizes)
    if sizes != given:
        parts = [
            f"{size:,} of {whole:,} {side} points"
            for size, whole, side in zip(sizes, given, ("source", "target"), strict=True)
        ]
        verdict += f" It was looked for among {' and '.join(parts)}."
    return Diagnosis(
        verdict=verdict,
        p_value=p_value,
        mmd_squared=test.statistic,
        proxy_a_distance=distance,
        test=test,
        classifier=classifier,
        witness=witness,
        source_points=points[0],
        target_points=points[1],
    )


def is_significant(p_value: float | Array) -> bool:
    """Says whether a shift with this p-value counts as real.

    Args:
      p_value: in any precision.

    Returns:
      Whether it is at most `SIGNIFICANT`.

    >>> is_significant(jnp.float32(0.05)), is_significant(0.051)
    (True, False)
    """
    return float(p_value) <= SIGNIFICANT + _ROUNDING


def _verdict(p_value: float, distance: float, error: float, sizes: tuple[int, int]) -> str:
    p = f"p = {p_value:.2g}"
    by_distance = f"(proxy A-distance {distance:.2f})"
    right = f"is right on {1 - error:.1%} of unseen points {by_distance}"
    at_chance = distance <= CHANCE * math.sqrt(1 / sizes[0] + 1 / sizes[1])
    real = is_significant(p_value)
    if not real and at_chance:
        return (
            f"No shift found: {p}, and a linear classifier tells the two apart no better than "
            f"chance {by_distance}."
        )
    if not real:
        return (
            f"Perhaps a shift, in few of many directions: MMD shows none ({p}), but a linear "
            f"classifier {right}."
        )
    if at_chance:
        return (
            f"A shift that is real ({p}), but small or not linear: a linear classifier tells the "
            f"two apart no better than chance {by_distance}."
        )
    if distance < CLEAR:
        return f"A shift that is real ({p}) but small to a linear classifier: it {right}."
    kind = "Strong" if distance >= STRONG else "Clear"
    return f"{kind} shift: {p}, and a linear classifier {right}."
