"""MCC: target predictions that do not confuse one class with another."""

from jax import Array

from jaxfer.adaptation.classifier import Classifier, Outputs
from jaxfer.adaptation.method import Method, minimise
from jaxfer.adapters import constant_strength
from jaxfer.adapters.strength_schedules import Schedule
from jaxfer.losses import minimum_class_confusion
from jaxfer.typing import DomainBatch, Key, Metrics, PyTree


def mcc(
    classifier: Classifier,
    *,
    strength: Schedule | None = None,
    temperature: float | Array = 2.5,
    axis_name: str | None = None,
) -> Method:
    r"""Minimum class confusion: the supervised loss plus the confusion of the target's classes.

    .. math:: \min \; L_s + \lambda(t) \, \mathrm{MCC}(z_t / T)

    Args:
      classifier: the network.
      strength: :math:`\lambda`, a function of the step; ``None`` is 1 at every step, as published.
      temperature: :math:`T`, positive.
      axis_name: as for ``jaxfer.minimum_class_confusion``.

    Returns:
      The method. Metrics: ``confusion``.

    Source: Jin et al. 2020, Minimum class confusion for versatile domain adaptation, equation 8.

    >>> import jax
    >>> from jaxfer.adaptation.toy import toy_batch, toy_classifier
    >>> method = mcc(toy_classifier())
    >>> params, state = method.init(jax.random.key(0))
    >>> loss, (_, metrics) = method.players[0].loss(
    ...     params, state, toy_batch(), step=0, key=jax.random.key(1)
    ... )
    >>> 0 < float(metrics["confusion"]) <= 0.5  # of two classes
    True
    """
    strength = strength or constant_strength()

    def term(
        params: PyTree, outputs: Outputs, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, Metrics]:
        confusion = minimum_class_confusion(
            outputs.target.logits, temperature=temperature, axis_name=axis_name
        )
        return strength(step) * confusion, {"confusion": confusion}

    return minimise(classifier, term)
