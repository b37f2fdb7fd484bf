"""TransRate: how much the features' coding rate falls once the class is known."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxfer.divergences.options import check_number
from jaxfer.transferability.labelled_features import labelled_features


def trans_rate(
    features: Any,
    labels: Any,
    *,
    classes: int | None = None,
    distortion: float | Array = 1e-4,
) -> Array:
    r"""Mutual information of features and labels, by coding rates.

    .. math::
        R(Z) - \sum_k \frac{n_k}{n} R(Z_k), \qquad
        R(Z) = \frac{1}{2} \ln \det \Big( I + \frac{1}{n \epsilon} Z^\top Z \Big)

    with features centred by their mean over all classes.

    Args:
      features: :math:`Z`, ``[n, features]``, of the source network on the target's examples. On
        their own scale, against which the distortion is chosen.
      labels: ``[n]``, integers from 0 to ``classes - 1``.
      classes: how many; ``None`` takes one more than the largest label, which must then be
        concrete.
      distortion: :math:`\epsilon`, positive, in squared units of the features.

    Returns:
      A scalar in nats, at least 0 up to rounding; higher is better.

    Raises:
      TypeError, ValueError: for arrays that do not fit or a distortion that is not positive.

    Source: Huang et al. 2022, Frustratingly easy transferability estimation, section 3.

    >>> features = jnp.array([[-1.0], [-1.0], [1.0], [1.0]])
    >>> useful = trans_rate(features, jnp.array([0, 0, 1, 1]), distortion=1.0)
    >>> f"{useful:.4f}"  # (ln 2 - ln 2) / 2: each class is as far from the mean as all are
    '0.0000'
    """
    check_number("distortion", distortion, above=0)
    x, labels, classes = labelled_features(features, labels, classes)
    x = x - jnp.mean(x, axis=0)
    one_hot = jax.nn.one_hot(labels, classes, dtype=x.dtype)

    def rate(weights: Array) -> Array:
        """Of the examples that have a weight; of the smaller of the two Gram matrices."""
        count = jnp.sum(weights)
        rows = jnp.sqrt(weights / (jnp.maximum(count, 1) * distortion))[:, None] * x
        gram = rows @ rows.T if len(x) < x.shape[1] else rows.T @ rows
        _, log = jnp.linalg.slogdet(jnp.eye(len(gram), dtype=x.dtype) + gram)
        return 0.5 * log

    # One class after another: all their Gram matrices at once could be too many.
    rates = lax.map(rate, one_hot.T)
    return rate(jnp.ones(len(x), x.dtype)) - jnp.mean(one_hot, axis=0) @ rates
