"""VADA: predictions that hold still around every example, and boundaries away from the target."""

import math

import jax.numpy as jnp
from jax import Array, lax

from jaxfer.adaptation.classifier import Classifier, Outputs, predict
from jaxfer.adaptation.dann import dann_term
from jaxfer.adaptation.method import Method, minimise
from jaxfer.adapters import DomainStates, FeatureMap, constant_strength
from jaxfer.adapters.strength_schedules import Schedule
from jaxfer.losses import entropy, virtual_adversarial
from jaxfer.typing import DomainBatch, Key, Metrics, PyTree


def vada(
    classifier: Classifier,
    *,
    adversary: FeatureMap | None = None,
    adversary_strength: Schedule | None = None,
    strength: Schedule | None = None,
    source_weight: float | Array = 1.0,
    target_weight: float | Array = 0.01,
    noise: float | Array = 0.063,
) -> Method:
    r"""Virtual adversarial training on both domains, with entropy on the target.

    .. math::
        \min \; L_s + \lambda(t) \big( \rho_s V(x_s) + \rho_t ( V(x_t) + H(p_t) ) \big) -
        \lambda_d(t) L_d

    with :math:`V` the mean divergence of the prediction at the worst input within a radius.
    It is measured with the recorded batch statistics, and without dropout.

    Args:
      classifier: the network; its inputs are one array of floating point.
      adversary: as for DANN; ``None`` leaves :math:`L_d` out: virtual adversarial training alone.
      adversary_strength: :math:`\lambda_d`; ``None`` is 0.01 at every step, as published.
      strength: :math:`\lambda`, a function of the step; ``None`` is 1 at every step.
      source_weight: :math:`\rho_s`, at least 0; 1 or 0 in the paper.
      target_weight: :math:`\rho_t`, at least 0; 0.01 or 0.1 in the paper.
      noise: the radius, as the root mean square over the entries of an input; the default is 3.5
        over the 3072 entries of an image of 32 x 32 in colour.

    Returns:
      The method. Metrics: ``virtual_adversarial``, of the target, and ``entropy``.

    Source: Shu et al. 2018, A DIRT-T approach to unsupervised domain adaptation, equation 8.

    >>> import jax
    >>> from jaxfer.adaptation.toy import toy_batch, toy_classifier
    >>> method = vada(toy_classifier())
    >>> params, state = method.init(jax.random.key(0))
    >>> loss, (_, metrics) = method.players[0].loss(
    ...     params, state, toy_batch(), step=0, key=jax.random.key(1)
    ... )
    >>> bool(metrics["virtual_adversarial"] > 0)
    True
    """
    strength = strength or constant_strength()
    critic = adversary and dann_term(adversary, adversary_strength or constant_strength(0.01))

    def term(
        params: PyTree, outputs: Outputs, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, Metrics]:
        states = lax.stop_gradient(outputs.state)
        if not isinstance(states, DomainStates):
            states = DomainStates(states, states)
        source, target = (
            jnp.mean(
                virtual_adversarial(
                    lambda x, state=state: predict(classifier, params, state, x).logits,  # type: ignore[misc]
                    x,
                    key=key,
                    radius=noise * math.sqrt(math.prod(jnp.shape(x)[1:])),
                )
            )
            for x, state in ((batch.source.x, states.source), (batch.target, states.target))
        )
        unsure = jnp.mean(entropy(outputs.target.logits))
        total = strength(step) * (source_weight * source + target_weight * (target + unsure))
        metrics: Metrics = {"virtual_adversarial": target, "entropy": unsure}
        if critic is not None:
            value, more = critic(params, outputs, batch, step=step, key=key)
            total, metrics = total + value, {**metrics, **more}
        return total, metrics

    return minimise(classifier, term, parts=adversary and {"adversary": adversary})
