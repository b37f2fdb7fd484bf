"""AFN: features of both domains that grow step by step."""

import jax.numpy as jnp
from jax import Array

from jaxfer.adaptation.classifier import Classifier, Outputs
from jaxfer.adaptation.method import Method, minimise
from jaxfer.adapters import constant_strength
from jaxfer.adapters.strength_schedules import Schedule
from jaxfer.losses import stepwise_feature_norm
from jaxfer.losses.safe_norm import safe_norm
from jaxfer.typing import DomainBatch, Key, Metrics, PyTree


def afn(
    classifier: Classifier,
    *,
    strength: Schedule | None = None,
    growth: float | Array = 1.0,
) -> Method:
    r"""Stepwise adaptive feature norm: the supervised loss plus a pull on every feature's length.

    .. math::
        \min \; L_s + \lambda(t) \sum_{d \in \{s, t\}} \frac{1}{n_d} \sum_i \big( \| f_i \| - \|
        \bar f_i \| - \Delta r \big)^2

    with :math:`\bar f` held constant: the value is that of :math:`\Delta r`, and the gradient
    lengthens the features.

    Args:
      classifier: the network.
      strength: :math:`\lambda`, a function of the step; ``None`` is 0.05 at every step, as
        published.
      growth: :math:`\Delta r`, at least 0.

    Returns:
      The method. Metrics: ``source_norm`` and ``target_norm``, the mean lengths.

    Source: Xu et al. 2019, Larger norm more transferable, equation 6. Deviation: no dropout is
    assumed, and so no factor for it.

    >>> import jax
    >>> from jaxfer.adaptation.toy import toy_batch, toy_classifier
    >>> method = afn(toy_classifier())
    >>> params, state = method.init(jax.random.key(0))
    >>> loss, (_, metrics) = method.players[0].loss(
    ...     params, state, toy_batch(), step=0, key=jax.random.key(1)
    ... )
    >>> f"{metrics['term']:.2f}"
    '0.10'
    """
    strength = strength or constant_strength(0.05)

    def term(
        params: PyTree, outputs: Outputs, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, Metrics]:
        sides = {"source": outputs.source.features, "target": outputs.target.features}
        pull = sum(jnp.mean(stepwise_feature_norm(side, step=growth)) for side in sides.values())
        norms = {f"{name}_norm": jnp.mean(safe_norm(side, 1)) for name, side in sides.items()}
        return strength(step) * pull, norms

    return minimise(classifier, term)
