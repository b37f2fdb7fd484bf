"""Is there a shift at all? A permutation test of MMD, and where the two samples differ."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxfer.divergences.bandwidths import check_bandwidth
from jaxfer.divergences.estimators import (
    Settings,
    plan_of,
    points_needed,
    scaled_layers,
    signed_weights,
)
from jaxfer.divergences.kernels import Kernel, LinearKernel, named_kernel
from jaxfer.divergences.pairs import aligned_kernel, cross_product, make_plan, pair_product
from jaxfer.divergences.samples import Samples, floating, is_concrete, two_samples


class TwoSampleTest(NamedTuple):
    """What a two-sample test saw.

    Attributes:
      statistic: MMD squared of the samples as they are, a scalar.
      null: ``[permutations]``, the same with the points dealt to the two sides at random.

    >>> import jax, jax.numpy as jnp
    >>> x = jnp.linspace(0, 1, 20)[:, None]
    >>> _, test = mmd_two_sample_test(x, x + 2, key=jax.random.key(0), permutations=50)
    >>> test.null.shape, bool(test.statistic > test.null.max())
    ((50,), True)
    """

    statistic: Array
    null: Array


class Witness(NamedTuple):
    """Where two samples differ.

    Attributes:
      source, target: ``[n]`` and ``[m]``, the witness function at their points: positive where the
        source is denser, negative where the target is.
      source_examples: ``[top]``, indices of the source points that are most unlike the target.
      target_examples: ``[top]``, indices of the target points that are most unlike the source.
      at: ``[k]``, the function at the further points that were asked for, or ``None``.

    >>> import jax.numpy as jnp
    >>> x, y = jnp.array([[0.0], [1.0]]), jnp.array([[1.0], [9.0]])
    >>> mmd_witness(x, y, top=1).target_examples.tolist()
    [1]
    """

    source: Array
    target: Array
    source_examples: Array
    target_examples: Array
    at: Array | None = None


def mmd_two_sample_test(
    source: Any,
    target: Any,
    *,
    key: Array,
    permutations: int = 1000,
    kernel: str | Kernel = "gaussian",
    bandwidth: str | float | Array = "mean",
    estimator: str = "unbiased",
    block_size: int | None = None,
    precision: Any = None,
) -> tuple[Array, TwoSampleTest]:
    r"""Tests by permutation whether two samples come from one distribution.

    .. math::
        p = \frac{1 + \#\{b : \mathrm{MMD}^2_b \ge \mathrm{MMD}^2\}}{1 + B}

    with :math:`\mathrm{MMD}^2_b` of a random division of the pooled points into two sides of the
    same sizes. Under one distribution :math:`P(p \le \alpha) \le \alpha` for every :math:`\alpha`,
    at any sample size. The kernel matrix is passed over once for all permutations together.

    Args:
      source, target: ``[n, d]`` and ``[m, d]``, of independent points.
      key: of the permutations.
      permutations: :math:`B`, at least 1; the least possible p-value is :math:`1 / (1 + B)`. Memory
        grows with ``(n + m) * permutations``.
      kernel: as for :func:`mmd`.
      bandwidth: as for :func:`mmd`, computed from the pooled sample, as the test demands;
        ``median_source`` looks at one side alone and is refused.
      estimator: ``unbiased`` or ``biased``.
      block_size: points in a block; ``None`` chooses.
      precision: of the matrix products; ``None`` is the highest.

    Returns:
      ``(p_value, info)``: a scalar in (0, 1], and a :class:`TwoSampleTest`.

    Raises:
      TypeError: for arrays that are not of floating point.
      ValueError: as :func:`mmd`, and for another estimator or fewer than one permutation.

    Source: Gretton et al. 2012, A kernel two-sample test; Phipson and Smyth 2010 for counting the
    observed division among the permutations.

    >>> import jax
    >>> x, y = (jax.random.normal(jax.random.key(i), (50, 2)) for i in (0, 1))
    >>> for target in (y, y + 1):
    ...     p_value, _ = mmd_two_sample_test(x, target, key=jax.random.key(2), permutations=200)
    ...     print(bool(p_value < 0.05))
    False
    True
    """
    if estimator not in ("biased", "unbiased"):
        raise ValueError(f"estimator must be biased or unbiased here; it is {estimator!r}.")
    if not isinstance(permutations, int) or permutations < 1:
        raise ValueError(f"permutations must be an integer of at least 1; it is {permutations!r}.")
    settings, number = _settings(kernel, bandwidth, estimator, block_size, precision)
    if "median_source" in settings.rules:
        raise ValueError(
            "bandwidth 'median_source' looks at the source alone, which makes the test invalid; "
            "use 'median'."
        )
    samples = two_samples(source, target, points=points_needed(estimator))
    return _two_sample_test(settings, permutations, samples, number, key)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _two_sample_test(
    settings: Settings, permutations: int, samples: Samples, bandwidth: Array | None, key: Array
) -> tuple[Array, TwoSampleTest]:
    sources, targets = scaled_layers(settings, [samples], [bandwidth])
    plan = plan_of(settings, sources, targets)
    points = [jnp.concatenate([sources[0], targets[0]])]
    signed = signed_weights(samples.source_weights, samples.target_weights)
    # The first column is the division as it is; each of the others is dealt anew.
    keys = jax.random.split(key, permutations)
    dealt = jax.vmap(jax.random.permutation, in_axes=(0, None), out_axes=1)(keys, signed[:, 0])
    columns = jnp.concatenate([signed, dealt], axis=1)
    if settings.estimator == "biased":
        products = pair_product(plan, points, columns)
        values = jnp.sum(columns * products, axis=0)
    else:
        n, m = len(sources[0]), len(targets[0])
        ones = jnp.ones_like(signed)
        products = pair_product(plan, points, jnp.concatenate([columns, ones], axis=1))
        products, of_ones = products[:, :-1], products[:, -1:]
        values = jnp.sum(columns * products, axis=0)
        # Beside the biased value, each side's own mean in 1 / (its size - 1), less the diagonal:
        # with c = p - q, and p + q n / m = (1 + ...) a constant, p and q follow from c.
        diagonal = aligned_kernel(plan, points, points)[:, None]
        p, kernel_p = (1 + m * columns) / (n + m), (of_ones + m * products) / (n + m)
        q, kernel_q = p - columns, kernel_p - products
        for side, kernel_side, size in ((p, kernel_p, n), (q, kernel_q, m)):
            within = jnp.sum(side * kernel_side, axis=0)
            values += (within - size * jnp.sum(side**2 * diagonal, axis=0)) / (size - 1)
    statistic, null = values[0], values[1:]
    # Divisions that differ from the observed one by rounding alone count as equal to it.
    scale = 1 / len(sources[0]) + 1 / len(targets[0])
    height = jnp.max(jnp.abs(aligned_kernel(plan, points, points)))
    rounding = 64 * jnp.finfo(statistic.dtype).eps * height * scale
    p_value = (1 + jnp.sum(null >= statistic - rounding)) / (1 + permutations)
    p_value = jnp.where(jnp.isnan(statistic), jnp.nan, p_value)
    return p_value, TwoSampleTest(statistic, null)


def mmd_witness(
    source: Any,
    target: Any,
    *,
    at: Any = None,
    top: int = 8,
    kernel: str | Kernel = "gaussian",
    bandwidth: str | float | Array = "mean",
    source_weights: Any = None,
    target_weights: Any = None,
    block_size: int | None = None,
    precision: Any = None,
) -> Witness:
    r"""The witness function of MMD, and the examples that speak most for a difference.

    .. math::
        f(z) = \sum_i p_i k(x_i, z) - \sum_j q_j k(y_j, z)

    The function of the kernel's space whose means over the two samples differ most, not normalised.
    Its mean over the source less its mean over the target is MMD squared.

    Args:
      source, target: ``[n, d]`` and ``[m, d]``.
      at: further points ``[k, d]`` to evaluate it at.
      top: how many examples of each side; at most as many as it has points.
      kernel: as for :func:`mmd`.
      bandwidth: as for :func:`mmd`.
      source_weights, target_weights: ``[n]`` and ``[m]``, as for :func:`mmd`. Absent points have a
        value, but are no examples.
      block_size: points in a block; ``None`` chooses.
      precision: of the matrix products; ``None`` is the highest.

    Returns:
      A :class:`Witness`.

    Raises:
      TypeError: for arrays that are not of floating point.
      ValueError: as :func:`mmd`, and for ``top`` below 1 or above the number of points a side.

    Source: Gretton et al. 2012, A kernel two-sample test, section 2.3.

    >>> import jax.numpy as jnp
    >>> from jaxfer import GaussianKernel
    >>> x, y = jnp.array([[0.0], [1.0]]), jnp.array([[1.0], [9.0]])
    >>> witness = mmd_witness(x, y, top=1, kernel=GaussianKernel(scales=(1.0,)), bandwidth=1.0)
    >>> witness.source_examples.tolist(), [round(float(f), 2) for f in witness.target]
    ([0], [0.3, -0.5])
    """
    settings, number = _settings(kernel, bandwidth, "biased", block_size, precision)
    samples = two_samples(source, target, source_weights, target_weights)
    fewest = min(len(samples.source), len(samples.target))
    for count in (samples.source_count, samples.target_count):
        fewest = min(fewest, int(count)) if is_concrete(count) else fewest
    if not isinstance(top, int) or not 1 <= top <= fewest:
        raise ValueError(
            f"top must be from 1 to {fewest}, the points of the smaller side; it is {top!r}."
        )
    if at is not None:
        at = floating("at", at).astype(samples.source.dtype)
        if at.ndim != 2 or at.shape[1] != samples.source.shape[1]:
            raise ValueError(
                f"at must be points [k, {samples.source.shape[1]}]; it has the shape {at.shape}."
            )
    return _witness(settings, top, samples, number, at)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _witness(
    settings: Settings, top: int, samples: Samples, bandwidth: Array | None, at: Array | None
) -> Witness:
    n = len(samples.source)
    signed = signed_weights(samples.source_weights, samples.target_weights)
    kernel = settings.kernels[0]
    if at is not None:
        # Points that are asked about move and scale with the others: as guests of weight 0.
        samples = samples._replace(
            source=jnp.concatenate([samples.source, at]),
            source_weights=jnp.pad(samples.source_weights, (0, len(at))),
        )
    sources, targets = scaled_layers(settings, [samples], [bandwidth])
    guests, sources = sources[0][n:], [sources[0][:n]]
    plan = plan_of(settings, sources, targets)
    points = [jnp.concatenate([sources[0], targets[0]])]
    if isinstance(kernel, LinearKernel):
        direction = jnp.matmul(points[0].T, signed, precision=plan.precision)
        values, asked = points[0] @ direction, guests @ direction
    else:
        values = pair_product(plan, points, signed)
        asked = values[:0] if at is None else cross_product(plan, [guests], points, signed)
    source, target = values[:n, 0], values[n:, 0]
    present = jnp.where(signed[:, 0] != 0, 0, jnp.inf)
    return Witness(
        source,
        target,
        lax.top_k(source - present[:n], top)[1],
        lax.top_k(-target - present[n:], top)[1],
        None if at is None else asked[:, 0],
    )


def _settings(
    kernel: str | Kernel,
    bandwidth: Any,
    estimator: str,
    block_size: int | None,
    precision: Any,
) -> tuple[Settings, Array | None]:
    kernel = named_kernel(kernel)
    bandwidth = check_bandwidth(bandwidth, None)
    make_plan((kernel,), (1, 1), block_size=block_size, precision=precision)
    rule, number = (bandwidth, None) if isinstance(bandwidth, str) else (None, bandwidth)
    return Settings((kernel,), (rule,), estimator, None, block_size, precision), number
