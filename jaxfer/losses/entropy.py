"""Entropy of predictions: of each, and against that of their mean."""

from typing import Any

import jax.numpy as jnp
from jax import Array

from jaxfer.divergences.logits import one_prediction
from jaxfer.divergences.options import check_number
from jaxfer.divergences.samples import one_sample
from jaxfer.losses.batch_mean import batch_sum, log_mean_exp


def entropy(logits: Any, *, axis: int | tuple[int, ...] = -1, where: Any = None) -> Array:
    r"""Shannon entropy of the prediction of logits (per-example).

    .. math:: H(p) = - \sum_k p_k \ln p_k, \qquad p = \mathrm{softmax}(z)

    Args:
      logits: :math:`z`, ``[batch, classes]``, floating point, finite.
      axis: the axis, or axes, of the classes.
      where: booleans that broadcast to the shape of the logits. A class that is left out is absent,
        as if sliced away.

    Returns:
      ``[batch]``, in nats, between 0 and the logarithm of the number of classes; 0 for an example
      with no class.

    Raises:
      TypeError: for logits that are not of floating point or a ``where`` that is not of booleans.
      ValueError: for shapes that do not fit; where arrays are concrete also for NaN or infinity.

    Source: Grandvalet and Bengio 2004, Semi-supervised learning by entropy minimization, equation
    5.

    >>> [f"{h:.4f}" for h in entropy(jnp.array([[0.0, 0.0], [100.0, 0.0]]))]  # ln 2, 0
    ['0.6931', '0.0000']
    """
    log_probabilities, probabilities = one_prediction(logits, axis=axis, where=where)
    return jnp.sum(probabilities * -log_probabilities, axis=axis)


def information_maximization(
    logits: Any,
    *,
    diversity: float | Array = 1.0,
    weights: Any = None,
    axis_name: str | None = None,
) -> Array:
    r"""Predictions that are sure one by one and diverse together (batch-coupled).

    .. math::
        L = \sum_i w_i H(p_i) - \beta \, H(\bar p), \qquad \bar p = \sum_i w_i p_i

    with weights that sum to 1. For :math:`\beta = 1` it is the negative mutual information of input
    and prediction. :math:`\ln \bar p` is that of a sum of exponentials: a class that nothing is
    assigned to costs no logarithm of 0.

    Args:
      logits: ``[batch, classes]``, floating point, finite; :math:`p` is their softmax.
      diversity: :math:`\beta`, at least 0.
      weights: :math:`w`, ``[batch]``, not negative, on any scale; an example of weight 0 is absent.
        ``None`` weighs all alike.
      axis_name: mapped axis over which the batch is spread. Every device then returns the loss of
        the global batch; average the gradients with ``lax.pmean``.

    Returns:
      A scalar in nats, at least :math:`-\beta \ln K` for :math:`K` classes. 0 where traced weights
      are all 0.

    Raises:
      TypeError: for logits that are not of floating point.
      ValueError: for wrong shapes or a negative ``diversity``; where arrays are concrete also for
        NaN, infinity, or weights that are negative or all 0.

    Source: Liang et al. 2020, Do we really need to access the source data?, equation 3, the sum of
    its two terms with :math:`\beta = 1`.

    >>> sure_and_diverse = jnp.array([[100.0, 0.0], [0.0, 100.0]])
    >>> f"{information_maximization(sure_and_diverse):.4f}"  # -ln 2
    '-0.6931'
    >>> f"{information_maximization(sure_and_diverse[:1]):.4f}"
    '0.0000'
    """
    check_number("diversity", diversity, at_least=0)
    logits, weights, present = one_sample(logits, weights, name="logits", axis_name=axis_name)
    log_probabilities, probabilities = one_prediction(logits)
    log_mean = log_mean_exp(log_probabilities, weights, axis_name)
    mean = batch_sum(weights @ probabilities, axis_name)
    own = batch_sum(weights @ entropy(logits), axis_name)
    return jnp.where(present > 0, own + diversity * jnp.sum(mean * log_mean), 0)
