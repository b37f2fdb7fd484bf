"""BNM: target predictions that are sure, and of as many classes as there are."""

from jax import Array

from jaxfer.adaptation.classifier import Classifier, Outputs
from jaxfer.adaptation.method import Method, minimise
from jaxfer.adapters import constant_strength
from jaxfer.adapters.strength_schedules import Schedule
from jaxfer.losses import nuclear_norm_maximization
from jaxfer.typing import DomainBatch, Key, Metrics, PyTree


def bnm(
    classifier: Classifier, *, strength: Schedule | None = None, axis_name: str | None = None
) -> Method:
    r"""Batch nuclear-norm maximisation: the supervised loss less the target's nuclear norm.

    .. math:: \min \; L_s - \lambda(t) \frac{1}{m} \| P_t \|_*

    with the predictions :math:`P_t` of the target batch, a row each.

    Args:
      classifier: the network.
      strength: :math:`\lambda`, a function of the step; ``None`` is 1 at every step, as published.
      axis_name: as for ``jaxfer.nuclear_norm_maximization``.

    Returns:
      The method. Metrics: ``nuclear_norm``, over the size of the batch.

    Source: Cui et al. 2020, Towards discriminability and diversity: batch nuclear-norm
    maximization, equation 12.

    >>> import jax
    >>> from jaxfer.adaptation.toy import toy_batch, toy_classifier
    >>> method = bnm(toy_classifier())
    >>> params, state = method.init(jax.random.key(0))
    >>> loss, (_, metrics) = method.players[0].loss(
    ...     params, state, toy_batch(), step=0, key=jax.random.key(1)
    ... )
    >>> 0 < float(metrics["nuclear_norm"]) < 1
    True
    """
    strength = strength or constant_strength()

    def term(
        params: PyTree, outputs: Outputs, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, Metrics]:
        negative = nuclear_norm_maximization(outputs.target.logits, axis_name=axis_name)
        return strength(step) * negative, {"nuclear_norm": -negative}

    return minimise(classifier, term)
