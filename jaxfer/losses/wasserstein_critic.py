"""A Wasserstein critic: how far apart its scores are, and what keeps its slope at 1."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxfer.divergences.options import check_number
from jaxfer.divergences.samples import two_samples
from jaxfer.losses.batch_mean import batch_sum
from jaxfer.losses.safe_norm import safe_norm
from jaxfer.typing import Key


def wasserstein_critic(
    source_scores: Any,
    target_scores: Any,
    *,
    source_weights: Any = None,
    target_weights: Any = None,
    axis_name: str | None = None,
) -> Array:
    r"""Difference of a critic's mean scores of two domains (batch-coupled).

    .. math:: W = \sum_i a_i \, f(x_i) - \sum_j b_j \, f(y_j)

    with weights that sum to 1 in each domain. The critic maximises it, kept to a slope of 1 by
    :func:`gradient_penalty`, and then it is close to the Wasserstein-1 distance; the features
    minimise it. In one minimisation: ``-wasserstein_critic`` of scores of
    ``jaxfer.adapters.reverse_gradient(features)``.

    Args:
      source_scores: :math:`f(x)`, ``[n]``, floating point.
      target_scores: :math:`f(y)`, ``[m]``, likewise.
      source_weights: :math:`a`, ``[n]``, not negative, on any scale; an example of weight 0 is
        absent. ``None`` weighs all alike.
      target_weights: :math:`b`, ``[m]``, likewise.
      axis_name: mapped axis over which the batch is spread. Every device then returns the
        difference for the global batch; average the gradients with ``lax.pmean``.

    Returns:
      A scalar in units of the scores, of either sign. 0 where traced weights leave a side empty.

    Raises:
      TypeError: for scores that are not of floating point.
      ValueError: for wrong shapes; where arrays are concrete also for NaN, infinity, or weights
        that are negative or all 0.

    Source: Shen et al. 2018, Wasserstein distance guided representation learning, equation 4.

    >>> wasserstein_critic(jnp.array([1.0, 3.0]), jnp.array([0.5]))
    Array(1.5, dtype=float32)
    """
    samples = two_samples(
        source_scores,
        target_scores,
        source_weights,
        target_weights,
        axis_name=axis_name,
        rank=1,
        names=("source_scores", "target_scores"),
    )
    difference = samples.source_weights @ samples.source - samples.target_weights @ samples.target
    present = (samples.source_count > 0) & (samples.target_count > 0)
    return jnp.where(present, batch_sum(difference, axis_name), 0)


def gradient_penalty(
    critic: Callable[[Array], Array],
    source: Any,
    target: Any,
    *,
    key: Key,
    slope: float | Array = 1.0,
    endpoints: bool = True,
    source_weights: Any = None,
    target_weights: Any = None,
) -> Array:
    r"""Squared deviation of a critic's slope from 1, between two domains (batch-coupled).

    .. math::
        L = \frac{1}{|H|} \sum_{h \in H} \big( \| \nabla f(h) \| - s \big)^2, \qquad H = \{ x_i \}
        \cup \{ y_j \} \cup \{ u_k x_{i_k} + (1 - u_k) \, y_{j_k} \}, \quad u_k \sim U(0, 1)

    for as many pairs as the larger batch has examples. Examples are repeated evenly in proportion
    to their weights, so that every one is in as many pairs as its weight says; the partners are
    shuffled. A slope of 0 has the derivative 0.

    Each example's gradient is that of the critic applied to it alone, as a batch of 1: a critic
    with batch statistics must use recorded ones.

    Args:
      critic: a function ``[batch, features] -> [batch]`` of floating point.
      source: :math:`x`, ``[n, features]``, floating point. The paper's penalty trains the critic
        alone: pass features through ``lax.stop_gradient`` for that.
      target: :math:`y`, ``[m, features]``, likewise.
      key: of the places between pairs, and of who is paired with whom.
      slope: :math:`s`, at least 0.
      endpoints: whether :math:`H` holds the examples themselves too.
      source_weights: ``[n]``, not negative, on any scale; an example of weight 0 is absent.
        ``None`` weighs all alike. Weights choose the pairs and have no derivative.
      target_weights: ``[m]``, likewise.

    Returns:
      A scalar, at least 0. 0 where traced weights leave a side empty. Over devices it is the mean
      of one shard: average values and gradients with ``lax.pmean``.

    Raises:
      TypeError: for samples that are not of floating point or options of the wrong type.
      ValueError: for wrong shapes, of the critic's scores too; where arrays are concrete also for
        NaN, infinity, or weights that are negative or all 0.

    Source: Shen et al. 2018, Wasserstein distance guided representation learning, equation 5, whose
    points are all three kinds; without ``endpoints`` it is Gulrajani et al. 2017, Improved training
    of Wasserstein GANs, equation 3.

    >>> critic = lambda h: 3 * h[:, 0] + 4 * h[:, 1]  # of slope 5
    >>> source, target = jnp.zeros((4, 2)), jnp.ones((3, 2))
    >>> gradient_penalty(critic, source, target, key=jax.random.key(0))
    Array(16., dtype=float32)
    """
    check_number("slope", slope, at_least=0)
    if not isinstance(endpoints, bool):
        raise TypeError(f"endpoints must be True or False; it is {endpoints!r}.")
    samples = two_samples(source, target, source_weights, target_weights)
    pairs = max(len(samples.source), len(samples.target))
    place_key, partner_key = jax.random.split(key)
    starts = samples.source[_in_proportion(samples.source_weights, pairs)]
    partners = jax.random.permutation(partner_key, pairs)
    ends = samples.target[_in_proportion(samples.target_weights, pairs)[partners]]
    place = jax.random.uniform(place_key, (pairs, 1), starts.dtype)
    points = ends + place * (starts - ends)
    if endpoints:
        points = jnp.concatenate([starts, ends, points])

    def score(point: Array) -> Array:
        scores = critic(point[None])
        if jnp.shape(scores) != (1,):
            raise ValueError(
                "critic must map [batch, features] to [batch]; "
                f"of {(1, *point.shape)} it made {jnp.shape(scores)}."
            )
        return scores[0]

    slopes = safe_norm(jax.vmap(jax.grad(score))(points), axis=1)
    present = (samples.source_count > 0) & (samples.target_count > 0)
    return jnp.where(present, jnp.mean(jnp.square(slopes - slope)), 0)


def _in_proportion(weights: Array, count: int) -> Array:
    """Indices ``[count]``, each as often as its weight says, evenly; all of them for equal ones."""
    places = (jnp.arange(count) + 0.5) / count
    found = jnp.searchsorted(jnp.cumsum(weights), places.astype(weights.dtype), side="right")
    return jnp.minimum(found, len(weights) - 1)
