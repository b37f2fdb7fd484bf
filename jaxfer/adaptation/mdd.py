"""MDD: a second classifier that differs from the first on the target alone, and is left no room."""

from jax import Array

from jaxfer.adaptation.classifier import Classifier, Outputs
from jaxfer.adaptation.method import Method, minimise
from jaxfer.adapters import FeatureMap, constant_strength, reverse_gradient
from jaxfer.adapters.strength_schedules import Schedule
from jaxfer.losses import margin_disparity
from jaxfer.typing import DomainBatch, Key, Metrics, PyTree


def mdd(
    classifier: Classifier,
    *,
    adversary: FeatureMap,
    strength: Schedule | None = None,
    margin: float | Array = 4.0,
    axis_name: str | None = None,
) -> Method:
    r"""Margin disparity discrepancy: an adversarial classifier maximises what features minimise.

    .. math::
        \min_{\theta, h} \; L_s(\theta, h) + \lambda(t) D_\gamma(\theta, h, h'), \qquad
        \max_{h'} D_\gamma(\theta, h, h')

    in one minimisation, by reversing the gradient between features and adversary. The head is
    trained by the supervised loss alone.

    Args:
      classifier: the network.
      adversary: :math:`h'`, from features to as many logits as the head has.
      strength: :math:`\lambda`, a function of the step; ``None`` is 0.1 at every step, to which
        the published one rises.
      margin: :math:`\gamma`, positive: 2 to 4 in the paper.
      axis_name: as for ``jaxfer.margin_disparity``.

    Returns:
      The method. Metrics: ``disparity``.

    Source: Zhang et al. 2019, Bridging theory and algorithm for domain adaptation, equations 27 to
    30.

    >>> import jax
    >>> from jaxfer.adaptation.toy import toy_classifier
    >>> from jaxfer.adapters import linear_feature_map
    >>> method = mdd(toy_classifier(), adversary=linear_feature_map(3, 2))
    >>> sorted(method.init(jax.random.key(0))[0])
    ['adversary', 'encoder', 'head']
    """
    strength = strength or constant_strength(0.1)

    def term(
        params: PyTree, outputs: Outputs, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, Metrics]:
        source, target = (
            adversary.apply(params["adversary"], reverse_gradient(side.features, strength(step)))
            for side in (outputs.source, outputs.target)
        )
        disparity = margin_disparity(
            outputs.source.logits,
            source,
            outputs.target.logits,
            target,
            margin=margin,
            axis_name=axis_name,
        )
        return -disparity, {"disparity": disparity}

    return minimise(classifier, term, parts={"adversary": adversary})
