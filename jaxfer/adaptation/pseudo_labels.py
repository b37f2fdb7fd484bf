"""Pseudo-labels: the target learns from the network's own sure predictions."""

import jax
import jax.numpy as jnp
from jax import Array

from jaxfer.adaptation.classifier import Classifier, Outputs
from jaxfer.adaptation.method import Method, minimise
from jaxfer.adapters import constant_strength
from jaxfer.adapters.strength_schedules import Schedule
from jaxfer.losses import pseudo_label_cross_entropy
from jaxfer.typing import DomainBatch, Key, Metrics, PyTree


def pseudo_labels(
    classifier: Classifier,
    *,
    strength: Schedule | None = None,
    threshold: float | Array = 0.95,
) -> Method:
    r"""Self-training: the supervised loss plus cross-entropy with the most probable class.

    .. math::
        \min \; L_s + \lambda(t) \frac{1}{m} \sum_j 1[\max_k p_{jk} \ge \tau] \; (-\ln p_{j \hat
        y_j})

    Args:
      classifier: the network.
      strength: :math:`\lambda`, a function of the step; ``None`` is 1 at every step. It should
        rise: at first the labels are wrong.
      threshold: :math:`\tau`, from 0 to 1; 0 is the paper's.

    Returns:
      The method. Metrics: ``labelled``, the share of the target that is above the threshold.

    Source: Lee 2013, Pseudo-label, equations 15 and 16.

    >>> from jaxfer.adaptation.toy import toy_batch, toy_classifier
    >>> method = pseudo_labels(toy_classifier(), threshold=0.0)
    >>> params, state = method.init(jax.random.key(0))
    >>> loss, (_, metrics) = method.players[0].loss(
    ...     params, state, toy_batch(), step=0, key=jax.random.key(1)
    ... )
    >>> float(metrics["labelled"])
    1.0
    """
    strength = strength or constant_strength()

    def term(
        params: PyTree, outputs: Outputs, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, Metrics]:
        logits = outputs.target.logits
        loss = jnp.mean(pseudo_label_cross_entropy(logits, threshold=threshold))
        sure = jnp.mean(jnp.max(jax.nn.softmax(logits), axis=1) >= threshold)
        return strength(step) * loss, {"labelled": sure}

    return minimise(classifier, term)
