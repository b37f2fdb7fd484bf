"""Infomax: target predictions that are sure one by one and diverse together."""

from jax import Array

from jaxfer.adaptation.classifier import Classifier, Outputs
from jaxfer.adaptation.method import Method, minimise
from jaxfer.adapters import constant_strength
from jaxfer.adapters.strength_schedules import Schedule
from jaxfer.losses import information_maximization
from jaxfer.typing import DomainBatch, Key, Metrics, PyTree


def infomax(
    classifier: Classifier,
    *,
    strength: Schedule | None = None,
    diversity: float | Array = 1.0,
    axis_name: str | None = None,
) -> Method:
    r"""Minimum entropy with diversity: the supervised loss less mutual information on the target.

    .. math::
        \min \; L_s + \lambda(t) \Big( \frac{1}{m} \sum_j H(p_j) - \beta H(\bar p) \Big), \qquad
        \bar p = \frac{1}{m} \sum_j p_j

    Args:
      classifier: the network.
      strength: :math:`\lambda`, a function of the step; ``None`` is 1 at every step.
      diversity: :math:`\beta`, at least 0. With 0 it is minimum entropy, which one class for all
        examples would satisfy.
      axis_name: as for ``jaxfer.information_maximization``.

    Returns:
      The method. Metrics: ``information``, the negative of the bracket.

    Source: Krause et al. 2010, Discriminative clustering by regularized information maximization,
    equation 3, beside a supervised loss; Liang et al. 2020, Do we really need to access the source
    data?, equation 3.

    >>> import jax
    >>> from jaxfer.adaptation.toy import toy_batch, toy_classifier
    >>> method = infomax(toy_classifier())
    >>> params, state = method.init(jax.random.key(0))
    >>> loss, (_, metrics) = method.players[0].loss(
    ...     params, state, toy_batch(), step=0, key=jax.random.key(1)
    ... )
    >>> bool(metrics["information"] > 0)
    True
    """
    strength = strength or constant_strength()

    def term(
        params: PyTree, outputs: Outputs, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, Metrics]:
        negative = information_maximization(
            outputs.target.logits, diversity=diversity, axis_name=axis_name
        )
        return strength(step) * negative, {"information": -negative}

    return minimise(classifier, term)
