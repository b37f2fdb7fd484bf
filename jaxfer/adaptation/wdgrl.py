"""WDGRL: a critic measures how far the domains are apart, and the features close the distance."""

from typing import Any

from jax import Array, lax

from jaxfer.adaptation.classifier import Classifier, forward, supervised_loss
from jaxfer.adaptation.method import Method, Player, entries, play
from jaxfer.adapters import FeatureMap, constant_strength
from jaxfer.adapters.strength_schedules import Schedule
from jaxfer.losses import gradient_penalty, wasserstein_critic
from jaxfer.typing import DomainBatch, Key, Metrics, PyTree


def wdgrl(
    classifier: Classifier,
    *,
    critic: FeatureMap,
    strength: Schedule | None = None,
    penalty: float | Array = 10.0,
    critic_turns: int = 5,
    axis_name: str | None = None,
) -> Method:
    r"""Wasserstein distance guided representation learning: a critic and a network, in turns.

    .. math::
        \text{A:} \max_c W(c) - \gamma P(c), \qquad
        \text{B:} \min_{\theta, h} L_s + \lambda(t) W(\theta), \qquad
        W = \frac{1}{n} \sum_i c(f_i) - \frac{1}{m} \sum_j c(g_j)

    with :math:`P` the penalty that keeps the critic's slope at 1. A has several turns in each step,
    on features that are computed once.

    Args:
      classifier: the network.
      critic: :math:`c`, from features to one score.
      strength: :math:`\lambda`, a function of the step; ``None`` is 1 at every step.
      penalty: :math:`\gamma`, at least 0; the paper's.
      critic_turns: of A in each step; 5 to 10 in the paper.
      axis_name: as for ``jaxfer.wasserstein_critic``.

    Returns:
      The method. Metrics: ``wasserstein``, as the critic sees it in its first turn.

    Source: Shen et al. 2018, Wasserstein distance guided representation learning, equation 6 and
    algorithm 1.

    >>> import jax
    >>> from jaxfer.adaptation.toy import toy_classifier
    >>> from jaxfer.adapters import linear_feature_map
    >>> method = wdgrl(toy_classifier(), critic=linear_feature_map(3, 1))
    >>> [player.repeats for player in method.players]
    [5, 1]
    """
    strength = strength or constant_strength()

    def apart(params: PyTree, source: Array, target: Array) -> Array:
        scores = (critic.apply(params["critic"], side)[:, 0] for side in (source, target))
        return wasserstein_critic(*scores, axis_name=axis_name)

    def features(
        params: PyTree, state: PyTree, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[PyTree, PyTree]:
        outputs = forward(classifier, params, state, batch, key)
        # The network's turn records the batch statistics.
        return lax.stop_gradient((outputs.source.features, outputs.target.features)), state

    def measure(
        params: PyTree, state: PyTree, batch: Any, *, step: Array, key: Key
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        distance = apart(params, *batch)
        slope = gradient_penalty(lambda x: critic.apply(params["critic"], x)[:, 0], *batch, key=key)
        return penalty * slope - distance, (state, {"wasserstein": distance})

    def approach(
        params: PyTree, state: PyTree, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        outputs = forward(classifier, params, state, batch, key)
        loss, metrics = supervised_loss(outputs, batch)
        distance = apart(params, outputs.source.features, outputs.target.features)
        metrics = {**metrics, "wasserstein": distance}
        return loss + strength(step) * distance, (outputs.state, metrics)

    players = (
        Player(measure, trains=entries("critic"), repeats=critic_turns, sees=features),
        Player(approach, trains=entries("encoder", "head")),
    )
    return play(classifier, players, parts={"critic": critic})
