"""BSP: adversarial training without the few directions that carry most of the features."""

from jax import Array

from jaxfer.adaptation.cdan import cdan_term
from jaxfer.adaptation.classifier import Classifier, Outputs
from jaxfer.adaptation.dann import dann_term
from jaxfer.adaptation.method import Method, minimise
from jaxfer.adapters import FeatureMap, constant_strength
from jaxfer.adapters.strength_schedules import Schedule
from jaxfer.losses import batch_spectral_penalty
from jaxfer.typing import DomainBatch, Key, Metrics, PyTree


def bsp(
    classifier: Classifier,
    *,
    adversary: FeatureMap,
    strength: Schedule | None = None,
    penalty: float | Array = 1e-4,
    singular_values: int = 1,
    conditional: bool = False,
    entropy_weights: bool = False,
    random_dimension: int | None = None,
    random_key: Key | None = None,
    axis_name: str | None = None,
) -> Method:
    r"""Batch spectral penalisation: DANN or CDAN, with the largest singular values held down.

    .. math::
        \min \; L_s - \lambda(t) L_d + \beta \sum_{i=1}^k \big( \sigma_{s,i}^2 + \sigma_{t,i}^2
        \big)

    with :math:`\sigma` the singular values of a batch of features.

    Args:
      classifier: the network.
      adversary: as for DANN, or with ``conditional`` as for CDAN.
      strength: :math:`\lambda`, a function of the step; ``None`` is 1 at every step.
      penalty: :math:`\beta`, at least 0; the paper's.
      singular_values: :math:`k`, at least 1.
      conditional: whether the adversary is CDAN's.
      entropy_weights, random_dimension, random_key: as for CDAN, with ``conditional``.
      axis_name: as for ``jaxfer.batch_spectral_penalty``.

    Returns:
      The method. Metrics: ``domain_accuracy`` and ``spectral``, the sum.

    Source: Chen et al. 2019, Transferability vs. discriminability: batch spectral penalization,
    equations 5 to 7.

    >>> import jax
    >>> from jaxfer.adaptation.toy import toy_classifier
    >>> from jaxfer.adapters import linear_feature_map
    >>> method = bsp(toy_classifier(), adversary=linear_feature_map(3, 1))
    >>> sorted(method.init(jax.random.key(0))[0])
    ['adversary', 'encoder', 'head']
    """
    strength = strength or constant_strength()
    if conditional:
        adversarial = cdan_term(
            adversary,
            strength,
            entropy_weights=entropy_weights,
            random_dimension=random_dimension,
            random_key=random_key,
            axis_name=axis_name,
        )
    else:
        adversarial = dann_term(adversary, strength)

    def term(
        params: PyTree, outputs: Outputs, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, Metrics]:
        value, metrics = adversarial(params, outputs, batch, step=step, key=key)
        source, target = (
            batch_spectral_penalty(
                side.features, singular_values=singular_values, axis_name=axis_name
            )
            for side in (outputs.source, outputs.target)
        )
        spectral = source + target
        return value + penalty * spectral, {**metrics, "spectral": spectral}

    return minimise(classifier, term, parts={"adversary": adversary})
