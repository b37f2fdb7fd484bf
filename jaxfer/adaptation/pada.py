"""PADA: adversarial training in which source classes that the target lacks count for little."""

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxfer.adaptation.classifier import Classifier, forward, supervised_loss
from jaxfer.adaptation.dann import domain_accuracy
from jaxfer.adaptation.method import Method, Player, Remembered, play
from jaxfer.adapters import FeatureMap, constant_strength, reverse_gradient
from jaxfer.adapters.strength_schedules import Schedule
from jaxfer.losses import domain_adversarial, partial_class_weights
from jaxfer.typing import DomainBatch, Key, Metrics, PyTree


def pada(
    classifier: Classifier,
    *,
    adversary: FeatureMap,
    classes: int,
    strength: Schedule | None = None,
    momentum: float | Array = 0.99,
    axis_name: str | None = None,
) -> Method:
    r"""Partial adversarial adaptation: DANN, with source examples weighted by their class.

    .. math::
        \min_{\theta, h} \; \sum_i w_{y_i} L_i - \lambda(t) L_d(w), \qquad \min_a L_d(w), \qquad
        w_c = \frac{\gamma_c}{\max_k \gamma_k}

    where :math:`\gamma` is the mean prediction of the target, an average over the past batches, and
    the weights, which have no gradient, are normalised over the batch in both losses.

    Args:
      classifier: the network.
      adversary: from features to one logit.
      classes: how many the head has.
      strength: :math:`\lambda`, a function of the step; ``None`` is 1 at every step.
      momentum: of the average, from 0 to 1; of an average that begins uniform.
      axis_name: mapped axis over which the batch is spread.

    Returns:
      The method. Metrics: ``domain_accuracy`` and ``kept_classes``, the sum of the weights.

    Source: Cao et al. 2018, Partial adversarial domain adaptation, equations 4 to 6. Deviation: the
    paper computes :math:`\gamma` on the whole target every 500 steps.

    >>> from jaxfer.adaptation.toy import toy_classifier
    >>> from jaxfer.adapters import linear_feature_map
    >>> method = pada(toy_classifier(), adversary=linear_feature_map(3, 1), classes=2)
    >>> method.init(jax.random.key(0))[1].memory
    Array([0.5, 0.5], dtype=float32)
    """
    strength = strength or constant_strength()

    def loss(
        params: PyTree, state: Remembered, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        outputs = forward(classifier, params, state.network, batch, key)
        seen = lax.stop_gradient(jnp.mean(jax.nn.softmax(outputs.target.logits), axis=0))
        seen = seen if axis_name is None else lax.pmean(seen, axis_name)
        memory = momentum * state.memory + (1 - momentum) * seen
        # The softmax of these logits is the mean prediction itself.
        of_class = partial_class_weights(jnp.log(jnp.maximum(memory, 1e-30))[None])
        weights = of_class[batch.source.y]
        total, metrics = supervised_loss(outputs, batch, weights=weights, axis_name=axis_name)
        source, target = (
            adversary.apply(params["adversary"], reverse_gradient(side.features, strength(step)))[
                :, 0
            ]
            for side in (outputs.source, outputs.target)
        )
        term = domain_adversarial(source, target, source_weights=weights, axis_name=axis_name)
        metrics = {
            **metrics,
            "domain_accuracy": domain_accuracy(source, target),
            "kept_classes": jnp.sum(of_class),
        }
        return total + term, (Remembered(outputs.state, memory), metrics)

    return play(
        classifier,
        (Player(loss),),
        parts={"adversary": adversary},
        memory=jnp.ones(classes) / classes,
    )
