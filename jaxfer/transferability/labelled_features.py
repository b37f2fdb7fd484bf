"""Features or predictions beside labels: checked once, in the same words, for every score."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxfer.divergences.options import check_count
from jaxfer.divergences.samples import floating, is_concrete


class LabelledFeatures(NamedTuple):
    """Examples of the target task, as a source network sees them.

    Attributes:
      features: ``[n, d]``, of at least float32.
      labels: ``[n]``, int32.
      classes: how many.
    """

    features: Array
    labels: Array
    classes: int


def labelled_features(
    features: Any, labels: Any, classes: int | None, *, name: str = "features"
) -> LabelledFeatures:
    """Checks features and their labels.

    Args:
      features: ``[n, d]``, floating point.
      labels: ``[n]``, integers from 0 to ``classes - 1``.
      classes: how many; ``None`` takes one more than the largest concrete label.
      name: of the features, for the messages.

    Returns:
      The :class:`LabelledFeatures`.

    Raises:
      TypeError: for features that are not of floating point or labels that are no integers.
      ValueError: for shapes that do not fit, ``classes`` missing for traced labels; where arrays
        are concrete also for NaN, infinity, and labels out of range.
    """
    features = floating(name, features)
    if features.ndim != 2 or not features.size:
        raise ValueError(
            f"{name} must be an array [n, {name}] that is not empty; its shape is {features.shape}."
        )
    labels, classes = class_labels("labels", labels, classes, len(features))
    return LabelledFeatures(features, labels, classes)


def class_labels(name: str, labels: Any, classes: int | None, n: int) -> tuple[Array, int]:
    """Integer labels ``[n]``, and how many classes they have; as :func:`labelled_features`."""
    labels = jnp.asarray(labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"{name} must be integers; they are {labels.dtype}.")
    if labels.shape != (n,):
        raise ValueError(f"{name} must hold one class for each of {n}; their shape {labels.shape}.")
    if is_concrete(labels):
        seen = np.asarray(labels)
        if classes is None:
            classes = int(seen.max()) + 1
        if seen.min() < 0 or seen.max() >= classes:
            raise ValueError(
                f"{name} must be from 0 to {classes - 1}; they go from {seen.min()} to "
                f"{seen.max()}."
            )
    if classes is None:
        raise ValueError(f"{name} are traced: say how many classes there are.")
    check_count("classes", classes)
    return labels.astype(jnp.int32), classes
