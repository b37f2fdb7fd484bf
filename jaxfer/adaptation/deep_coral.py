"""Deep CORAL: layers whose covariances are the same in both domains."""

from jax import Array

from jaxfer.adaptation.classifier import Classifier, Outputs
from jaxfer.adaptation.method import Method, minimise
from jaxfer.adapters import constant_strength
from jaxfer.adapters.strength_schedules import Schedule
from jaxfer.divergences import coral
from jaxfer.typing import DomainBatch, Key, Metrics, PyTree


def deep_coral(
    classifier: Classifier, *, strength: Schedule | None = None, axis_name: str | None = None
) -> Method:
    r"""Deep CORAL: the supervised loss plus the distance of covariances of features and of logits.

    .. math::
        \min \; L_s + \lambda(t) \sum_l \frac{1}{4 d_l^2} \| C^l_s - C^l_t \|_F^2

    Args:
      classifier: the network.
      strength: :math:`\lambda`, a function of the step; ``None`` is 1 at every step. The paper
        chooses it so that both losses are about equal at the end.
      axis_name: as for ``jaxfer.coral``.

    Returns:
      The method. Metrics: ``coral``.

    Source: Sun and Saenko 2016, Deep CORAL, equation 6. Deviation: two layers, where the paper's
    experiments take the logits alone.

    >>> import jax
    >>> from jaxfer.adaptation.toy import toy_batch, toy_classifier
    >>> method = deep_coral(toy_classifier())
    >>> params, state = method.init(jax.random.key(0))
    >>> loss, (_, metrics) = method.players[0].loss(
    ...     params, state, toy_batch(), step=0, key=jax.random.key(1)
    ... )
    >>> bool(metrics["coral"] > 0)
    True
    """
    strength = strength or constant_strength()

    def term(
        params: PyTree, outputs: Outputs, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, Metrics]:
        source, target = outputs.source, outputs.target
        apart = coral(source.features, target.features, axis_name=axis_name)
        apart += coral(source.logits, target.logits, axis_name=axis_name)
        return strength(step) * apart, {"coral": apart}

    return minimise(classifier, term)
