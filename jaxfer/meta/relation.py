"""Relation networks: a second network says how well a query and a class go together."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.nn import sigmoid

from jaxfer.divergences.labels import soft_labels
from jaxfer.divergences.samples import floating
from jaxfer.meta.heads import episode_features, without_absent
from jaxfer.typing import Metrics


def relation_pairs(
    support_features: Any, support_labels: Any, query_features: Any, *, classes: int
) -> Array:
    r"""Each query's features beside the sum of each class's: what a relation network judges.

    .. math:: P_{jk} = \Big[ \sum_{i : y_i = k} s_i, \; q_j \Big]

    Args:
      support_features: :math:`s`, ``[n, ..., features]``: feature maps or vectors, floating point.
      support_labels: :math:`y`, ``[n]`` integers from 0, or ``[n, classes]`` probabilities.
      query_features: :math:`q`, ``[m, ..., features]``.
      classes: how many there are, at least 2.

    Returns:
      ``[m * classes, ..., 2 * features]``, the classes of one query beside each other.

    Raises:
      TypeError: for features that are not of floating point.
      ValueError: for shapes that do not fit; where arrays are concrete also for NaN, infinity,
        labels out of range and a class without support.

    Source: Sung et al. 2018, Learning to compare: relation network for few-shot learning, section
    3.2.

    >>> support, query = jnp.array([[1.0], [2.0], [5.0]]), jnp.array([[7.0]])
    >>> relation_pairs(support, jnp.array([0, 0, 1]), query, classes=2)
    Array([[3., 7.],
           [5., 7.]], dtype=float32)
    """
    support, labels, query = episode_features(
        support_features, support_labels, query_features, classes, maps=True
    )
    sums = jnp.tensordot(labels, support, axes=(0, 0), precision="highest")
    shape = (len(query), classes, *query.shape[1:])
    pairs = jnp.concatenate(
        [jnp.broadcast_to(sums[None], shape), jnp.broadcast_to(query[:, None], shape)], axis=-1
    )
    return pairs.reshape(len(query) * classes, *pairs.shape[2:])


def relation(
    support_features: Any,
    support_labels: Any,
    query_features: Any,
    *,
    classes: int,
    score: Callable[[Array], Array],
) -> Array:
    r"""How well each query goes with each class, as a network says: the head of relation networks.

    .. math:: \mathrm{logit}_k(q) = g\Big(\Big[ \sum_{i : y_i = k} s_i, \; q \Big]\Big)

    Args:
      support_features: :math:`s`, ``[n, ..., features]``, floating point.
      support_labels: :math:`y`, ``[n]`` integers from 0, or ``[n, classes]`` probabilities.
      query_features: :math:`q`, ``[m, ..., features]``.
      classes: how many there are, at least 2.
      score: :math:`g`, ``[pairs, ..., 2 * features] -> [pairs]``, before any sigmoid; such as
        ``jaxfer.models.RelationModule``.

    Returns:
      Logits ``[m, classes]``; ``-inf`` for a class that, traced, has no support.

    Raises:
      TypeError, ValueError: as :func:`relation_pairs`; ValueError also for scores of another shape.

    Source: Sung et al. 2018, equation 1.

    >>> same = lambda pairs: -jnp.abs(pairs[:, 0] - pairs[:, 1])
    >>> support, query = jnp.array([[1.0], [2.0], [5.0]]), jnp.array([[7.0]])
    >>> relation(support, jnp.array([0, 0, 1]), query, classes=2, score=same)
    Array([[-4., -2.]], dtype=float32)
    """
    pairs = relation_pairs(support_features, support_labels, query_features, classes=classes)
    scores = score(pairs)
    if scores.shape != (len(pairs),):
        raise ValueError(
            f"score must give one number for each of the {len(pairs)} pairs; its result has the "
            f"shape {scores.shape}."
        )
    labels = soft_labels("support_labels", support_labels, len(support_labels), classes)
    return without_absent(scores.reshape(-1, classes), labels)


def relation_loss(logits: Any, labels: Any) -> tuple[Array, Metrics]:
    r"""Squared error of the scores against 1 for the true class and 0 for the others.

    .. math:: L = \frac{1}{m K} \sum_{jk} \big(\sigma(z_{jk}) - [y_j = k]\big)^2

    It stands in the place of :func:`classification_loss`.

    Args:
      logits: :math:`z`, ``[m, classes]``.
      labels: :math:`y`, ``[m]`` integers.

    Returns:
      The loss and ``{"accuracy": ...}``, both scalars.

    Raises:
      TypeError: for logits that are not of floating point.
      ValueError: for labels that do not fit.

    Source: Sung et al. 2018, equation 2, with the mean in place of the sum.

    >>> loss, metrics = relation_loss(jnp.array([[0.0, 0.0]]), jnp.array([1]))
    >>> float(loss), float(metrics["accuracy"])
    (0.25, 0.0)
    """
    logits = floating("logits", logits)
    if logits.ndim != 2:
        raise ValueError(f"logits must be an array [m, classes]; its shape is {logits.shape}.")
    target = soft_labels("labels", labels, *logits.shape)
    accuracy = jnp.mean(jnp.argmax(logits, -1) == jnp.argmax(target, -1))
    return jnp.mean(jnp.square(sigmoid(logits) - target)), {"accuracy": accuracy}
