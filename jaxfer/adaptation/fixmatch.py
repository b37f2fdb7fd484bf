"""FixMatch: what is sure of an example as it is must hold for it strongly changed."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from jaxfer.adaptation.classifier import Classifier, forward, supervised_loss
from jaxfer.adaptation.method import Method, Player, play
from jaxfer.adapters import constant_strength
from jaxfer.adapters.strength_schedules import Schedule
from jaxfer.losses import fixmatch_consistency
from jaxfer.typing import DomainBatch, Key, LabelledBatch, Metrics, PyTree

Augment = Callable[[Key, PyTree], PyTree]


def fixmatch(
    classifier: Classifier,
    *,
    weak: Augment,
    strong: Augment,
    strength: Schedule | None = None,
    threshold: float | Array = 0.95,
) -> Method:
    r"""Consistency: the supervised loss plus that of strongly changed target examples.

    .. math::
        \min \; L_s + \lambda(t) \frac{1}{m} \sum_j 1[\max_k q_{jk} \ge \tau] \; (-\ln p_{j \hat
        y_j}), \qquad \hat y_j = \arg\max_k q_{jk}

    with :math:`q` the prediction for the weakly changed example, without a gradient, and :math:`p`
    that for the strongly changed one. Source examples are weakly changed too. Both versions of the
    target go through the network as one batch.

    Args:
      classifier: the network.
      weak, strong: ``augment(key, x) -> x`` of a batch, such as ``weak_augmentation`` and
        ``strong_augmentation`` of this package.
      strength: :math:`\lambda`, a function of the step; ``None`` is 1 at every step, as published.
      threshold: :math:`\tau`, from 0 to 1.

    Returns:
      The method. Metrics: ``labelled``, the share of the target that is above the threshold.

    Source: Sohn et al. 2020, FixMatch, equations 3 and 4, its unlabelled examples being the target.
    Deviation: as many unlabelled examples as the target batch has, not 7 times the labelled ones.

    >>> from jaxfer.adaptation.toy import toy_batch, toy_classifier
    >>> method = fixmatch(
    ...     toy_classifier(),
    ...     weak=lambda key, x: x,
    ...     strong=lambda key, x: x + jax.random.normal(key, x.shape),
    ...     threshold=0.0,
    ... )
    >>> params, state = method.init(jax.random.key(0))
    >>> _, (_, metrics) = method.players[0].loss(
    ...     params, state, toy_batch(), step=0, key=jax.random.key(1)
    ... )
    >>> float(metrics["labelled"])
    1.0
    """
    strength = strength or constant_strength()

    def loss(
        params: PyTree, state: PyTree, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        keys = jax.random.split(key, 4)
        versions = [augment(k, batch.target) for augment, k in ((weak, keys[0]), (strong, keys[1]))]
        both = jax.tree.map(lambda *sides: jnp.concatenate(sides), *versions)
        batch = batch._replace(
            source=LabelledBatch(weak(keys[2], batch.source.x), batch.source.y), target=both
        )
        outputs = forward(classifier, params, state, batch, keys[3])
        total, metrics = supervised_loss(outputs, batch)
        sure, changed = jnp.split(outputs.target.logits, 2)
        term = jnp.mean(fixmatch_consistency(sure, changed, threshold=threshold))
        labelled = jnp.mean(jnp.max(jax.nn.softmax(sure), axis=1) >= threshold)
        metrics = {**metrics, "term": term, "labelled": labelled}
        return total + strength(step) * term, (outputs.state, metrics)

    return play(classifier, (Player(loss),))
