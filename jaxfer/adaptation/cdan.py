"""CDAN: an adversary that knows the prediction too."""

import jax
from jax import Array, lax

from jaxfer.adaptation.classifier import Classifier, Outputs
from jaxfer.adaptation.dann import domain_accuracy
from jaxfer.adaptation.method import Method, Term, minimise
from jaxfer.adapters import (
    FeatureMap,
    constant_strength,
    multilinear_map,
    random_multilinear_map,
    reverse_gradient,
)
from jaxfer.adapters.strength_schedules import Schedule
from jaxfer.losses import domain_adversarial, entropy_conditioning
from jaxfer.typing import Classification, DomainBatch, Key, Metrics, PyTree


def cdan(
    classifier: Classifier,
    *,
    adversary: FeatureMap,
    strength: Schedule | None = None,
    entropy_weights: bool = False,
    random_dimension: int | None = None,
    random_key: Key | None = None,
    axis_name: str | None = None,
) -> Method:
    r"""Conditional adversarial training: DANN on the product of features and prediction.

    .. math::
        \min_{\theta, h} \; L_s - \lambda(t) L_d(a(f \otimes p)), \qquad \min_a L_d(a(f \otimes p))

    The prediction :math:`p` is the softmax of the head's logits. It is a condition, without a
    gradient, as in tllib; the paper differentiates it too.

    Args:
      classifier: the network.
      adversary: from ``features * classes`` (or ``random_dimension``) inputs to one logit.
      strength: :math:`\lambda`, a function of the step; ``None`` is 1 at every step.
      entropy_weights: weigh examples by :math:`1 + e^{-H(p)}`: CDAN+E.
      random_dimension: of the randomised product; ``None`` takes the product itself.
      random_key: of its matrices; ``None`` is ``jax.random.key(0)``.
      axis_name: as for ``jaxfer.domain_adversarial``.

    Returns:
      The method. Metrics: ``domain_accuracy``.

    Source: Long et al. 2018, Conditional adversarial domain adaptation, equations 3 to 8.

    >>> from jaxfer.adaptation.toy import toy_classifier
    >>> from jaxfer.adapters import linear_feature_map
    >>> method = cdan(toy_classifier(), adversary=linear_feature_map(3 * 2, 1))
    >>> method.init(jax.random.key(0))[0]["adversary"]["weight"].shape
    (6, 1)
    """
    term = cdan_term(
        adversary,
        strength or constant_strength(),
        entropy_weights=entropy_weights,
        random_dimension=random_dimension,
        random_key=random_key,
        axis_name=axis_name,
    )
    return minimise(classifier, term, parts={"adversary": adversary})


def cdan_term(
    adversary: FeatureMap,
    strength: Schedule,
    *,
    entropy_weights: bool = False,
    random_dimension: int | None = None,
    random_key: Key | None = None,
    axis_name: str | None = None,
) -> Term:
    """What CDAN adds to the supervised loss, for methods that add more.

    Args:
      adversary, strength, entropy_weights, random_dimension, random_key, axis_name: as for
        :func:`cdan`.

    Returns:
      The term; its metric is ``domain_accuracy``.

    >>> from jaxfer.adapters import linear_feature_map
    >>> callable(cdan_term(linear_feature_map(3 * 2, 1), constant_strength()))
    True
    """
    random_key = jax.random.key(0) if random_key is None else random_key

    def conditioned(side: Classification, step: Array) -> Array:
        features = reverse_gradient(side.features, strength(step))
        probabilities = lax.stop_gradient(jax.nn.softmax(side.logits))
        if random_dimension is None:
            return multilinear_map(features, probabilities)
        return random_multilinear_map(
            features, probabilities, key=random_key, dimension=random_dimension
        )

    def term(
        params: PyTree, outputs: Outputs, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, Metrics]:
        sides = (outputs.source, outputs.target)
        source, target = (
            adversary.apply(params["adversary"], conditioned(side, step))[:, 0] for side in sides
        )
        weights = [
            lax.stop_gradient(entropy_conditioning(side.logits)) if entropy_weights else None
            for side in sides
        ]
        loss = domain_adversarial(
            source,
            target,
            source_weights=weights[0],
            target_weights=weights[1],
            axis_name=axis_name,
        )
        return loss, {"domain_accuracy": domain_accuracy(source, target)}

    return term
