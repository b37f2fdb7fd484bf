"""DANN: features from which no critic can tell the domains."""

import jax.numpy as jnp
from jax import Array

from jaxfer.adaptation.classifier import Classifier, Outputs
from jaxfer.adaptation.method import Method, Term, minimise
from jaxfer.adapters import FeatureMap, constant_strength, reverse_gradient
from jaxfer.adapters.strength_schedules import Schedule
from jaxfer.losses import domain_adversarial
from jaxfer.typing import DomainBatch, Key, Metrics, PyTree


def dann(
    classifier: Classifier, *, adversary: FeatureMap, strength: Schedule | None = None
) -> Method:
    r"""Domain-adversarial training: the adversary minimises what the features maximise.

    .. math::
        \min_{\theta, h} \; L_s(\theta, h) - \lambda(t) L_d(\theta, a), \qquad \min_a L_d(\theta, a)

    in one minimisation, by reversing the gradient between features and adversary.

    Args:
      classifier: the network.
      adversary: from features to one logit, such as
        ``jaxfer.adapters.network_feature_map(d, 1, hidden=(100,))``.
      strength: :math:`\lambda`, a function of the step; ``None`` is 1 at every step. The published
        one is ``jaxfer.adapters.dann_strength(steps)``.

    Returns:
      The method. Metrics: ``domain_accuracy``, one half where the adversary cannot tell.

    Source: Ganin et al. 2016, Domain-adversarial training of neural networks, equations 9 to 17.

    >>> import jax
    >>> from jaxfer.adaptation.toy import toy_classifier
    >>> from jaxfer.adapters import linear_feature_map
    >>> method = dann(toy_classifier(), adversary=linear_feature_map(3, 1))
    >>> sorted(method.init(jax.random.key(0))[0])
    ['adversary', 'encoder', 'head']
    """
    term = dann_term(adversary, strength or constant_strength())
    return minimise(classifier, term, parts={"adversary": adversary})


def dann_term(adversary: FeatureMap, strength: Schedule) -> Term:
    """What DANN adds to the supervised loss, for methods that add more.

    Args:
      adversary: from features to one logit; its parameters are the entry ``"adversary"``.
      strength: of the reversed gradient, a function of the step.

    Returns:
      The term; its metric is ``domain_accuracy``.

    >>> from jaxfer.adapters import linear_feature_map
    >>> callable(dann_term(linear_feature_map(3, 1), constant_strength()))
    True
    """

    def term(
        params: PyTree, outputs: Outputs, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, Metrics]:
        source, target = (
            adversary.apply(params["adversary"], reverse_gradient(side.features, strength(step)))
            for side in (outputs.source, outputs.target)
        )
        loss = domain_adversarial(source[:, 0], target[:, 0])
        return loss, {"domain_accuracy": domain_accuracy(source[:, 0], target[:, 0])}

    return term


def domain_accuracy(source_logits: Array, target_logits: Array) -> Array:
    """How often a critic is right, the mean over the two domains.

    Args:
      source_logits: ``[n]``, above 0 where it says source.
      target_logits: ``[m]``.

    Returns:
      A scalar from 0 to 1.

    >>> domain_accuracy(jnp.array([1.0, -1.0]), jnp.array([-2.0]))
    Array(0.75, dtype=float32)
    """
    return (jnp.mean(source_logits > 0) + jnp.mean(target_logits <= 0)) / 2
