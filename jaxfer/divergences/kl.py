"""Kullback-Leibler divergence: of Gaussians fitted to two samples, and of two predictions."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array

from jaxfer.divergences.logits import two_predictions
from jaxfer.divergences.options import check_number
from jaxfer.divergences.samples import is_concrete, two_samples, whole_batch


def kl_gaussian(
    source: Any,
    target: Any,
    *,
    covariance: Literal["full", "diagonal"] = "full",
    ridge: float | Array = 1e-6,
    source_weights: Any = None,
    target_weights: Any = None,
    axis_name: str | None = None,
) -> Array:
    r"""KL divergence from the source's Gaussian fit to the target's (batch-coupled).

    .. math::
        \mathrm{KL}(N_s \,\|\, N_t) = \tfrac{1}{2} \Big[ \mathrm{tr}(\Sigma_t^{-1} \Sigma_s) +
        (\mu_t - \mu_s)^\top \Sigma_t^{-1} (\mu_t - \mu_s) - d +
        \ln \frac{\det \Sigma_t}{\det \Sigma_s} \Big]

    :math:`\mu` and :math:`\Sigma - \rho I` are the weighted mean and covariance of a sample,
    divided by the sum of weights (maximum likelihood). Factors of the covariances come from a QR
    decomposition of the points, so that no precision is lost by squaring them.

    Args:
      source: ``[n, d]``, floating point.
      target: ``[m, d]``, likewise.
      covariance: ``"full"``, or ``"diagonal"`` for features taken as independent.
      ridge: :math:`\rho`, at least 0, added to every variance, in squared units of the features.
        It keeps the fit of few or equal points from being singular; the value then grows as
        :math:`1 / \rho`. Raise it, to a share of the features' variance, for a loss on batches
        of fewer than ``d`` points.
      source_weights: ``[n]``, not negative, on any scale; a point of weight 0 is absent, one of
        weight 2 counts as two. ``None`` weighs all points alike.
      target_weights: ``[m]``, likewise.
      axis_name: mapped axis over which the points are spread. Every device then returns the
        divergence of the fits to all points; average the gradients with ``lax.pmean``. With
        ``covariance="full"`` every device gathers all points.

    Returns:
      A scalar in nats, at least 0 up to rounding. 0 where traced weights leave a side empty.

    Raises:
      TypeError: for samples that are not of floating point.
      ValueError: for wrong shapes or options; where arrays are concrete also for NaN, infinity,
        negative weights, and fits that are singular.

    Source: Rasmussen and Williams 2006, Gaussian processes for machine learning, equation A.23.
    Deviation: the ridge.

    >>> source = jnp.array([[-1.0], [1.0]])  # mean 0, variance 1
    >>> target = jnp.array([[1.0], [3.0]])  # mean 2, variance 1
    >>> f"{kl_gaussian(source, target, ridge=0.0):.4f}"  # 2^2 / 2
    '2.0000'
    """
    if covariance not in ("full", "diagonal"):
        raise ValueError(f"covariance must be 'full' or 'diagonal'; it is {covariance!r}.")
    check_number("ridge", ridge, at_least=0)
    samples = two_samples(source, target, source_weights, target_weights, axis_name=axis_name)
    # A side without any point would be a singular fit: it is given one of variance 1.
    present = (samples.source_count > 0) & (samples.target_count > 0)
    floor = jnp.where(present, ridge, 1).astype(samples.source.dtype)
    # The divergence does not depend on the origin; near the points it loses least to rounding.
    origin = jax.lax.stop_gradient(_mean(samples.source, samples.source_weights, axis_name))
    source_mean, source_spread = _centre(samples.source - origin, samples.source_weights, axis_name)
    target_mean, target_spread = _centre(samples.target - origin, samples.target_weights, axis_name)
    shift = target_mean - source_mean

    if covariance == "diagonal":
        source_variance = _total(jnp.sum(jnp.square(source_spread), axis=0), axis_name) + floor
        target_variance = _total(jnp.sum(jnp.square(target_spread), axis=0), axis_name) + floor
        ratio = source_variance / target_variance
        value = 0.5 * jnp.sum(ratio - 1 - jnp.log(ratio) + jnp.square(shift) / target_variance)
    else:
        source_factor = _factor(source_spread, floor, axis_name)
        target_factor = _factor(target_spread, floor, axis_name)
        # Of the source's factor and the shift, seen where the target's covariance is the identity.
        whitened = jax.scipy.linalg.solve_triangular(
            target_factor, jnp.concatenate([source_factor.T, shift[:, None]], axis=1), trans="T"
        )
        volumes = jnp.log(jnp.abs(jnp.diag(target_factor) / jnp.diag(source_factor)))
        value = 0.5 * (jnp.sum(jnp.square(whitened)) - len(shift)) + jnp.sum(volumes)

    value = jnp.where(present, value, 0)
    if is_concrete(value) and not bool(jnp.isfinite(value)):
        raise ValueError(
            "the covariance of source or target is singular, and the divergence is not finite; "
            f"raise ridge, which is {ridge}, to a small share of the features' variance."
        )
    return value


def kl_logits(
    logits: Any,
    other_logits: Any,
    *,
    axis: int | tuple[int, ...] = -1,
    where: Any = None,
    temperature: float | Array = 1.0,
) -> Array:
    r"""KL divergence between the predictions of two arrays of logits (per-example).

    .. math::
        \mathrm{KL}(p \,\|\, q) = \sum_k p_k \ln \frac{p_k}{q_k}, \qquad
        p = \mathrm{softmax}(z / T), \quad q = \mathrm{softmax}(z' / T)

    The first array gives :math:`p`, whose expectation is taken: to distil, the teacher's logits
    come first and the student's second. Probabilities never go into a logarithm, and the sum is
    that of :math:`p_k \ln (p_k / q_k) - p_k + q_k`, which is the same and loses nothing where the
    two are close.

    Args:
      logits: :math:`z`, ``[batch, classes]``, floating point, finite.
      other_logits: :math:`z'`, of the same shape.
      axis: the axis, or axes, of the classes.
      where: booleans that broadcast to the shape of the logits. A class that is left out is absent
        from both predictions, as if sliced away.
      temperature: :math:`T`, positive. The divergence is not multiplied by :math:`T^2`.

    Returns:
      ``[batch]``, in nats, at least 0 up to rounding; 0 for an example with no class.

    Raises:
      TypeError: for logits that are not of floating point or a ``where`` that is not of booleans.
      ValueError: for shapes that do not fit or a temperature that is not positive; where arrays are
        concrete also for NaN or infinity.

    Source: Kullback and Leibler 1951, On information and sufficiency, equation 2.4; the temperature
    is that of Hinton et al. 2015, Distilling the knowledge in a neural network, equation 1.

    >>> logits = jnp.log(jnp.array([[0.5, 0.5], [0.9, 0.1]]))
    >>> other_logits = jnp.log(jnp.array([[0.25, 0.75], [0.9, 0.1]]))
    >>> [f"{kl:.4f}" for kl in kl_logits(logits, other_logits)]  # 0.5 ln 2 + 0.5 ln (2 / 3), 0
    ['0.1438', '0.0000']
    """
    log_p, log_q, p, q = two_predictions(
        logits, other_logits, axis=axis, where=where, temperature=temperature
    )
    difference = log_p - log_q
    # p (x - 1 + exp(-x)) with x = ln(p / q): written out where the exponential could overflow.
    small = difference > -1
    curved = difference + jnp.expm1(-jnp.where(small, difference, 0))
    return jnp.sum(jnp.where(small, p * curved, p * difference - p + q), axis=axis)


def _total(x: Array, axis_name: str | None) -> Array:
    return x if axis_name is None else jax.lax.psum(x, axis_name)


def _mean(sample: Array, weights: Array, axis_name: str | None) -> Array:
    return _total(jnp.sum(weights[:, None] * sample, axis=0), axis_name)


def _centre(sample: Array, weights: Array, axis_name: str | None) -> tuple[Array, Array]:
    """The mean ``[d]``, and points ``[n, d]`` whose squares sum to the covariance."""
    mean = _mean(sample, weights, axis_name)
    # The root of a weight of 0 would have an infinite slope; an absent point has none.
    root = jnp.where(weights > 0, jnp.sqrt(jnp.where(weights > 0, weights, 1)), 0)
    return mean, root[:, None] * (sample - mean)


def _factor(spread: Array, ridge: Array, axis_name: str | None) -> Array:
    """Upper triangular ``[d, d]``, whose square is the covariance of the points plus the ridge."""
    spread = whole_batch(spread, axis_name)
    root = jnp.where(ridge > 0, jnp.sqrt(jnp.where(ridge > 0, ridge, 1)), 0)
    rows = jnp.concatenate([spread, root * jnp.eye(spread.shape[1], dtype=spread.dtype)])
    return jnp.linalg.qr(rows, mode="r")
