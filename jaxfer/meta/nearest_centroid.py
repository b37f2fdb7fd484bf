"""Nearest class mean: prototypical networks' head, and SimpleShot's."""

from typing import Any, Literal

from jax import Array

from jaxfer.divergences.options import check_number
from jaxfer.divergences.samples import floating
from jaxfer.losses.safe_norm import unit_rows
from jaxfer.meta.heads import (
    class_means,
    episode_features,
    squared_distances,
    without_absent,
)

Distance = Literal["euclidean", "cosine"]


def nearest_centroid(
    support_features: Any,
    support_labels: Any,
    query_features: Any,
    *,
    classes: int,
    distance: Distance = "euclidean",
    scale: float | Array = 1.0,
) -> Array:
    r"""How near each query is to the mean of each class: the head of prototypical networks.

    .. math::
        c_k = \frac{1}{|S_k|} \sum_{i \in S_k} s_i, \qquad
        \mathrm{logit}_k(q) = -\alpha \, \|q - c_k\|^2 \quad \text{or} \quad
        \alpha \, \frac{q \cdot c_k}{\|q\| \, \|c_k\|}

    Args:
      support_features: :math:`s`, ``[n, features]``, floating point.
      support_labels: ``[n]`` integers from 0, or ``[n, classes]`` probabilities, which weigh.
      query_features: :math:`q`, ``[m, features]``.
      classes: how many there are, at least 2.
      distance: ``"euclidean"``, squared, or ``"cosine"``, whose logits lie in :math:`\pm\alpha`: a
        softmax of them is sharp only with a scale of 10 or so.
      scale: :math:`\alpha`, positive; traced, it can be learned.

    Returns:
      Logits ``[m, classes]``; ``-inf`` for a class that, traced, has no support.

    Raises:
      TypeError: for features that are not of floating point.
      ValueError: for shapes, ``distance`` or a number that do not fit; where arrays are concrete
        also for NaN, infinity, labels out of range and a class without support.

    Source: Snell et al. 2017, Prototypical networks for few-shot learning, equations 1 and 2; the
    cosine is the alternative of its section 3.

    >>> import jax.numpy as jnp
    >>> support = jnp.array([[0.0, 0.0], [2.0, 0.0], [5.0, 0.0]])
    >>> nearest_centroid(support, jnp.array([0, 0, 1]), jnp.array([[1.0, 1.0]]), classes=2)
    Array([[ -1., -17.]], dtype=float32)
    """
    check_number("scale", scale, above=0)
    support, labels, query = episode_features(
        support_features, support_labels, query_features, classes
    )
    centroids = class_means(support, labels)
    if distance == "euclidean":
        logits = -scale * squared_distances(query, centroids)
    elif distance == "cosine":
        logits = scale * (unit_rows(query) @ unit_rows(centroids).T)
    else:
        raise ValueError(f"distance must be 'euclidean' or 'cosine'; got {distance!r}.")
    return without_absent(logits, labels)


def simple_shot(
    support_features: Any,
    support_labels: Any,
    query_features: Any,
    *,
    classes: int,
    mean: Any,
) -> Array:
    r"""Nearest class mean of centred features of length 1, for a network trained by supervision.

    .. math::
        \hat x = \frac{x - \mu}{\|x - \mu\|}, \qquad
        \mathrm{logit}_k(q) = -\big\| \hat q - \tfrac{1}{|S_k|} \sum_{i \in S_k} \hat s_i \big\|^2

    Args:
      support_features: :math:`s`, ``[n, features]``, floating point.
      support_labels: ``[n]`` integers from 0, or ``[n, classes]`` probabilities, which weigh.
      query_features: :math:`q`, ``[m, features]``.
      classes: how many there are, at least 2.
      mean: :math:`\mu`, ``[features]``: of the features of what the network was trained on.

    Returns:
      Logits ``[m, classes]``; ``-inf`` for a class that, traced, has no support.

    Raises:
      TypeError: for features or a mean that are not of floating point.
      ValueError: for shapes that do not fit; where arrays are concrete also as
        :func:`nearest_centroid`.

    Source: Wang et al. 2019, SimpleShot, section 2, the variant CL2N.

    >>> import jax.numpy as jnp
    >>> support, mean = jnp.array([[4.0, 1.0], [1.0, 3.0]]), jnp.array([1.0, 1.0])
    >>> simple_shot(support, jnp.array([0, 1]), jnp.array([[9.0, 1.0]]), classes=2, mean=mean)
    Array([[-0., -2.]], dtype=float32)
    """
    mean = floating("mean", mean)
    support, _, query = episode_features(support_features, support_labels, query_features, classes)
    if mean.shape != support.shape[1:]:
        raise ValueError(
            f"mean must hold one number for each of the {support.shape[1]} features; its shape is "
            f"{mean.shape}."
        )
    return nearest_centroid(
        unit_rows(support - mean), support_labels, unit_rows(query - mean), classes=classes
    )
