"""Bandwidths from the data: the scale at which a kernel looks at two samples."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxfer.divergences.kernels import Kernel, named_kernel
from jaxfer.divergences.pairs import Plan, make_plan, pair_counts, pair_sum
from jaxfer.divergences.samples import Samples, is_concrete, sample_means, two_samples

RULES = (
    "mean",
    "mean_with_gradient",
    "mean_off_diagonal",
    "median",
    "median_exact",
    "median_bisection",
    "median_subsample",
    "median_source",
    "features",
)

# Up to so many points all their distances are sorted: 2 ** 24 numbers.
_SORTED = 4096
_SUBSAMPLE = 1024
# Nine parts a pass, eight passes: the interval shrinks by 9 ** 8, beyond what float32 resolves.
_THRESHOLDS, _PASSES = 8, 8


def kernel_bandwidth(
    source: Any,
    target: Any,
    *,
    rule: str = "mean",
    kernel: str | Kernel = "gaussian",
    source_weights: Any = None,
    target_weights: Any = None,
    key: Array | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""The bandwidth that a rule gives for two samples pooled.

    With :math:`\delta` the distance that the kernel is a function of (squared Euclidean for
    Gaussians and rational quadratics, Euclidean, or L1), over the :math:`N = n + m` points of both:

    - ``mean``: the mean of :math:`\delta` over all :math:`N^2` ordered pairs, zero diagonal
      included, no gradient; ``mean_with_gradient`` is the same with its gradient.
    - ``mean_off_diagonal``: their sum over :math:`N^2 - N`, no gradient.
    - ``median``: the median over the pairs of different points, no gradient. All distances are
      sorted (``median_exact``) up to 4096 points; above that, and across devices, the interval that
      holds it is divided by nine in each of eight passes over the pairs (``median_bisection``);
      where their number is even, that finds the lower one of the two in the middle.
      ``median_subsample`` is exact on 1024 points drawn by ``key``.
    - ``median_source``: the lower median over all :math:`n^2` pairs of source points, diagonal
      included, no gradient.
    - ``features``: the number of features.

    Args:
      source, target: ``[n, d]`` and ``[m, d]``.
      rule: one of the above.
      kernel: what is meant by a distance.
      source_weights, target_weights: ``[n]`` and ``[m]``, not negative; each side counts for as
        many points as have a weight. A point of weight 0 is absent.
      key: of the subsample; ``None`` is ``jax.random.key(0)``.
      axis_name: the mapped axis over which the samples are spread.

    Returns:
      The bandwidth, a scalar; 1 where all points are equal.

    Raises:
      ValueError: for an unknown rule, a rule that cannot be computed across devices, and as
        :func:`mmd`.

    Source: Garreau et al. 2017, Large sample analysis of the median heuristic; Long et al. 2015 for
    the mean.

    >>> import jax.numpy as jnp
    >>> x, y = jnp.array([[0.0], [1.0]]), jnp.array([[3.0]])
    >>> [round(float(kernel_bandwidth(x, y, rule=rule)), 4) for rule in ("mean", "median")]
    [3.1111, 4.0]
    """
    kernel = named_kernel(kernel)
    check_rule("rule", rule, axis_name)
    samples = two_samples(source, target, source_weights, target_weights, axis_name=axis_name)
    return rule_bandwidth(rule, kernel, samples, key=key, axis_name=axis_name)


def check_bandwidth(bandwidth: Any, axis_name: str | None) -> str | Array:
    """A rule's name, or a positive number as an array; raises ValueError for anything else."""
    if isinstance(bandwidth, str):
        check_rule("bandwidth", bandwidth, axis_name)
        return bandwidth
    try:
        if bandwidth is None:
            raise TypeError
        number = jnp.asarray(bandwidth)
        fits = number.ndim == 0 and jnp.issubdtype(number.dtype, jnp.number)
        # A Python number is looked at before JAX makes a tracer of it.
        if fits and is_concrete(bandwidth):
            fits = 0 < float(bandwidth) < float("inf")
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ValueError(
            f"bandwidth must be a positive number or one of {', '.join(RULES)}; "
            f"it is {bandwidth!r}."
        )
    return number


def check_rule(name: str, rule: Any, axis_name: str | None) -> None:
    """Raises ValueError for an unknown rule, or one that needs all points on one device."""
    if rule not in RULES:
        kind = "a positive number or one of" if name == "bandwidth" else "one of"
        raise ValueError(f"{name} must be {kind} {', '.join(RULES)}; it is {rule!r}.")
    if axis_name is not None and rule in ("median_exact", "median_subsample", "median_source"):
        raise ValueError(
            f"bandwidth {rule!r} needs all points on one device; with axis_name use 'median', "
            "'median_bisection' or 'mean'."
        )


def rule_bandwidth(
    rule: str,
    kernel: Kernel,
    samples: Samples,
    *,
    key: Array | None = None,
    axis_name: str | None = None,
) -> Array:
    """The bandwidth of samples that have been checked; 1 where it would be 0."""
    if rule != "mean_with_gradient":
        samples = lax.stop_gradient(samples)
    features = samples.source.shape[1]
    if rule == "features":
        bandwidth = jnp.asarray(features, samples.source.dtype)
        largest = jnp.zeros_like(bandwidth)
    elif rule.startswith("mean"):
        bandwidth, centre = _mean_distance(kernel, samples, axis_name)
        if rule == "mean_off_diagonal":
            total = samples.source_count + samples.target_count
            bandwidth = bandwidth * total / jnp.maximum(total - 1, 1)
        # Where all points are equal, the centre is each of them.
        largest = jnp.max(jnp.abs(lax.stop_gradient(centre)), initial=0)
    else:
        points, weights = _pooled(samples)
        bandwidth = _median(rule, kernel, points, weights, samples, key, axis_name)
        seen = jnp.where(weights[:, None] > 0, points, 0)
        unknown, largest = jnp.any(jnp.isnan(seen)), jnp.max(jnp.abs(seen), initial=0)
        if axis_name is not None:
            unknown, largest = lax.pmax((unknown, largest), axis_name)
        bandwidth = jnp.where(unknown, jnp.nan, bandwidth)  # which sorting would pass over
    # Points that are equal differ by rounding, after any arithmetic with them.
    rounding = 16 * jnp.finfo(samples.source.dtype).eps * largest
    least = {
        "squared_l2": features * rounding**2,
        "l2": features**0.5 * rounding,
        "l1": features * rounding,
    }
    return jnp.where(bandwidth <= least[kernel.unit], 1, bandwidth)


def _shares(samples: Samples) -> tuple[Array, Array]:
    """How much of the points each side has, by the number of those that are present."""
    total = samples.source_count + samples.target_count
    total = jnp.where(total > 0, total, 1)
    return samples.source_count / total, samples.target_count / total


def _pooled(samples: Samples) -> tuple[Array, Array]:
    """All points ``[n + m, d]``, and weights that sum to 1."""
    points = jnp.concatenate([samples.source, samples.target])
    of_source, of_target = _shares(samples)
    weights = [samples.source_weights * of_source, samples.target_weights * of_target]
    return points, jnp.concatenate(weights)


def _mean_distance(kernel: Kernel, samples: Samples, axis_name: str | None) -> tuple[Array, Array]:
    """The mean of the distance over all pairs, and the mean of the points ``[d]``."""
    psum = functools.partial(lax.psum, axis_name=axis_name) if axis_name else lambda x: x
    of_source, of_target = _shares(samples)
    source_mean, target_mean = sample_means(samples, axis_name)
    centre = of_source * source_mean + of_target * target_mean
    if kernel.unit == "squared_l2":
        spread_of_source, spread_of_target = (
            jnp.sum(weights * jnp.sum((side - centre) ** 2, axis=1))
            for side, weights in (
                (samples.source, samples.source_weights),
                (samples.target, samples.target_weights),
            )
        )
        return 2 * psum(of_source * spread_of_source + of_target * spread_of_target), centre
    distances = _plan_of_distances(kernel, samples, axis_name)
    points, weights = _pooled(samples)
    column = weights[:, None]
    return pair_sum(distances, (points - lax.stop_gradient(centre),), column, column), centre


def _median(
    rule: str,
    kernel: Kernel,
    points: Array,
    weights: Array,
    samples: Samples,
    key: Array | None,
    axis_name: str | None,
) -> Array:
    """The median of the statistic, and from it that of the distance, which is monotone in it."""
    if rule == "median_source":
        n = len(samples.source)
        statistics = _all_statistics(kernel, lax.stop_gradient(samples.source))
        present = lax.stop_gradient(samples.source_weights)
        pairs = jnp.outer(present, present).reshape(n * n)
        median = _weighted_median(statistics.reshape(n * n), pairs, lower=True)
    elif rule == "median_bisection" or (
        rule == "median" and (axis_name is not None or len(points) > _SORTED)
    ):
        median = _bisected_median(kernel, points, weights, samples, axis_name)
    else:
        if rule == "median_subsample" and len(points) > _SUBSAMPLE:
            key = jax.random.key(0) if key is None else key
            chosen = jax.random.choice(
                key,
                len(points),
                (_SUBSAMPLE,),
                replace=False,
                p=(weights > 0) / (weights > 0).sum(),
            )
            points, weights = points[chosen], weights[chosen]
        above = jnp.triu_indices(len(points), 1)
        pairs = weights[above[0]] * weights[above[1]]
        median = _weighted_median(_all_statistics(kernel, points)[above], pairs)
    return jnp.sqrt(median) if kernel.unit == "l2" else median


def _all_statistics(kernel: Kernel, points: Array) -> Array:
    """The statistic of all pairs, ``[n, n]``, by differences, so that equal points give 0."""
    order = 1 if kernel.pairing == "l1" else 2
    return lax.map(lambda x: jnp.sum(jnp.abs(points - x) ** order, axis=1), points)


def _weighted_median(values: Array, weights: Array, *, lower: bool = False) -> Array:
    """Where half of the weight lies below; between two values, their mean or the lower one."""
    if not len(values):
        return jnp.zeros((), values.dtype)
    order = jnp.argsort(values)
    # Equal weights become ones, whose sums are exact: rounding cannot move a half.
    relative = weights[order] / jnp.where(weights.max() > 0, weights.max(), 1)
    mass = jnp.cumsum(relative)
    half = mass[-1] / 2
    slack = half * 8 * jnp.finfo(values.dtype).eps
    first = values[order][jnp.argmax(mass >= half - slack)]
    if lower:
        return first
    return (first + values[order][jnp.argmax(mass > half + slack)]) / 2


def _bisected_median(
    kernel: Kernel, points: Array, weights: Array, samples: Samples, axis_name: str | None
) -> Array:
    plan = _plan_of_distances(kernel, samples, axis_name)
    gather = (
        (lambda x: x) if axis_name is None else functools.partial(lax.psum, axis_name=axis_name)
    )
    points = points - gather(weights @ points)
    norms = jnp.sum(jnp.abs(points) ** (1 if kernel.pairing == "l1" else 2), axis=1)
    farthest = jnp.max(jnp.where(weights > 0, norms, 0))
    farthest = farthest if axis_name is None else lax.pmax(farthest, axis_name)
    half = (1 - gather(jnp.sum(weights**2))) / 2

    def narrow(interval: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        low, high = interval
        thresholds = low + (high - low) * jnp.arange(1, _THRESHOLDS + 1) / (_THRESHOLDS + 1)
        below = pair_counts(plan, (points,), weights, thresholds) < half
        part = jnp.sum(below)
        edges = jnp.concatenate([low[None], thresholds, high[None]])
        return (edges[part], edges[part + 1]), None

    # The farthest two points are at most twice as far apart as one of them is from the centre.
    widest = farthest * (2 if kernel.pairing == "l1" else 4)
    interval = (jnp.zeros_like(widest), widest)
    (low, high), _ = lax.scan(narrow, interval, None, length=_PASSES)
    return (low + high) / 2


class _Distance:
    """The distance itself in the place of a kernel: the statistic, or its root."""

    def __init__(self, pairing: str, unit: str):
        self.pairing, self.unit = pairing, unit

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Distance) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self.pairing, self.unit))

    def profile(self, statistic: Array) -> Array:
        if self.unit != "l2":
            return statistic
        zero = statistic <= 0
        return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, statistic)))


def _plan_of_distances(kernel: Kernel, samples: Samples, axis_name: str | None) -> Plan:
    pairing = "l1" if kernel.pairing == "l1" else "squared_l2"
    distance: Any = _Distance(pairing, kernel.unit)
    sizes = (len(samples.source), len(samples.target))
    return make_plan((distance,), sizes, axis_name=axis_name)
