"""Singular values of a batch: the few that dominate, the few that vanish, and their sum."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxfer.divergences.logits import one_prediction
from jaxfer.divergences.options import check_count
from jaxfer.divergences.samples import one_sample, whole_batch


def batch_spectral_penalty(
    features: Any,
    *,
    singular_values: int = 1,
    weights: Any = None,
    axis_name: str | None = None,
) -> Array:
    r"""Sum of the squares of the largest singular values of a batch of features (batch-coupled).

    .. math:: L = \sum_{i=1}^k \sigma_i^2(F) = \max_{V^\top V = I_k} \| F V \|_F^2

    BSP adds it for the source and for the target batch. It grows with the size of the batch, as the
    paper has it.

    The gradient is :math:`2 F V V^\top` for the :math:`k` leading right singular vectors, which
    needs no differences of singular values: it is finite everywhere. Where :math:`\sigma_k =
    \sigma_{k+1}` the function has a kink, and that is one of its subgradients. The second
    derivative leaves out pairs of equal values across the :math:`k`-th, where it is infinite.

    Args:
      features: :math:`F`, ``[batch, features]``, floating point.
      singular_values: :math:`k`, at least 1 and at most the smaller side of the whole batch.
      weights: ``[batch]``, not negative, on any scale; rows are multiplied by the roots of weights
        whose mean over the examples above 0 is 1. An example of weight 0 is absent. ``None`` weighs
        all alike.
      axis_name: mapped axis over which the batch is spread; it is gathered. Every device then
        returns the loss of the global batch; average the gradients with ``lax.pmean``.

    Returns:
      A scalar, at least 0, in squared features. 0 where traced weights are all 0.

    Raises:
      TypeError: for features that are not of floating point, or a number that is no integer.
      ValueError: for wrong shapes or too many singular values; where arrays are concrete also for
        NaN, infinity, or weights that are negative or all 0.

    Source: Chen et al. 2019, Transferability vs. discriminability: batch spectral penalization,
    section 4, its sum over one domain.

    >>> batch_spectral_penalty(jnp.array([[3.0, 0.0], [0.0, 2.0], [0.0, 0.0]]))
    Array(9., dtype=float32)
    """
    check_count("singular_values", singular_values)
    features, weights, present = one_sample(features, weights, name="features", axis_name=axis_name)
    features = _weighted(features, weights, present, axis_name)
    if singular_values > min(features.shape):
        raise ValueError(
            f"singular_values must be at most {min(features.shape)}, the smaller side of the batch "
            f"{features.shape}; it is {singular_values}."
        )
    return jnp.where(present > 0, _largest_squares(features, singular_values), 0)


def batch_spectral_shrinkage(
    features: Any,
    *,
    singular_values: int = 1,
    weights: Any = None,
    axis_name: str | None = None,
) -> Array:
    r"""Sum of the squares of the smallest singular values of a batch of features (batch-coupled).

    .. math:: L = \sum_{i=1}^k \sigma_{-i}^2(F) = \min_{V^\top V = I_k} \| F V \|_F^2

    over the :math:`\min(B, d)` singular values. BSS adds it in fine-tuning, to let go of what in
    pretrained features does not transfer.

    The gradient is :math:`2 F V V^\top` for the last :math:`k` right singular vectors, as that of
    :func:`batch_spectral_penalty` for the first.

    Args:
      features: :math:`F`, ``[batch, features]``, floating point.
      singular_values: :math:`k`, at least 1 and at most the smaller side of the whole batch.
      weights: ``[batch]``, not negative, on any scale; rows are multiplied by the roots of weights
        whose mean over the examples above 0 is 1. A row of weight 0 stands as zeros, whose singular
        values, 0, are among the smallest. ``None`` weighs all alike.
      axis_name: mapped axis over which the batch is spread; it is gathered. Every device then
        returns the loss of the global batch; average the gradients with ``lax.pmean``.

    Returns:
      A scalar, at least 0, in squared features. 0 where traced weights are all 0.

    Raises:
      TypeError: for features that are not of floating point, or a number that is no integer.
      ValueError: for wrong shapes or too many singular values; where arrays are concrete also for
        NaN, infinity, or weights that are negative or all 0.

    Source: Chen et al. 2019, Catastrophic forgetting meets negative transfer: batch spectral
    shrinkage for safe transfer learning, section 3.2.

    >>> batch_spectral_shrinkage(jnp.array([[3.0, 0.0], [0.0, 2.0], [0.0, 0.0]]))
    Array(4., dtype=float32)
    """
    check_count("singular_values", singular_values)
    features, weights, present = one_sample(features, weights, name="features", axis_name=axis_name)
    features = _weighted(features, weights, present, axis_name)
    if singular_values > min(features.shape):
        raise ValueError(
            f"singular_values must be at most {min(features.shape)}, the smaller side of the batch "
            f"{features.shape}; it is {singular_values}."
        )
    return jnp.where(present > 0, _smallest_squares(features, singular_values), 0)


def nuclear_norm_maximization(
    logits: Any, *, weights: Any = None, axis_name: str | None = None
) -> Array:
    r"""Negative nuclear norm of a batch of predictions, over its size (batch-coupled).

    .. math::
        L = - \frac{1}{B} \| P \|_* = - \frac{1}{B} \sum_i \sigma_i(P), \qquad P_i =
        \mathrm{softmax}(z_i)

    Minimised, it makes predictions sure (a large Frobenius norm) and diverse (a large rank).

    The gradient of the norm is :math:`U V^\top`, which needs no differences of singular values: it
    is finite where they are equal. Singular values of 0, those up to the rounding of the largest,
    are kinks; their directions are left out, which gives the subgradient of least norm. The second
    derivative divides by sums of singular values and leaves out the same directions.

    Args:
      logits: :math:`z`, ``[batch, classes]``, floating point, finite.
      weights: ``[batch]``, not negative, on any scale; rows are multiplied by the roots of weights
        whose mean over the examples above 0 is 1. An example of weight 0 is absent, and not in
        :math:`B`. ``None`` weighs all alike.
      axis_name: mapped axis over which the batch is spread; it is gathered. Every device then
        returns the loss of the global batch; average the gradients with ``lax.pmean``.

    Returns:
      A scalar, from :math:`-\sqrt{\min(B, K) / B}` for :math:`K` classes, to 0. 0 where traced
      weights are all 0.

    Raises:
      TypeError: for logits that are not of floating point.
      ValueError: for wrong shapes; where arrays are concrete also for NaN, infinity, or weights
        that are negative or all 0.

    Source: Cui et al. 2020, Towards discriminability and diversity: batch nuclear-norm
    maximization, section 3.3, with a factor of 1.

    >>> sure_and_diverse = jnp.array([[100.0, 0.0], [0.0, 100.0]])
    >>> f"{nuclear_norm_maximization(sure_and_diverse):.4f}"
    '-1.0000'
    >>> f"{nuclear_norm_maximization(0 * sure_and_diverse):.4f}"  # one singular value, of 1
    '-0.5000'
    """
    logits, weights, present = one_sample(logits, weights, name="logits", axis_name=axis_name)
    _, probabilities = one_prediction(logits)
    norm = _nuclear_norm(_weighted(probabilities, weights, present, axis_name))
    return jnp.where(present > 0, -norm / jnp.maximum(present, 1), 0)


def _weighted(rows: Array, weights: Array, present: Array, axis_name: str | None) -> Array:
    """Rows of the whole batch, times the roots of weights whose mean is 1."""
    # The root of a weight of 0 would have an infinite slope; an absent example has none.
    some = weights > 0
    root = jnp.where(some, jnp.sqrt(jnp.where(some, weights * present, 1)), 0)
    return whole_batch(root[:, None] * rows, axis_name)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _largest_squares(x: Array, k: int) -> Array:
    return jnp.sum(jnp.square(jnp.linalg.svd(x, compute_uv=False)[:k]))


@_largest_squares.defjvp
def _largest_squares_jvp(k: int, primals: Any, tangents: Any) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    return _largest_squares(x, k), 2 * jnp.sum(_projected(x, k) * dx)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _smallest_squares(x: Array, k: int) -> Array:
    return jnp.sum(jnp.square(jnp.linalg.svd(x, compute_uv=False)[-k:]))


@_smallest_squares.defjvp
def _smallest_squares_jvp(k: int, primals: Any, tangents: Any) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    rest = x - _projected(x, min(x.shape) - k) if k < min(x.shape) else x
    return _smallest_squares(x, k), 2 * jnp.sum(rest * dx)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _projected(x: Array, k: int) -> Array:
    """``X V V'`` for the k leading right singular vectors."""
    u, s, vt = jnp.linalg.svd(x, full_matrices=False)
    return (u[:, :k] * s[:k]) @ vt[:k]


@_projected.defjvp
def _projected_jvp(k: int, primals: Any, tangents: Any) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    u, s, vt = jnp.linalg.svd(x, full_matrices=False)
    (u, u_rest), (s, s_rest), (vt, vt_rest) = (
        (u[:, :k], u[:, k:]),
        (s[:k], s[k:]),
        (vt[:k], vt[k:]),
    )
    zero = _zero(s, x.shape)
    # How the leading space turns towards each other direction, over the gap between them.
    gap = jnp.square(s)[:, None] - jnp.square(s_rest)
    apart = gap > zero * s[0]
    towards = (dx @ vt.T).T @ (u_rest * s_rest) + (u * s).T @ dx @ vt_rest.T
    towards = jnp.where(apart, towards / jnp.where(apart, gap, 1), 0)
    # And towards the directions in which there is nothing at all.
    some = (s > zero)[:, None]
    outside = u.T @ dx
    outside = outside - (outside @ vt.T) @ vt - (outside @ vt_rest.T) @ vt_rest
    outside = jnp.where(some, outside / jnp.where(some, s[:, None], 1), 0)
    turn = (u * s) @ (towards @ vt_rest + outside) + (u_rest * s_rest) @ towards.T @ vt
    return (u * s) @ vt, dx @ vt.T @ vt + turn


@jax.custom_jvp
def _nuclear_norm(x: Array) -> Array:
    return jnp.sum(jnp.linalg.svd(x, compute_uv=False))


@_nuclear_norm.defjvp
def _nuclear_norm_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    return _nuclear_norm(x), jnp.sum(_polar(x) * dx)


@jax.custom_jvp
def _polar(x: Array) -> Array:
    """``U V'`` over the directions whose singular value is not 0."""
    u, _, vt, _ = _support(x)
    return u @ vt


@_polar.defjvp
def _polar_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    u, s, vt, some = _support(x)
    across = u.T @ dx @ vt.T
    both = some[:, None] & some
    sums = jnp.where(both, s[:, None] + s, 1)
    within = jnp.where(both, (across - across.T) / sums, 0)
    inverse = jnp.where(some, 1 / jnp.where(some, s, 1), 0)
    rows, columns = dx @ vt.T - u @ across, u.T @ dx - across @ vt
    outside = (rows * inverse) @ vt + u @ (inverse[:, None] * columns)
    return u @ vt, u @ within @ vt + outside


def _support(x: Array) -> tuple[Array, Array, Array, Array]:
    """Singular vectors and values, 0 where a value is 0, and which values are not."""
    u, s, vt = jnp.linalg.svd(x, full_matrices=False)
    some = s > _zero(s, x.shape)
    return u * some, s, vt * some[:, None], some


def _zero(s: Array, shape: tuple[int, ...]) -> Array:
    """The largest singular value that is no more than rounding."""
    return s[0] * max(shape) * jnp.finfo(s.dtype).eps
