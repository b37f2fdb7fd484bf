"""LogME: the evidence for a linear model of the target's labels on given features."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxfer.divergences.options import check_count
from jaxfer.transferability.labelled_features import labelled_features


class LogMEInfo(NamedTuple):
    """Where the maximisation of the evidence ended, for each class.

    Attributes:
      prior_precision: :math:`a`, ``[classes]``, of the weights.
      noise_precision: :math:`b`, ``[classes]``, of the labels.
      change: ``[classes]``, how much the last iteration changed the logarithm of their ratio; it
        has converged where this is near 0. Where features say nothing of a class, the ratio has no
        maximum and grows without end, and the evidence is near its limit all the same.

    >>> LogMEInfo(1.0, 2.0, 1e-8).noise_precision
    2.0
    """

    prior_precision: Array
    noise_precision: Array
    change: Array


def logme(
    features: Any, labels: Any, *, classes: int | None = None, iterations: int = 100
) -> tuple[Array, LogMEInfo]:
    r"""Logarithm of the maximum evidence of features for a target task, per example and class.

    .. math::
        \frac{1}{n K} \sum_k \max_{a, b} \ln N \big( y_k;\; 0,\; b^{-1} I + a^{-1} F F^\top \big)

    :math:`y_k` is 1 for the examples of class :math:`k` and 0 for others: a linear regression with
    a Gaussian prior, whose weights are integrated out and whose two precisions maximise the
    evidence by MacKay's fixed point.

    Args:
      features: :math:`F`, ``[n, features]``, of the source network on the target's examples. As
        they are: neither centred nor scaled.
      labels: ``[n]``, integers from 0 to ``classes - 1``.
      classes: :math:`K`; ``None`` takes one more than the largest label, which must then be
        concrete.
      iterations: of the fixed point, at least 1. One costs no more than a sum over the features.

    Returns:
      The score in nats, higher is better, and a :class:`LogMEInfo`.

    Raises:
      TypeError, ValueError: for arrays that do not fit.

    Source: You et al. 2021, LogME: practical assessment of pre-trained models for transfer
      learning, equation 2 and algorithm 1 in the form of section 4.3. Deviations: a fixed number of
      iterations, for ``jit`` and ``vmap``; the directions that features lack count in the evidence.

    >>> features = jnp.array([[1.0, 0.0], [1.1, 0.0], [0.0, 1.0], [0.0, 0.9]])
    >>> right, _ = logme(features, jnp.array([0, 0, 1, 1]))
    >>> wrong, _ = logme(features, jnp.array([0, 1, 0, 1]))
    >>> bool(right > wrong)
    True
    """
    check_count("iterations", iterations)
    x, labels, classes = labelled_features(features, labels, classes)
    n, d = x.shape
    left, singular, _ = jnp.linalg.svd(x, full_matrices=False)
    squares = jnp.square(singular)
    targets = jax.nn.one_hot(labels, classes, dtype=x.dtype)
    along = jnp.square(left.T @ targets)  # [rank, classes]
    outside = jnp.maximum(jnp.sum(jnp.square(targets), axis=0) - jnp.sum(along, axis=0), 0)
    tiny = jnp.finfo(x.dtype).eps

    def of_class(along: Array, outside: Array) -> tuple[Array, LogMEInfo]:
        def fit(t: Array) -> tuple[Array, Array, Array]:
            """Effective parameters, squared weights and residual for a ratio t = a / b."""
            gamma = jnp.sum(squares / (squares + t))
            weights = jnp.sum(squares * along / jnp.square(squares + t))
            residual = jnp.sum(along * jnp.square(t / (squares + t))) + outside
            return gamma, weights, residual

        def improve(_: int, state: tuple[Array, Array]) -> tuple[Array, Array]:
            t, _change = state
            gamma, weights, residual = fit(t)
            ratio = gamma * (residual + tiny) / ((weights + tiny) * jnp.maximum(n - gamma, tiny))
            new = jnp.clip(ratio, tiny * tiny, 1 / (tiny * tiny))
            return new, jnp.abs(jnp.log(new / t))

        start = (jnp.ones((), x.dtype), jnp.zeros((), x.dtype))
        t, change = lax.fori_loop(0, iterations, improve, start)
        gamma, weights, residual = fit(t)
        # For this ratio the best scale in closed form: n / b = residual + t * weights.
        noise = n / (residual + t * weights + n * tiny)
        log_volume = jnp.sum(jnp.log1p(squares / t))
        evidence = 0.5 * (
            n * jnp.log(noise) - log_volume - noise * (residual + t * weights)
            - n * jnp.log(2 * jnp.pi)
        )  # fmt: skip
        return evidence / n, LogMEInfo(t * noise, noise, change)

    evidence, info = jax.vmap(of_class, in_axes=(1, 0))(along, outside)
    return jnp.mean(evidence), info
