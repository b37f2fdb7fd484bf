"""SHOT: adapts a trained network to the target without the source."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from jaxfer.adaptation.classifier import Classifier, forward_target, labelled_loss
from jaxfer.adaptation.method import Method, Player, Remembered, entries, play
from jaxfer.adaptation.pretraining import from_step, pretraining
from jaxfer.losses import information_maximization
from jaxfer.losses.safe_norm import safe_norm
from jaxfer.typing import Classification, DomainBatch, Key, Metrics, PyTree


class Centroids(NamedTuple):
    """Where the classes lie in the directions of the features.

    Attributes:
      soft: ``[classes, features + 1]``, of the predictions.
      hard: of the nearest soft ones.

    >>> Centroids(soft=0.0, hard=1.0).hard
    1.0
    """

    soft: Array
    hard: Array


def shot(
    classifier: Classifier,
    *,
    features: int,
    classes: int,
    pseudo_weight: float | Array = 0.3,
    momentum: float | Array = 0.95,
    warm_up: int = 0,
    axis_name: str | None = None,
) -> Method:
    r"""Source hypothesis transfer: the head is frozen, and the encoder moves the target to it.

    .. math::
        \min_\theta \; \frac{1}{m} \sum_j H(p_j) - H(\bar p) - \beta \frac{1}{m} \sum_j \ln p_{j
        \hat y_j}, \qquad \hat y_j = \arg\max_k \cos(f_j, c_k)

    The centroids :math:`c` are the means of the unit features, with a 1 appended before that, first
    by the predictions and then by the labels that these centroids give, as published.

    Args:
      classifier: the network; its statistics are one record, that of the domain at hand.
      features, classes: how many it has.
      pseudo_weight: :math:`\beta`, at least 0; 0.3 in the paper, and 0.1 for digits.
      momentum: of the centroids, from 0, which takes those of the batch, to 1.
      warm_up: steps of training on the source first; 0 where ``init`` is given a trained ``start``.
      axis_name: mapped axis over which the batch is spread.

    Returns:
      The method. Metrics: ``information`` and ``agreement``, how often a pseudo-label is the
      prediction.

    Source: Liang et al. 2020, Do we really need to access the source data?, equations 3 to 7.
    Deviations: the centroids are averages over the past batches, and not computed on the whole
    target once an epoch; labelled target examples, where there are some, add their cross-entropy;
    the source network is not trained with smoothed labels.

    >>> from jaxfer.adaptation.toy import toy_classifier
    >>> method = shot(toy_classifier(), features=3, classes=2)
    >>> method.init(jax.random.key(0))[1].memory.soft.shape
    (2, 4)
    """
    classifier = classifier._replace(statistics="joint")

    def labels(target: Classification, before: Centroids) -> tuple[Array, Centroids]:
        with_one = jnp.pad(target.features, ((0, 0), (0, 1)), constant_values=1)
        rows = with_one / safe_norm(with_one, 1)[:, None]

        def moved(old: Array, assigned: Array) -> Array:
            new = assigned.T @ rows / len(rows)
            new = new if axis_name is None else lax.pmean(new, axis_name)
            return momentum * old + (1 - momentum) * new

        soft = moved(before.soft, jax.nn.softmax(target.logits))
        hard = moved(before.hard, jax.nn.one_hot(_nearest(rows, soft), classes))
        return _nearest(rows, hard), Centroids(soft, hard)

    def fit_head(
        params: PyTree, state: Remembered, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        target, labelled, network = forward_target(classifier, params, state.network, batch, key)
        pseudo, memory = labels(lax.stop_gradient(target), state.memory)
        negative = information_maximization(target.logits, axis_name=axis_name)
        own = optax.softmax_cross_entropy_with_integer_labels(target.logits, pseudo)
        more, metrics = labelled_loss(labelled, batch)
        agreement = jnp.mean(jnp.argmax(target.logits, 1) == pseudo)
        metrics = {**metrics, "information": -negative, "agreement": agreement}
        loss = negative + pseudo_weight * jnp.mean(own) + more
        return loss, (Remembered(network, memory), metrics)

    players: tuple[Player, ...] = (
        Player(fit_head, trains=entries("encoder"), when=from_step(warm_up)),
    )
    if warm_up:
        players = (pretraining(classifier, warm_up), *players)
    nothing = jnp.zeros((classes, features + 1))
    return play(classifier, players, memory=Centroids(nothing, nothing))


def _nearest(rows: Array, centroids: Array) -> Array:
    """The class ``[n]`` of the smallest angle; a class of no mass is nobody's."""
    lengths = safe_norm(centroids, 1)
    some = lengths > 0
    cosines = rows @ (centroids / jnp.where(some, lengths, 1)[:, None]).T
    return jnp.argmax(jnp.where(some, cosines, -jnp.inf), axis=1)
