"""DeepJDOT: every target example is paired with source examples that it resembles in all."""

from jax import Array

from jaxfer import losses
from jaxfer.adaptation.classifier import Classifier, Outputs
from jaxfer.adaptation.method import Method, minimise
from jaxfer.adapters import constant_strength
from jaxfer.adapters.strength_schedules import Schedule
from jaxfer.typing import DomainBatch, Key, Metrics, PyTree


def deep_jdot(
    classifier: Classifier,
    *,
    strength: Schedule | None = None,
    feature_weight: float | Array = 0.001,
    label_weight: float | Array = 0.0001,
    epsilon: float | Array = 0.1,
    max_iterations: int = 100,
) -> Method:
    r"""DeepJDOT: the supervised loss plus the cost of transport of features and labels.

    .. math::
        \min \; L_s + \lambda(t) \sum_{ij} P_{ij} \big( \alpha \| f_i - g_j \|^2 - \beta \ln
        p_{j y_i} \big)

    with the plan :math:`P` of each pair of batches, held constant.

    Args:
      classifier: the network.
      strength: :math:`\lambda`, a function of the step; ``None`` is 1 at every step.
      feature_weight: :math:`\alpha`, at least 0; the paper's for digits.
      label_weight: :math:`\beta`, at least 0; the paper's for digits.
      epsilon: of the plan's entropy, as a multiple of the mean cost.
      max_iterations: of the solver at each step; a plan need not be exact to be followed.

    Returns:
      The method. Metrics: ``transport``. Over devices each pairs its own share of the batch.

    Source: Damodaran et al. 2018, DeepJDOT, equation 6 and algorithm 1. Deviation: the plan is
    entropic.

    >>> import jax
    >>> from jaxfer.adaptation.toy import toy_batch, toy_classifier
    >>> method = deep_jdot(toy_classifier(), feature_weight=1.0, label_weight=1.0)
    >>> params, state = method.init(jax.random.key(0))
    >>> loss, (_, metrics) = method.players[0].loss(
    ...     params, state, toy_batch(), step=0, key=jax.random.key(1)
    ... )
    >>> bool(metrics["transport"] > 0)
    True
    """
    strength = strength or constant_strength()

    def term(
        params: PyTree, outputs: Outputs, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, Metrics]:
        cost, _ = losses.deep_jdot(
            outputs.source.features,
            batch.source.y,
            outputs.target.features,
            outputs.target.logits,
            feature_weight=feature_weight,
            label_weight=label_weight,
            epsilon=epsilon,
            tolerance=1e-3,
            max_iterations=max_iterations,
        )
        return strength(step) * cost, {"transport": cost}

    return minimise(classifier, term)
