"""Minimum class confusion: which classes share examples?"""

from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from jaxfer.divergences.logits import one_prediction
from jaxfer.divergences.options import check_number
from jaxfer.divergences.samples import one_sample
from jaxfer.losses.batch_mean import batch_sum, log_mean_exp
from jaxfer.losses.domain_adversarial import entropy_conditioning


def minimum_class_confusion(
    logits: Any,
    *,
    temperature: float | Array = 2.5,
    entropy_weights: bool = True,
    weights: Any = None,
    axis_name: str | None = None,
) -> Array:
    r"""How much the classes of a batch are confused with each other (batch-coupled).

    .. math::
        C_{kl} = \sum_i w_i (1 + e^{-H(p_i)}) \, p_{ik} \, p_{il}, \qquad
        L = \frac{1}{K} \sum_k \sum_{l \ne k} \frac{C_{kl}}{\sum_{l'} C_{kl'}}, \qquad
        p = \mathrm{softmax}(z / T)

    A row of the normalised matrix is the mean prediction of the examples that stand for its class,
    each as much as it belongs there; these shares are computed from log-probabilities, so that a
    class that nearly nothing is assigned to has its value and gradient too. The weights of the
    entropy are constants in differentiation.

    Args:
      logits: :math:`z`, ``[batch, classes]``, floating point, finite.
      temperature: :math:`T`, positive.
      entropy_weights: whether to weigh by :math:`1 + e^{-H}`.
      weights: :math:`w`, ``[batch]``, not negative, on any scale; an example of weight 0 is absent.
        ``None`` weighs all alike.
      axis_name: mapped axis over which the batch is spread. Every device then returns the loss of
        the global batch; average the gradients with ``lax.pmean``.

    Returns:
      A scalar between 0 and :math:`1 - 1 / K`. 0 where traced weights are all 0.

    Raises:
      TypeError: for logits that are not of floating point, or options of the wrong type.
      ValueError: for wrong shapes or a temperature that is not positive; where arrays are concrete
        also for NaN, infinity, or weights that are negative or all 0.

    Source: Jin et al. 2020, Minimum class confusion for versatile domain adaptation, section 3.2;
    2.5 is its temperature for Office-31. Deviation: none from tllib but that it divides by a row's
    sum where that is 0.

    >>> sure = jnp.array([[100.0, 0.0], [0.0, 100.0]])
    >>> [f"{minimum_class_confusion(x):.4f}" for x in (sure, 0 * sure)]
    ['0.0000', '0.5000']
    """
    if not isinstance(entropy_weights, bool):
        raise TypeError(f"entropy_weights must be True or False; it is {entropy_weights!r}.")
    check_number("temperature", temperature, above=0)
    logits, weights, present = one_sample(logits, weights, name="logits", axis_name=axis_name)
    log_probabilities, _ = one_prediction(logits / temperature)
    if entropy_weights:
        weights = weights * lax.stop_gradient(entropy_conditioning(logits / temperature))
    log_mass = log_mean_exp(log_probabilities, weights, axis_name)
    # The share of example i in class k, w_i p_ik over the class's mass; it could overflow only for
    # an example that is absent.
    ratio = log_probabilities - log_mass
    weights = weights[:, None]
    share = weights * jnp.exp(jnp.where(weights > 0, ratio, jnp.minimum(ratio, 0)))
    confused = batch_sum(jnp.sum(share * -jnp.expm1(log_probabilities)), axis_name)
    return jnp.where(present > 0, confused / logits.shape[1], 0)
