"""What did a prediction turn on? Gradients on the way from a baseline to the input."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxfer.divergences.options import check_count
from jaxfer.divergences.samples import floating


class AttributionInfo(NamedTuple):
    """How well attributions add up.

    Attributes:
      change: ``[n]``, of the score from the baseline to the input.
      missing: ``[n]``, what the attributions' sum lacks to it: 0 in the limit of many steps.

    >>> AttributionInfo(1.0, 0.01).missing
    0.01
    """

    change: Array
    missing: Array


def integrated_gradients(
    score_fn: Callable[[Array], Array], x: Any, *, baseline: Any = 0.0, steps: int = 32
) -> tuple[Array, AttributionInfo]:
    r"""Attribution of a score to the numbers of its input.

    .. math::
        a_i = (x_i - x'_i) \int_0^1 \frac{\partial F}{\partial x_i} (x' + t (x - x')) \, dt

    by the midpoint rule. The attributions of an example sum to :math:`F(x) - F(x')`.

    Args:
      score_fn: :math:`F`, from a batch ``[n, ...]`` to ``[n]``, each of its own example alone: such
        as the logit of the predicted class, of a network in evaluation mode.
      x: ``[n, ...]``, floating point: images, or embedded tokens.
      baseline: :math:`x'`, that broadcasts to ``x``: what stands for nothing.
      steps: points of the integral, at least 1; they are taken one after the other.

    Returns:
      ``[n, ...]`` of the shape of ``x``, and an :class:`AttributionInfo`.

    Raises:
      TypeError: for an input that is not of floating point, or steps that are no integer.
      ValueError: for shapes or a number out of range.

    Source: Sundararajan et al. 2017, Axiomatic attribution for deep networks, equations 1 and 3;
      there the right end of each step is taken.

    >>> a, info = integrated_gradients(lambda x: x[:, 0] * x[:, 1], jnp.array([[2.0, 3.0]]))
    >>> a.tolist(), info.missing.tolist()
    ([[3.0, 3.0]], [0.0])
    """
    check_count("steps", steps)
    x = floating("x", x)
    start = jnp.broadcast_to(jnp.asarray(baseline, x.dtype), x.shape)
    difference = x - start

    def add(total: Array, t: Array) -> tuple[Array, None]:
        _, pull = jax.vjp(score_fn, start + t * difference)
        return total + pull(jnp.ones(len(x), x.dtype))[0], None

    places = (jnp.arange(steps, dtype=x.dtype) + 0.5) / steps
    total, _ = jax.lax.scan(add, jnp.zeros_like(x), places)
    attributions = difference * total / steps
    change = score_fn(x) - score_fn(start)
    found = jnp.sum(attributions.reshape(len(x), -1), axis=1)
    return attributions, AttributionInfo(change, change - found)
