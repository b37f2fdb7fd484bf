"""What did a prediction turn on? Integrated gradients, and attention rolled out over layers."""

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


def attention_rollout(weights: Any) -> Array:
    r"""How much each token of the last layer has of each token of the first.

    .. math::
        R = \tilde A_L \cdots \tilde A_1, \qquad \tilde A = \tfrac{1}{2} (\bar A + I)

    with :math:`\bar A` the mean over heads; the identity is the residual connection.

    Args:
      weights: ``[layers, n, heads, length, length]``, rows that sum to 1, the first layer first.

    Returns:
      ``[n, length, length]``, rows that sum to 1. It says what could have flowed, not what did.

    Raises:
      TypeError: for weights that are not of floating point.
      ValueError: for another shape.

    Source: Abnar and Zuidema 2020, Quantifying attention flow in transformers, section 3.

    >>> attention_rollout(jnp.full((1, 1, 1, 2, 2), 0.5))[0].tolist()
    [[0.75, 0.25], [0.25, 0.75]]
    """
    weights = floating("weights", weights)
    if weights.ndim != 5 or weights.shape[-1] != weights.shape[-2]:
        raise ValueError(
            "weights must be an array [layers, n, heads, length, length]; their shape is "
            f"{weights.shape}."
        )
    eye = jnp.eye(weights.shape[-1], dtype=weights.dtype)
    layers = 0.5 * jnp.mean(weights, axis=2) + 0.5 * eye

    def roll(found: Array, layer: Array) -> tuple[Array, None]:
        return layer @ found, None

    start = jnp.broadcast_to(eye, layers.shape[1:])
    return jax.lax.scan(roll, start, layers)[0]
