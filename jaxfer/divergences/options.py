"""A hyper-parameter that is one number: checked in the same words everywhere."""

import math
from typing import Any

import jax.numpy as jnp

from jaxfer.divergences.samples import is_concrete


def check_number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
) -> None:
    """Refuses what is not one finite number within the bound; a traced number may have any value.

    Args:
      name: of the argument, for the message.
      value: a Python number, or an array or tracer of shape ``()``.
      above: the number must be greater than this.
      at_least: the number must not be less than this.
      at_most: the number must not be greater than this.

    Raises:
      TypeError: for what is not a number.
      ValueError: for an array that is not a scalar, or a number out of range.
    """
    bound = "" if above is None else f" above {above:g}"
    bound += "" if at_least is None else f" of at least {at_least:g}"
    bound += "" if at_most is None else f"{' and' if bound else ' of'} at most {at_most:g}"
    if not isinstance(value, (int, float)):
        if not hasattr(value, "dtype") or not jnp.issubdtype(value.dtype, jnp.number):
            raise TypeError(f"{name} must be a number{bound}; it is {value!r}.")
        if value.shape:
            raise ValueError(f"{name} must be one number{bound}; its shape is {value.shape}.")
    if is_concrete(value):
        number = float(value)
        if not (
            math.isfinite(number)
            and (above is None or number > above)
            and (at_least is None or number >= at_least)
            and (at_most is None or number <= at_most)
        ):
            raise ValueError(f"{name} must be a finite number{bound}; it is {value}.")


def check_count(name: str, value: Any, *, at_least: int = 1) -> None:
    """Refuses what is not a Python integer of at least so much.

    Args:
      name: of the argument, for the message.
      value: what was given.
      at_least: the least that is allowed.

    Raises:
      TypeError: for what is not an integer.
      ValueError: for one that is too small.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer of at least {at_least}; it is {value!r}.")
    if value < at_least:
        raise ValueError(f"{name} must be an integer of at least {at_least}; it is {value}.")
