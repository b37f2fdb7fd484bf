r"""From kernel and weights to a number: the ways of estimating MMD squared.

All of them estimate

.. math::
    \mathrm{MMD}^2 = E\,k(x, x') + E\,k(y, y') - 2 E\,k(x, y).

They differ in which pairs of points they average over, and so in bias, variance and cost.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxfer.divergences.bandwidths import rule_bandwidth
from jaxfer.divergences.kernels import Kernel, LinearKernel
from jaxfer.divergences.pairs import Plan, aligned_kernel, make_plan, pair_sum
from jaxfer.divergences.samples import Samples, sample_means

ESTIMATORS = ("biased", "unbiased", "unbiased_shifted", "linear", "block")


class Settings(NamedTuple):
    """What is fixed when an estimate is compiled.

    Attributes:
      kernels: one for each layer.
      rules: for each layer the name of a bandwidth rule, or ``None`` where a number is given.
      estimator: one of ``ESTIMATORS``.
      axis_name, block_size, precision: as for :func:`mmd`.
    """

    kernels: tuple[Kernel, ...]
    rules: tuple[str | None, ...]
    estimator: str
    axis_name: str | None
    block_size: int | None
    precision: Any


def check_estimator(estimator: str) -> None:
    """Raises ValueError for an unknown estimator."""
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator must be one of {', '.join(ESTIMATORS)}; it is {estimator!r}.")


def points_needed(estimator: str) -> int:
    """How many points a side an estimator cannot do without."""
    return 1 if estimator == "biased" else 2


@functools.partial(jax.jit, static_argnums=0)
def estimate(
    settings: Settings, layers: Sequence[Samples], bandwidths: Sequence[Array | None]
) -> Array:
    """MMD squared of the product of the layers' kernels, by the estimator named.

    Args:
      settings: what is fixed.
      layers: the samples in each layer, with the same weights in all.
      bandwidths: a number for each layer whose rule is ``None``.

    Returns:
      The estimate, a scalar.
    """
    sources, targets = scaled_layers(settings, layers, bandwidths)
    p, q = layers[0].source_weights, layers[0].target_weights
    counts = layers[0].source_count, layers[0].target_count
    if settings.estimator == "linear":
        value = _linear_time(settings, sources, targets, p, q)
    elif settings.estimator == "block":
        value = _block(settings, sources, targets, p, q)
    else:
        value = _all_pairs(settings, sources, targets, p, q)
    if settings.estimator == "unbiased_shifted":
        value += sum(1 / jnp.maximum(count - 1, 1) for count in counts)
    least = points_needed(settings.estimator)
    return jnp.where((counts[0] >= least) & (counts[1] >= least), value, 0)


def plan_of(settings: Settings, sources: Sequence[Array], targets: Sequence[Array]) -> Plan:
    """The plan of a pass over all pairs of these samples."""
    return make_plan(
        settings.kernels,
        (len(sources[0]), len(targets[0])),
        block_size=settings.block_size,
        precision=settings.precision,
        axis_name=settings.axis_name,
    )


def scaled_layers(
    settings: Settings, layers: Sequence[Samples], bandwidths: Sequence[Array | None]
) -> tuple[list[Array], list[Array]]:
    """The samples of each layer, centred where the kernel allows it and scaled by the bandwidth.

    Distances do not change when all points move. Far from the origin float32 computes them well
    only after such a move.
    """
    sources, targets = [], []
    for kernel, rule, samples, bandwidth in zip(
        settings.kernels, settings.rules, layers, bandwidths, strict=True
    ):
        source, target = samples.source, samples.target
        if kernel.pairing != "inner":
            source_mean, target_mean = sample_means(samples, settings.axis_name)
            centre = lax.stop_gradient((source_mean + target_mean) / 2)
            source, target = source - centre, target - centre
        if rule is not None and not isinstance(kernel, LinearKernel):
            bandwidth = rule_bandwidth(rule, kernel, samples, axis_name=settings.axis_name)
        scale = jnp.asarray(1 if bandwidth is None else bandwidth, source.dtype)
        if kernel.pairing != "inner" and rule is None and bandwidth is not None:
            # As narrow as can be computed; at 0 the limit is the same: every point is alone.
            norm = sum(jnp.sum(side**2, axis=1).max(initial=0) for side in (source, target))
            least = 1e-30 * norm if kernel.unit == "squared_l2" else 1e-15 * jnp.sqrt(norm)
            scale = jnp.maximum(scale, jnp.where(norm > 0, lax.stop_gradient(least), 1))
        sources.append(kernel.scaled(source, scale))
        targets.append(kernel.scaled(target, scale))
    return sources, targets


def signed_weights(source_weights: Array, target_weights: Array) -> Array:
    """``[n + m, 1]``: the coefficients of the mean embeddings' difference."""
    return jnp.concatenate([source_weights, -target_weights])[:, None]


def _all_pairs(
    settings: Settings, sources: list[Array], targets: list[Array], p: Array, q: Array
) -> Array:
    """The biased and the unbiased estimate: quadratic forms of the kernel matrix."""
    plan = plan_of(settings, sources, targets)
    points = [jnp.concatenate(both) for both in zip(sources, targets, strict=True)]
    signed = signed_weights(p, q)
    if settings.estimator == "biased":
        return _form(plan, points, signed, signed)
    # sum_(i != j) p_i p_j k_ij / (1 - sum p_i^2) on each side: two columns, one for each sample.
    psum = functools.partial(lax.psum, axis_name=plan.axis_name) if plan.axis_name else lambda x: x
    within_p, within_q = (1 - psum(jnp.sum(w**2)) for w in (p, q))
    columns = jnp.stack(
        [jnp.concatenate([p, jnp.zeros_like(q)]), jnp.concatenate([jnp.zeros_like(p), q])], axis=1
    )
    scale_p, scale_q = (
        jnp.where(w > _least(w), 1 / jnp.where(w > _least(w), w, 1), 0)
        for w in (within_p, within_q)
    )
    mixing = jnp.array([[0.0, -1.0], [-1.0, 0.0]], p.dtype)
    mixing = mixing.at[0, 0].set(scale_p).at[1, 1].set(scale_q)
    left = columns @ mixing
    diagonal = jnp.sum(left * columns, axis=1) * aligned_kernel(plan, points, points)
    value = _form(plan, points, left, columns) - psum(jnp.sum(diagonal))
    return jnp.where((scale_p > 0) & (scale_q > 0), value, 0)


def _least(x: Array) -> float:
    """What rounding leaves of 1 - 1."""
    return 8 * float(jnp.finfo(x.dtype).eps)


def _form(plan: Plan, points: list[Array], left: Array, right: Array) -> Array:
    """The sum over pairs; of a linear kernel alone without any pair, by the distance of means."""
    if plan.kernels == (LinearKernel(),):
        means = [jnp.matmul(side.T, points[0], precision=plan.precision) for side in (left, right)]
        if plan.axis_name is not None:
            means = lax.psum(means, plan.axis_name)
        return jnp.sum(means[0] * means[1])
    return pair_sum(plan, points, left, right)


def _linear_time(
    settings: Settings, sources: list[Array], targets: list[Array], p: Array, q: Array
) -> Array:
    """The mean over disjoint quadruples: two points of each side, in the order they come."""
    pairs = min(len(p), len(q)) // 2
    # Absent points go to the end, and pair with one another.
    first, second = (jnp.argsort(w <= 0, stable=True) for w in (p, q))
    sources, p = [x[first] for x in sources], p[first]
    targets, q = [y[second] for y in targets], q[second]
    plan = plan_of(settings, sources, targets)
    x, y = ([x[: 2 * pairs] for x in side] for side in (sources, targets))
    x_even, x_odd, y_even, y_odd = ([z[i::2] for z in side] for side in (x, y) for i in (0, 1))
    terms = (
        aligned_kernel(plan, x_even, x_odd)
        + aligned_kernel(plan, y_even, y_odd)
        - aligned_kernel(plan, x_even, y_odd)
        - aligned_kernel(plan, x_odd, y_even)
    )
    # Relative to the mean, so that a product of four stays in range.
    p, q = (w[: 2 * pairs] * len(w) for w in (p, q))
    return _weighted_mean(terms, p[0::2] * p[1::2] * q[0::2] * q[1::2], settings.axis_name)


def _block(
    settings: Settings, sources: list[Array], targets: list[Array], p: Array, q: Array
) -> Array:
    """The mean of the unbiased estimates on disjoint blocks, as large as there are blocks."""
    size = max(2, int(min(len(p), len(q)) ** 0.5))
    blocks = min(len(p), len(q)) // size

    def cut(x: Array) -> Array:
        return x[: blocks * size].reshape(blocks, size, *x.shape[1:])

    def unbiased(sources: list[Array], targets: list[Array], p: Array, q: Array) -> Array:
        p, q = (w / jnp.where(w.sum() > 0, w.sum(), 1) for w in (p, q))
        inner = settings._replace(estimator="unbiased", axis_name=None)
        return _all_pairs(inner, sources, targets, p, q)

    sources, targets = [cut(x) for x in sources], [cut(y) for y in targets]
    p, q = cut(p), cut(q)
    values = jax.vmap(unbiased)(sources, targets, p, q)
    several = [jnp.sum(w > 0, axis=1) > 1 for w in (p, q)]
    masses = p.sum(axis=1) * len(p) * q.sum(axis=1) * len(q)
    return _weighted_mean(values, jnp.where(several[0] & several[1], masses, 0), settings.axis_name)


def _weighted_mean(values: Array, weights: Array, axis_name: str | None) -> Array:
    total, mass = jnp.sum(weights * values), jnp.sum(weights)
    if axis_name is not None:
        total, mass = lax.psum((total, mass), axis_name)
    return total / jnp.where(mass > 0, mass, 1)
