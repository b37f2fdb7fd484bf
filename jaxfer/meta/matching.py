"""Matching networks: each support example votes with the weight of its similarity."""

from typing import Any, Literal

import jax.numpy as jnp
from jax import Array
from jax.nn import log_softmax
from jax.scipy.special import logsumexp

from jaxfer.divergences.options import check_number
from jaxfer.losses.safe_norm import unit_rows
from jaxfer.meta.heads import episode_features, squared_distances

Similarity = Literal["cosine", "l2"]


def matching(
    support_features: Any,
    support_labels: Any,
    query_features: Any,
    *,
    classes: int,
    similarity: Similarity = "cosine",
    scale: float | Array = 1.0,
) -> Array:
    r"""Log-probabilities by attention over the support set: the head of matching networks.

    .. math::
        a_i(q) = \frac{\exp(\alpha \, c(q, s_i))}{\sum_j \exp(\alpha \, c(q, s_j))}, \qquad
        \mathrm{logit}_k(q) = \ln \sum_i a_i(q) \, [y_i = k]

    where :math:`c` is the cosine or minus the squared Euclidean distance. Unlike means of classes,
    several examples of a class vote each for themselves.

    Args:
      support_features: :math:`s`, ``[n, features]``, floating point.
      support_labels: :math:`y`, ``[n]`` integers from 0, or ``[n, classes]`` probabilities.
      query_features: :math:`q`, ``[m, features]``.
      classes: how many there are, at least 2.
      similarity: ``"cosine"`` or ``"l2"``.
      scale: :math:`\alpha`, positive; 1 in the paper. With the cosine and 1 no probability can
        exceed :math:`1 / (1 + (k - 1) e^{-2})` of k classes with one example each.

    Returns:
      Logits ``[m, classes]`` whose exponentials sum to 1 where the labels do; ``-inf`` for a class
      that, traced, has no support.

    Raises:
      TypeError: for features that are not of floating point.
      ValueError: for shapes, ``similarity`` or a number that do not fit; where arrays are concrete
        also for NaN, infinity, labels out of range and a class without support.

    Source: Vinyals et al. 2016, Matching networks for one shot learning, equation 1 and section
    2.1.1.

    >>> support = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    >>> logits = matching(support, jnp.array([0, 1, 1]), jnp.array([[1.0, 0.0]]), classes=2)
    >>> print(f"{jnp.exp(logits[0, 0]):.2f}")  # e / (e + 2)
    0.58
    """
    check_number("scale", scale, above=0)
    support, labels, query = episode_features(
        support_features, support_labels, query_features, classes
    )
    if similarity == "cosine":
        similarities = unit_rows(query) @ unit_rows(support).T
    elif similarity == "l2":
        similarities = -squared_distances(query, support)
    else:
        raise ValueError(f"similarity must be 'cosine' or 'l2'; got {similarity!r}.")
    attention = log_softmax(scale * similarities, axis=-1)  # [m, n]
    votes = attention[:, :, None], labels[None]
    present = labels.sum(0) > 0
    # Of a class without a vote the logarithm is that of 0: not computed, so that no gradient is
    # NaN.
    some = jnp.where(present, votes[1], 1)
    logits = logsumexp(votes[0], axis=1, b=some)
    return jnp.where(present, logits, -jnp.inf)


def nearest_neighbour(
    support_features: Any, support_labels: Any, query_features: Any, *, classes: int
) -> Array:
    r"""Minus the squared distance to the nearest support example of each class.

    .. math:: \mathrm{logit}_k(q) = -\min_{i : y_i = k} \|q - s_i\|^2

    Args:
      support_features: :math:`s`, ``[n, features]``, floating point.
      support_labels: :math:`y`, ``[n]`` integers from 0, or ``[n, classes]`` of which what is above
        0 counts.
      query_features: :math:`q`, ``[m, features]``.
      classes: how many there are, at least 2.

    Returns:
      Logits ``[m, classes]``; ``-inf`` for a class that, traced, has no support.

    Raises:
      TypeError, ValueError: as :func:`nearest_centroid`.

    >>> support = jnp.array([[0.0], [4.0], [1.0]])
    >>> nearest_neighbour(support, jnp.array([0, 0, 1]), jnp.array([[3.0]]), classes=2)
    Array([[-1., -4.]], dtype=float32)
    """
    support, labels, query = episode_features(
        support_features, support_labels, query_features, classes
    )
    distances = squared_distances(query, support)[:, :, None]
    return -jnp.min(jnp.where(labels[None] > 0, distances, jnp.inf), axis=1)
