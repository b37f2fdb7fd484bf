"""OSBP: target examples of no known class become a class of their own."""

import jax.numpy as jnp
from jax import Array

from jaxfer.adaptation.classifier import Classifier, Outputs
from jaxfer.adaptation.method import Method, minimise
from jaxfer.adapters import constant_strength, reverse_gradient
from jaxfer.adapters.strength_schedules import Schedule
from jaxfer.losses import open_set_boundary
from jaxfer.typing import DomainBatch, Key, Metrics, PyTree


def osbp(
    classifier: Classifier,
    *,
    strength: Schedule | None = None,
    boundary: float | Array = 0.5,
) -> Method:
    r"""Open-set adaptation by backpropagation: the head calls the target half unknown.

    .. math::
        \min_h \; L_s + L_u, \qquad \min_\theta \; L_s - \lambda(t) L_u, \qquad L_u = -\frac{1}{m}
        \sum_j \big( b \ln p_u(x_j) + (1 - b) \ln (1 - p_u(x_j)) \big)

    in one minimisation, by reversing the gradient between features and head: an example moves to
    the known classes or to the unknown one, away from the boundary that the head draws.

    Args:
      classifier: the network, whose head has one class more than the source; the last one is the
        unknown.
      strength: :math:`\lambda`, a function of the step; ``None`` is 1 at every step, as published.
      boundary: :math:`b`, from 0 to 1.

    Returns:
      The method. Metrics: ``unknown``, the share of the target that is predicted to be unknown.

    Source: Saito et al. 2018, Open set domain adaptation by backpropagation, equations 1 to 4.

    >>> import jax
    >>> from jaxfer.adaptation.toy import toy_batch, toy_classifier
    >>> method = osbp(toy_classifier(classes=3))  # two in the source
    >>> params, state = method.init(jax.random.key(0))
    >>> method.predict(params, state, toy_batch().target).logits.shape
    (6, 3)
    """
    strength = strength or constant_strength()

    def term(
        params: PyTree, outputs: Outputs, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, Metrics]:
        features = reverse_gradient(outputs.target.features, strength(step))
        logits = classifier.head.apply(params["head"], features)
        unknown = jnp.mean(jnp.argmax(logits, axis=1) == logits.shape[1] - 1)
        return jnp.mean(open_set_boundary(logits, boundary=boundary)), {"unknown": unknown}

    return minimise(classifier, term)
