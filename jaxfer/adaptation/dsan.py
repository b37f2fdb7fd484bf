"""DSAN: features whose means agree class by class."""

import jax
from jax import Array, lax

from jaxfer.adaptation.classifier import Classifier, Outputs
from jaxfer.adaptation.method import Method, minimise
from jaxfer.adapters import constant_strength
from jaxfer.adapters.strength_schedules import Schedule
from jaxfer.divergences import local_mmd
from jaxfer.typing import DomainBatch, Key, Metrics, PyTree


def dsan(
    classifier: Classifier, *, strength: Schedule | None = None, axis_name: str | None = None
) -> Method:
    r"""Deep subdomain adaptation network: the supervised loss plus local MMD of the features.

    .. math:: \min \; L_s + \lambda(t) \, \mathrm{LMMD}^2(f_s, f_t; y_s, p_t)

    The target's labels are its soft predictions :math:`p_t`, held constant.

    Args:
      classifier: the network.
      strength: :math:`\lambda`, a function of the step; ``None`` is 1/2 at every step. The
        published one is ``jaxfer.adapters.dann_strength(steps, end=0.5)``.
      axis_name: as for ``jaxfer.local_mmd``.

    Returns:
      The method. Metrics: ``local_mmd``.

    Source: Zhu et al. 2021, Deep subdomain adaptation network for image classification, equation 7.

    >>> from jaxfer.adaptation.toy import toy_batch, toy_classifier
    >>> method = dsan(toy_classifier())
    >>> params, state = method.init(jax.random.key(0))
    >>> loss, (_, metrics) = method.players[0].loss(
    ...     params, state, toy_batch(), step=0, key=jax.random.key(1)
    ... )
    >>> bool(metrics["local_mmd"] > 0)
    True
    """
    strength = strength or constant_strength(0.5)

    def term(
        params: PyTree, outputs: Outputs, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, Metrics]:
        apart = local_mmd(
            outputs.source.features,
            outputs.target.features,
            batch.source.y,
            lax.stop_gradient(jax.nn.softmax(outputs.target.logits)),
            axis_name=axis_name,
        )
        return strength(step) * apart, {"local_mmd": apart}

    return minimise(classifier, term)
