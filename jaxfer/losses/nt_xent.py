"""SimCLR's loss: two views of an example find each other among all views of a batch."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxfer.divergences.options import check_number
from jaxfer.divergences.samples import floating, whole_batch
from jaxfer.losses.safe_norm import safe_norm


def nt_xent(
    first: Any,
    second: Any,
    *,
    temperature: float | Array = 0.5,
    axis_name: str | None = None,
) -> Array:
    r"""Normalised, temperature-scaled cross-entropy between two views (batch-coupled).

    .. math::
        L = - \frac{1}{2n} \sum_{i=1}^{2n} \ln \frac{\exp(s_{i,p(i)} / T)}
        {\sum_{k \ne i} \exp(s_{ik} / T)}

    over all :math:`2n` views, with :math:`s` their cosines and :math:`p(i)` the other view of the
    same example. A view that is 0 has the cosine 0 with all.

    Args:
      first: ``[n, features]``, floating point, one view of each example.
      second: of the same shape, the other view of the same examples in the same order.
      temperature: :math:`T`, positive.
      axis_name: mapped axis over which the batch is spread; views are gathered, so that each is
        told from those of all devices. Every device then returns the loss of the global batch;
        average the gradients with ``lax.pmean``.

    Returns:
      A scalar in nats, at least 0.

    Raises:
      TypeError: for views that are not of floating point.
      ValueError: for shapes that do not fit, or a temperature that is not positive; where arrays
        are concrete also for NaN or infinity.

    Source: Chen et al. 2020, A simple framework for contrastive learning of visual representations,
      equation 1 and algorithm 1.

    >>> views = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> f"{nt_xent(views, views, temperature=1.0):.4f}"  # ln(1 + 2 / e)
    '0.5514'
    """
    check_number("temperature", temperature, above=0)
    first, second = floating("first", first), floating("second", second)
    if first.ndim != 2 or first.shape != second.shape or not len(first):
        raise ValueError(
            "first and second must be arrays [n, features] of one shape; their shapes are "
            f"{first.shape} and {second.shape}."
        )
    first, second = whole_batch(first, axis_name), whole_batch(second, axis_name)
    views = jnp.concatenate([first, second])
    norm = safe_norm(views, axis=1)[:, None]
    views = views / jnp.where(norm > 0, norm, 1)
    scores = jnp.matmul(views, views.T, precision="highest") / temperature
    n = len(first)
    itself = jnp.eye(2 * n, dtype=bool)
    others = jnp.where(itself, -jnp.inf, scores)
    partner = jnp.sum(views * jnp.roll(views, n, axis=0), axis=1) / temperature
    return jnp.mean(jax.nn.logsumexp(others, axis=1) - partner)
