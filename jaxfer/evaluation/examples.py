"""Logits of labelled examples: what a score is given, checked in the same words everywhere."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxfer.divergences.samples import is_concrete, one_sample


class Examples(NamedTuple):
    """Predictions beside the truth.

    Attributes:
      logits: ``[n, classes]``, of at least float32.
      labels: ``[n]``, integers.
      weights: ``[n]``, which sum to 1; all 0 where no example is present.
    """

    logits: Array
    labels: Array
    weights: Array


def labelled_examples(logits: Any, labels: Any, weights: Any = None) -> Examples:
    """Checks logits with their labels and weights, and normalises the weights.

    Args:
      logits: ``[n, classes]``, floating point.
      labels: ``[n]``, integers from 0 to ``classes - 1``.
      weights: ``[n]``, not negative, on any scale; ``None`` weighs all alike.

    Returns:
      The :class:`Examples`.

    Raises:
      TypeError: for logits that are not of floating point or labels that are no integers.
      ValueError: for shapes that do not fit; where arrays are concrete also for NaN, infinity,
        labels out of range, and weights that are negative or all 0.
    """
    sample = one_sample(logits, weights, name="logits")
    array, normalised = sample.points, sample.weights
    labels = integers("labels", labels)
    if labels.shape != array.shape[:1]:
        raise ValueError(
            f"labels must hold one class for each row of logits: {array.shape[:1]}; "
            f"their shape is {labels.shape}."
        )
    if is_concrete(labels):
        seen = np.asarray(labels)
        if seen.min() < 0 or seen.max() >= array.shape[1]:
            raise ValueError(
                f"labels must be from 0 to {array.shape[1] - 1}, as logits have {array.shape[1]} "
                f"classes; they go from {seen.min()} to {seen.max()}."
            )
    return Examples(array, labels, normalised)


def integers(name: str, array: Any) -> Array:
    """An array of integers; what is none is refused rather than rounded."""
    array = jnp.asarray(array)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"{name} must be integers; they are {array.dtype}.")
    return array


def predicted_shares(logits: Array, weights: Array) -> Array:
    """``[classes]``, the share of the examples for which a class is the most probable one.

    NaN where the logits of an example that is present hold NaN.
    """
    chosen = jnp.argmax(logits, axis=-1)[:, None] == jnp.arange(logits.shape[-1])
    shares = weights @ chosen
    total = jnp.sum(shares)
    # By their own sum: that of rounded weights may miss 1, and the share of all then is not 1.
    return shares / jnp.where(total > 0, total, 1) + weights @ nan_where_nan(logits)


def nan_where_nan(logits: Array) -> Array:
    """``[n]``: NaN for an example whose logits hold it, whose largest has no meaning; else 0."""
    return jnp.where(jnp.isnan(logits).any(-1), jnp.nan, 0).astype(logits.dtype)
