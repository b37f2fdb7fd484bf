"""Partial adaptation: which source classes does the target hold?"""

from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from jaxfer.divergences.logits import one_prediction
from jaxfer.divergences.options import check_number
from jaxfer.divergences.samples import one_sample
from jaxfer.losses.batch_mean import batch_sum


def partial_class_weights(
    target_logits: Any,
    *,
    temperature: float | Array = 1.0,
    target_weights: Any = None,
    axis_name: str | None = None,
) -> Array:
    r"""Weights of the source's classes by the target's mean prediction (batch-coupled).

    .. math::
        w_c = \frac{\gamma_c}{\max_k \gamma_k}, \qquad \gamma = \sum_j b_j \,
        \mathrm{softmax}(z_j / T)

    A class that is not in the target gets a weight near 0: give source examples the weight of their
    class, ``weights[source_labels]``, in the classification loss and in
    :func:`domain_adversarial`. They are differentiated; the published method takes them, over the
    whole target set, as constants: ``lax.stop_gradient``.

    Args:
      target_logits: :math:`z`, ``[m, classes]``, floating point, finite.
      temperature: :math:`T`, positive; less than 1 counts sure predictions for more.
      target_weights: :math:`b`, ``[m]``, not negative, on any scale; an example of weight 0 is
        absent. ``None`` weighs all alike.
      axis_name: mapped axis over which the examples are spread. Every device then returns the
        weights of all of them.

    Returns:
      ``[classes]``, from 0 to 1, the largest of them 1. All 0 where traced weights are.

    Raises:
      TypeError: for logits that are not of floating point.
      ValueError: for wrong shapes or a temperature that is not positive; where arrays are concrete
        also for NaN, infinity, or weights that are negative or all 0.

    Source: Cao et al. 2018, Partial adversarial domain adaptation, section 3.2; the temperature is
    tllib's, which takes 0.1.

    >>> logits = jnp.log(jnp.array([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1]]))
    >>> [f"{w:.3f}" for w in partial_class_weights(logits)]
    ['1.000', '0.500', '0.167']
    """
    check_number("temperature", temperature, above=0)
    logits, weights, present = one_sample(
        target_logits,
        target_weights,
        name="target_logits",
        weights_name="target_weights",
        axis_name=axis_name,
    )
    _, probabilities = one_prediction(logits, temperature=temperature)
    mean = batch_sum(weights @ probabilities, axis_name)
    # Of equal classes one is taken as the largest, and its weight is 1 without a derivative.
    top = mean[jnp.argmax(lax.stop_gradient(mean))]
    return jnp.where(present > 0, mean / jnp.where(present > 0, top, 1), 0)
