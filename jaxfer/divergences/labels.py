"""Labels, hard or soft, as one array of probabilities."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxfer.divergences.samples import floating, is_concrete


def soft_labels(name: str, labels: Any, points: int, classes: int) -> Array:
    """Labels as ``[points, classes]``: one-hot where they are integers."""
    labels = jnp.asarray(labels)
    hard = jnp.issubdtype(labels.dtype, jnp.integer)
    expected = (points,) if hard else (points, classes)
    if labels.shape != expected:
        raise ValueError(
            f"{name} must be integers {(points,)} or probabilities {(points, classes)}; "
            f"they are {labels.dtype} {labels.shape}."
        )
    if not hard:
        labels = floating(name, labels)
        if is_concrete(labels) and not (np.asarray(labels) >= 0).all():
            raise ValueError(f"{name} must be probabilities, not negative: softmax the logits.")
        return labels
    if is_concrete(labels):
        least, most = np.min(np.asarray(labels)), np.max(np.asarray(labels))
        if least < 0 or most >= classes:
            raise ValueError(
                f"{name} must be from 0 to {classes - 1}; they go from {least} to {most}."
            )
    return jax.nn.one_hot(labels, classes)
