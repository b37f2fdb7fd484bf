"""Which tokens could a prediction have drawn on? Attention rolled out over the layers."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxfer.divergences.options import check_number
from jaxfer.divergences.samples import floating, is_concrete


def attention_rollout(
    weights: Any, *, residual: float | Array = 0.5, where: ArrayLike | None = None
) -> Array:
    r"""How much each token of the last layer has of each token of the first.

    .. math::
        R = \tilde A_L \cdots \tilde A_1, \qquad
        \tilde A = r I + (1 - r) \bar A

    with :math:`\bar A` the mean over heads, its rows brought to a sum of 1 over the tokens that are
    there; the identity stands for the residual connection.

    Args:
      weights: of the attention, the first layer first: ``[layers, n, heads, length, length]``, or a
        sequence of ``[n, heads, length, length]``; at least 0. Each row says what one token attends
        to.
      residual: :math:`r`, from 0 to 1: the share of a token that passes by the attention.
      where: ``[n, length]``, False for tokens that are not there, such as padding. Nothing comes of
        them, and their own rows are 0. ``None`` for all.

    Returns:
      ``[n, length, length]``, at least 0, rows that sum to 1. It says what could have flowed, not
      what did: neither values nor feed-forward networks have a part in it.

    Raises:
      TypeError: for weights that are not of floating point, a mask that is not of booleans, or a
        share that is no number.
      ValueError: for another shape, or no layer; for concrete weights also below 0, NaN or
        infinity; for a share out of range.

    Source: Abnar and Zuidema 2020, Quantifying attention flow in transformers, section 3, where
      :math:`r` is one half, and nothing is masked.

    >>> attention_rollout(jnp.full((1, 1, 1, 2, 2), 0.5))[0].tolist()
    [[0.75, 0.25], [0.25, 0.75]]
    """
    check_number("residual", residual, at_least=0, at_most=1)
    layers = _stacked(weights)
    return _roll(layers, jnp.asarray(residual, layers.dtype), _checked_mask(where, layers))


@jax.jit
def _roll(layers: Array, residual: Array, present: Array | None) -> Array:
    eye = jnp.eye(layers.shape[-1], dtype=layers.dtype)
    mean, start = jnp.mean(layers, axis=2), jnp.broadcast_to(eye, layers[0, :, 0].shape)
    if present is not None:
        # Neither queries nor keys that are not there.
        mean = jnp.where(present[:, :, None] & present[:, None, :], mean, 0)
        start = start * present[..., None]
    total = jnp.sum(mean, axis=-1, keepdims=True)
    # A token that attends to nothing keeps itself.
    mean = jnp.where(total > 0, mean / jnp.where(total > 0, total, 1), eye)
    mixed = residual * eye + (1 - residual) * mean
    return jax.lax.scan(lambda found, layer: (layer @ found, None), start, mixed)[0]


def _stacked(weights: Any) -> Array:
    """One array of all layers, checked."""
    if isinstance(weights, Sequence):
        shapes = [jnp.shape(layer) for layer in weights]
        if not shapes or len(set(shapes)) > 1:
            raise ValueError(
                "weights must hold one array [n, heads, length, length] for each layer, all of one "
                f"shape; their shapes are {shapes}."
            )
        weights = jnp.stack([floating("weights", layer) for layer in weights])
    weights = floating("weights", weights)
    if weights.ndim != 5 or weights.shape[-1] != weights.shape[-2] or 0 in weights.shape:
        raise ValueError(
            "weights must be an array [layers, n, heads, length, length] that is not empty; their "
            f"shape is {weights.shape}."
        )
    if is_concrete(weights) and (np.asarray(weights) < 0).any():
        raise ValueError(
            f"weights must be at least 0; the least is {np.asarray(weights).min():g}. Give what "
            "softmax makes of the scores."
        )
    return weights


def _checked_mask(where: ArrayLike | None, layers: Array) -> Array | None:
    if where is None:
        return None
    present, shape = jnp.asarray(where), (layers.shape[1], layers.shape[-1])
    if present.dtype != bool:
        raise TypeError(f"where must hold booleans; it is {present.dtype}.")
    if present.shape != shape:
        raise ValueError(f"where must have the shape [n, length], {shape}; it is {present.shape}.")
    return present
