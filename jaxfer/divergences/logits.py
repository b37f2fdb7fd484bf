"""Logits: what a divergence or loss of predictions is given, checked in the same words."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.scipy.special import logsumexp

from jaxfer.divergences.options import check_number
from jaxfer.divergences.samples import floating


class Predictions(NamedTuple):
    """Two categorical distributions for each example, by their log-probabilities.

    Attributes:
      log_first, log_second: of the shape of the logits; 0 for a class that is left out.
      first, second: the probabilities; 0 for a class that is left out.
    """

    log_first: Array
    log_second: Array
    first: Array
    second: Array


def one_prediction(
    logits: Any,
    *,
    name: str = "logits",
    axis: int | tuple[int, ...] = -1,
    where: Any = None,
    temperature: Any = 1.0,
) -> tuple[Array, Array]:
    """Checks an array of logits, and normalises it over the classes that are not left out.

    Args:
      logits: ``[batch, classes]``, floating point. Half precision is computed in float32.
      name: of the logits, for the messages.
      axis: the axis, or axes, of the classes.
      where: booleans that broadcast to the shape of the logits: which classes take part.
      temperature: positive; the logits are divided by it.

    Returns:
      Log-probabilities and probabilities, of the shape of the logits; both 0 for a class that is
      left out.

    Raises:
      TypeError: for logits that are not of floating point, or a ``where`` that is not of booleans.
      ValueError: for shapes or a temperature that do not fit; where arrays are concrete also for
        NaN or infinity.
    """
    check_number("temperature", temperature, above=0)
    logits = floating(name, logits)
    axes, where = check_axes(name, logits, axis, where)
    return _normalised(logits / temperature, axes, where)


def two_predictions(
    logits: Any,
    other_logits: Any,
    *,
    axis: int | tuple[int, ...] = -1,
    where: Any = None,
    temperature: Any = 1.0,
) -> Predictions:
    """Checks two arrays of logits, and normalises them over the classes that are not left out.

    Args:
      logits: ``[batch, classes]``, floating point. Half precision is computed in float32.
      other_logits: of the same shape.
      axis: the axis, or axes, of the classes.
      where: booleans that broadcast to the shape of the logits: which classes take part.
      temperature: positive; the logits are divided by it.

    Returns:
      The :class:`Predictions`.

    Raises:
      TypeError: for logits that are not of floating point, or a ``where`` that is not of booleans.
      ValueError: for shapes or a temperature that do not fit; where arrays are concrete also for
        NaN or infinity.
    """
    check_number("temperature", temperature, above=0)
    logits = floating("logits", logits)
    other_logits = floating("other_logits", other_logits)
    if logits.shape != other_logits.shape:
        raise ValueError(
            "logits and other_logits must have the same shape; "
            f"their shapes are {logits.shape} and {other_logits.shape}."
        )
    axes, where = check_axes("logits", logits, axis, where)
    dtype = jnp.promote_types(logits.dtype, other_logits.dtype)
    log_first, first = _normalised(logits.astype(dtype) / temperature, axes, where)
    log_second, second = _normalised(other_logits.astype(dtype) / temperature, axes, where)
    return Predictions(log_first, log_second, first, second)


def check_axes(
    name: str, array: Array, axis: int | tuple[int, ...], where: Any, *, holds: str = "class"
) -> tuple[tuple[int, ...], Array | None]:
    """Checks which axes of an array, and what along them, an example is made of.

    Args:
      name: of the array, for the messages.
      array: any shape.
      axis: the axis, or axes, of an example.
      where: booleans that broadcast to the shape of the array, or ``None``.
      holds: what an example is made of, for the messages.

    Returns:
      The axes as a tuple, and ``where`` in the shape of the array.

    Raises:
      TypeError: for a ``where`` that is not of booleans.
      ValueError: for axes or shapes that do not fit.
    """
    axes = axis if isinstance(axis, tuple) else (axis,)
    if not axes or not all(-array.ndim <= a < array.ndim for a in axes):
        raise ValueError(f"axis must name axes of the {name}; it is {axis} for {array.shape}.")
    if not all(array.shape[a] for a in axes):
        raise ValueError(f"{name} must hold at least 1 {holds}; their shape is {array.shape}.")
    if where is not None:
        where = jnp.asarray(where)
        if where.dtype != bool:
            raise TypeError(
                f"where must hold booleans; it is {where.dtype}. Convert it: where != 0."
            )
        try:
            where = jnp.broadcast_to(where, array.shape)
        except ValueError:
            raise ValueError(
                f"where must broadcast to the shape of the {name}, {array.shape}; "
                f"its shape is {where.shape}."
            ) from None
    return axes, where


def _normalised(logits: Array, axes: tuple[int, ...], where: Array | None) -> tuple[Array, Array]:
    """Log-probabilities and probabilities; 0 for what is left out."""
    if where is None:
        log_probabilities = logits - logsumexp(logits, axis=axes, keepdims=True)
        return log_probabilities, jnp.exp(log_probabilities)
    # Where no class is left all logits are 0, so that neither value nor gradient is NaN.
    some = jnp.any(where, axis=axes, keepdims=True)
    logits = jnp.where(where, logits, 0)
    normaliser = logsumexp(logits, axis=axes, keepdims=True, where=where | ~some)
    log_probabilities = jnp.where(where, logits - normaliser, 0)
    return log_probabilities, jnp.where(where, jnp.exp(log_probabilities), 0)
