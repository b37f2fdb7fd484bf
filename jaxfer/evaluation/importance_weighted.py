"""The target's risk, estimated on labelled source examples that are weighted to look like it."""

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from jaxfer.divergences.samples import floating, is_concrete
from jaxfer.evaluation.examples import labelled_examples, nan_where_nan


def importance_weighted_validation(
    logits: Any,
    labels: Any,
    density_ratios: Any,
    *,
    loss: Literal["cross_entropy", "zero_one"] = "cross_entropy",
    weights: Any = None,
) -> Array:
    r"""Minus the risk on the source under density ratios (IWCV); higher is better.

    .. math::
        -\hat R, \qquad \hat R = \frac{1}{n} \sum_i r(x_i) \, \ell(z_i, y_i), \qquad
        r(x) = \frac{p_t(x)}{p_s(x)}

    Raw quantity: :math:`\hat R`, the importance-weighted risk, which with the true ratios is an
    unbiased estimate of the target's risk where labels depend on inputs in the same way in both
    domains and every target example could also have come from the source. A few examples of large
    ratio carry the estimate; :func:`deep_embedded_validation` varies less.

    Args:
      logits: :math:`z`, ``[n, classes]``, of source examples that were not trained on.
      labels: :math:`y`, ``[n]``, integers from 0 to ``classes - 1``.
      density_ratios: :math:`r`, ``[n]``, not negative, such as :func:`domain_density_ratio` gives.
        Unlike weights they have a scale: their mean over the source is 1.
      loss: ``"cross_entropy"``, in nats, or ``"zero_one"``, the share of errors.
      weights: ``[n]``, not negative, on any scale; an example of weight 0 is absent. ``None``
        weighs all alike.

    Returns:
      A scalar, at most 0; NaN where traced logits hold NaN, 0 where traced weights are all 0.

    Raises:
      TypeError: for logits or ratios that are not of floating point, labels that are no integers.
      ValueError: for shapes that do not fit or an unknown loss; where arrays are concrete also for
        NaN, infinity, labels out of range, negative ratios, and weights that are negative or all 0.

    Source: Sugiyama et al. 2007, Covariate shift adaptation by importance weighted cross
    validation, section 3, on one held-out part in the place of folds.

    >>> logits, labels = jnp.array([[1.0, 0.0], [1.0, 0.0]]), jnp.array([0, 1])
    >>> ratios = jnp.array([1.5, 0.5])  # the target is more like the first, which is right
    >>> float(importance_weighted_validation(logits, labels, ratios, loss="zero_one"))
    -0.25
    """
    losses, ratios, weights = _losses_and_ratios(logits, labels, density_ratios, loss, weights)
    return -(weights @ (ratios * losses))


def deep_embedded_validation(
    logits: Any,
    labels: Any,
    density_ratios: Any,
    *,
    loss: Literal["cross_entropy", "zero_one"] = "cross_entropy",
    weights: Any = None,
) -> Array:
    r"""Minus the importance-weighted risk with a control variate (DEV); higher is better.

    .. math::
        -\hat R, \qquad \hat R = \overline{L} + \eta \, (\overline{r} - 1), \qquad
        L_i = r(x_i) \, \ell(z_i, y_i), \qquad
        \eta = - \frac{\mathrm{Cov}(L, r)}{\mathrm{Var}(r)}

    Raw quantity: :math:`\hat R`, the DEV risk. The mean of the true ratios is 1, so that whatever
    theirs departs from it tells how far the first term has gone astray. The ratios are those of the
    features that are being validated: a new domain classifier for each network. Ratios that are all
    the same have no variance, and :math:`\eta` is then 0.

    Args:
      logits: :math:`z`, ``[n, classes]``, of source examples that were not trained on.
      labels: :math:`y`, ``[n]``, integers from 0 to ``classes - 1``.
      density_ratios: :math:`r`, ``[n]``, not negative, such as :func:`domain_density_ratio` gives.
      loss: ``"cross_entropy"``, in nats, or ``"zero_one"``, the share of errors.
      weights: ``[n]``, not negative, on any scale; an example of weight 0 is absent. ``None``
        weighs all alike.

    Returns:
      A scalar, which the control variate may bring above 0; NaN where traced logits hold NaN, 0
      where traced weights are all 0.

    Raises:
      TypeError, ValueError: as :func:`importance_weighted_validation`.

    Source: You et al. 2019, Towards accurate model selection in deep unsupervised domain
    adaptation, algorithm 1 (GetRisk).

    >>> logits, labels = jnp.array([[1.0, 0.0], [1.0, 0.0]]), jnp.array([0, 1])
    >>> ratios = jnp.array([1.2, 0.6])  # their mean is 0.9
    >>> f"{deep_embedded_validation(logits, labels, ratios, loss='zero_one'):.3f}"
    '-0.200'
    """
    return _controlled(*_losses_and_ratios(logits, labels, density_ratios, loss, weights))


@jax.jit
def _controlled(losses: Array, ratios: Array, weights: Array) -> Array:
    weighted = ratios * losses
    mean, mean_ratio = weights @ weighted, weights @ ratios
    apart = ratios - mean_ratio
    variance, covariance = weights @ jnp.square(apart), weights @ (apart * (weighted - mean))
    # What is left of equal ratios after rounding is no variance.
    resolved = variance > jnp.square(16 * jnp.finfo(ratios.dtype).eps * mean_ratio)
    factor = jnp.where(resolved, -covariance / jnp.where(resolved, variance, 1), 0)
    present = jnp.sum(weights) > 0
    return -jnp.where(present, mean + factor * (mean_ratio - 1), 0)


def _losses_and_ratios(
    logits: Any, labels: Any, density_ratios: Any, loss: str, weights: Any
) -> tuple[Array, Array, Array]:
    """Losses, ratios and weights that sum to 1, all ``[n]``."""
    if loss not in ("cross_entropy", "zero_one"):
        raise ValueError(f"loss must be 'cross_entropy' or 'zero_one'; it is {loss!r}.")
    logits, labels, weights = labelled_examples(logits, labels, weights)
    ratios = floating("density_ratios", density_ratios)
    if ratios.shape != labels.shape:
        raise ValueError(
            f"density_ratios must hold one ratio for each row of logits: {labels.shape}; "
            f"their shape is {ratios.shape}."
        )
    if is_concrete(ratios) and not (np.asarray(ratios) >= 0).all():
        raise ValueError("density_ratios must not be negative; exponentiate log-ratios first.")
    return _losses(logits, labels, loss == "zero_one"), ratios.astype(logits.dtype), weights


@partial(jax.jit, static_argnums=2)
def _losses(logits: Array, labels: Array, zero_one: bool) -> Array:
    if zero_one:
        return (jnp.argmax(logits, axis=-1) != labels) + nan_where_nan(logits)
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)
