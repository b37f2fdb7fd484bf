"""Wasserstein distances that need no solver: on the line, and averaged over lines."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxfer.divergences.options import check_count, check_number
from jaxfer.divergences.samples import two_samples
from jaxfer.typing import Key


def wasserstein_1d(
    source: Any,
    target: Any,
    *,
    p: float = 2,
    source_weights: Any = None,
    target_weights: Any = None,
) -> Array:
    r"""Wasserstein distance of two samples of numbers, to the power p (batch-coupled).

    .. math:: W_p^p = \int_0^1 | F_s^{-1}(r) - F_t^{-1}(r) |^p \, dr

    Exact, by sorting, for any two sizes and weights. The power is not taken back, since the root
    has no gradient where the samples coincide: the value is that of POT's ``wasserstein_1d``, and
    for ``p=1`` that of SciPy's ``wasserstein_distance``; ``value ** (1 / p)`` is the distance.

    Args:
      source: ``[n]``, floating point; ``jax.vmap`` compares several features at once.
      target: ``[m]``, likewise.
      p: at least 1, a Python number.
      source_weights: ``[n]``, not negative, on any scale; a point of weight 0 is absent, one of
        weight 2 counts as two. ``None`` weighs all points alike.
      target_weights: ``[m]``, likewise.

    Returns:
      A scalar, at least 0, in units of the numbers to the power p. 0 where traced weights leave a
      side empty. It is piecewise smooth: where points are equal, or for ``p=1`` where quantiles
      are, the gradient is one of those around.

    Raises:
      TypeError: for samples that are not of floating point, or a ``p`` that is not a number.
      ValueError: for wrong shapes or a ``p`` below 1; where arrays are concrete also for NaN,
        infinity or negative weights.

    Source: Peyré and Cuturi 2019, Computational optimal transport, remark 2.30.

    >>> wasserstein_1d(jnp.array([0.0, 1.0]), jnp.array([3.0, 1.0]), p=1)  # 0 to 1, 1 to 3
    Array(1.5, dtype=float32)
    """
    _check_power(p)
    samples = two_samples(source, target, source_weights, target_weights, rank=1)
    value = _transport(
        samples.source,
        samples.target,
        samples.source_weights,
        samples.target_weights,
        p=p,
        reorder=(source_weights is not None, target_weights is not None),
    )
    present = (samples.source_count > 0) & (samples.target_count > 0)
    return jnp.where(present, value, 0)


def sliced_wasserstein(
    source: Any,
    target: Any,
    *,
    key: Key,
    projections: int = 64,
    p: float = 2,
    source_weights: Any = None,
    target_weights: Any = None,
) -> Array:
    r"""Mean Wasserstein distance along random lines, to the power p (batch-coupled).

    .. math::
        \frac{1}{L} \sum_{l=1}^L W_p^p \big( \langle \theta_l, x \rangle, \langle \theta_l, y
        \rangle \big), \qquad \theta_l \sim \mathrm{Uniform}(\{ \|\theta\|_2 = 1 \})

    An unbiased estimate over directions. As with :func:`wasserstein_1d`, no root is taken: the
    value is that of POT's ``sliced_wasserstein_distance`` to the power p.

    Args:
      source: ``[n, d]``, floating point.
      target: ``[m, d]``, likewise.
      key: randomness of the directions, which are normal vectors ``jax.random.normal(key,
        (projections, d))`` made of unit length. A new key at each step of training lets the loss
        see all directions.
      projections: :math:`L`, at least 1. Memory is that of ``projections * (n + m)`` numbers.
      p: at least 1, a Python number.
      source_weights: ``[n]``, not negative, on any scale; a point of weight 0 is absent, one of
        weight 2 counts as two. ``None`` weighs all points alike.
      target_weights: ``[m]``, likewise.

    Returns:
      A scalar, at least 0, in units of the features to the power p. 0 where traced weights leave a
      side empty.

    Raises:
      TypeError: for samples that are not of floating point, or a ``p`` or ``projections`` that is
        not a number.
      ValueError: for wrong shapes or options; where arrays are concrete also for NaN, infinity or
        negative weights.

    Source: Bonneel et al. 2015, Sliced and Radon Wasserstein barycenters of measures, section 3.

    >>> points = jnp.array([[0.0, 0.0], [1.0, 2.0]])
    >>> key = jax.random.key(0)
    >>> near, far = (sliced_wasserstein(points, points + x, key=key) for x in (1.0, 3.0))
    >>> round(float(far / near), 4)  # a shift of thrice the length, squared
    9.0
    """
    _check_power(p)
    check_count("projections", projections)
    samples = two_samples(source, target, source_weights, target_weights)
    directions = jax.random.normal(
        key, (projections, samples.source.shape[1]), samples.source.dtype
    )
    directions = directions / jnp.linalg.norm(directions, axis=1, keepdims=True)
    values = jax.vmap(
        lambda x, y: _transport(
            x,
            y,
            samples.source_weights,
            samples.target_weights,
            p=p,
            reorder=(source_weights is not None, target_weights is not None),
        )
    )(
        jnp.matmul(directions, samples.source.T, precision="highest"),
        jnp.matmul(directions, samples.target.T, precision="highest"),
    )
    present = (samples.source_count > 0) & (samples.target_count > 0)
    return jnp.where(present, jnp.mean(values), 0)


def _check_power(p: float) -> None:
    if not isinstance(p, (int, float)):
        raise TypeError(f"p must be a Python number of at least 1; it is {p!r}.")
    check_number("p", p, at_least=1)


def _transport(
    source: Array,
    target: Array,
    source_weights: Array,
    target_weights: Array,
    *,
    p: float,
    reorder: tuple[bool, bool],
) -> Array:
    """Cost of moving mass in order, from weights that sum to 1.

    ``reorder`` says for each side whether its weights differ. Equal ones need no reordering, so
    that under ``vmap`` the levels, which depend on the weights alone, are computed once.
    """
    source, source_levels = _quantiles(source, source_weights, reorder[0])
    target, target_levels = _quantiles(target, target_weights, reorder[1])
    # Between two neighbouring levels of either side both quantile functions are constant: the
    # index of a side's point is the number of its own levels below.
    levels = jnp.concatenate([source_levels, target_levels])
    order = jnp.argsort(levels)
    from_source = order < len(source)
    passed = jnp.cumsum(from_source)
    source_index = jnp.minimum(passed - from_source, len(source) - 1)
    target_index = jnp.minimum(jnp.cumsum(~from_source) - ~from_source, len(target) - 1)
    widths = jnp.diff(levels[order], prepend=0)
    return jnp.sum(widths * _power(source[source_index] - target[target_index], p))


def _power(x: Array, p: float) -> Array:
    """``|x|^p``, with every derivative that exists at 0, and 0 for those that do not."""
    if p % 2 == 0:
        return x ** int(p)
    apart = x != 0
    return jnp.where(apart, jnp.abs(jnp.where(apart, x, 1)) ** p, 0)


def _quantiles(sample: Array, weights: Array, reorder: bool) -> tuple[Array, Array]:
    """The points in order, and the level, up to 1, at which the quantile function leaves each."""
    if not reorder:
        levels = jnp.cumsum(weights)
        return jnp.sort(sample), levels / levels[-1]
    # Points of weight 0 go where the largest of the others is, and so change nothing.
    present = weights > 0
    largest = jnp.max(jnp.where(present, sample, -jnp.inf))
    sample = jnp.where(present, sample, jnp.where(present.any(), largest, 0))
    order = jnp.argsort(sample)
    levels = jnp.cumsum(weights[order])
    return sample[order], levels / jnp.where(levels[-1] > 0, levels[-1], 1)
