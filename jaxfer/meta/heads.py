"""What a few-shot head is, and what all of them are given: features, checked in the same words."""

from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxfer.divergences.labels import soft_labels
from jaxfer.divergences.options import check_count
from jaxfer.divergences.samples import floating, is_concrete


class Head(Protocol):
    """``head(support_features, support_labels, query_features) -> logits [queries, classes]``."""

    def __call__(self, support_features: Any, support_labels: Any, query_features: Any, /) -> Array:
        """The logits."""


class EpisodeFeatures(NamedTuple):
    """The features of an episode, of one floating-point type.

    Attributes:
      support, query: ``[n, ...]`` and ``[m, ...]``.
      labels: of the support, ``[n, classes]``: one-hot where they were integers.
    """

    support: Array
    labels: Array
    query: Array


def episode_features(
    support_features: Any,
    support_labels: Any,
    query_features: Any,
    classes: int,
    *,
    maps: bool = False,
) -> EpisodeFeatures:
    """Checks what a head is given.

    Args:
      support_features: ``[n, features]``, floating point. Half precision is computed in float32.
      support_labels: ``[n]`` integers from 0, or ``[n, classes]`` probabilities.
      query_features: ``[m, features]``.
      classes: how many there are.
      maps: features may have more axes, ``[n, ..., features]``.

    Returns:
      The :class:`EpisodeFeatures`.

    Raises:
      TypeError: for features that are not of floating point, or a number that is no integer.
      ValueError: for shapes that do not fit or fewer than 2 classes; where arrays are concrete also
        for NaN, infinity, labels out of range and a class without support.
    """
    check_count("classes", classes, at_least=2)
    support = floating("support_features", support_features)
    query = floating("query_features", query_features)
    expected = "[n, ..., features]" if maps else "[n, features]"
    for name, array in (("support_features", support), ("query_features", query)):
        if array.ndim < 2 or (array.ndim > 2 and not maps):
            raise ValueError(
                f"{name} must be an array {expected}; its shape is {array.shape}."
                + (" Flatten it: x.reshape(len(x), -1)." if array.ndim > 2 else "")
            )
    if support.shape[1:] != query.shape[1:]:
        raise ValueError(
            "support_features and query_features must have the same features; their shapes are "
            f"{support.shape} and {query.shape}."
        )
    dtype = jnp.promote_types(support.dtype, query.dtype)
    labels = soft_labels("support_labels", support_labels, len(support), classes).astype(dtype)
    if is_concrete(labels):
        absent = np.flatnonzero(~(np.asarray(labels) > 0).any(0))
        if len(absent):
            raise ValueError(
                f"support_labels must hold every class from 0 to {classes - 1}; class {absent[0]} "
                "has no support example."
            )
    return EpisodeFeatures(support.astype(dtype), labels, query.astype(dtype))


def class_means(features: Array, labels: Array) -> Array:
    """The weighted mean of each class, ``[n, ...]`` and ``[n, classes]`` to ``[classes, ...]``.

    A class without any weight has the mean 0.
    """
    total = labels.sum(0)
    weights = labels / jnp.where(total > 0, total, 1)
    return jnp.tensordot(weights, features, axes=(0, 0), precision="highest")


def without_absent(logits: Array, labels: Array) -> Array:
    """Logits ``[m, classes]``, where a class without support can never be the answer."""
    return jnp.where(labels.sum(0) > 0, logits, -jnp.inf)


def squared_distances(x: Array, y: Array) -> Array:
    """``|x_i - y_j|^2``, ``[n, features]`` and ``[m, features]`` to ``[n, m]``."""
    products = jnp.matmul(x, y.T, precision="highest")
    return jnp.sum(jnp.square(x), -1)[:, None] - 2 * products + jnp.sum(jnp.square(y), -1)
