"""H-score: how much of the features' spread is between the classes of the target."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxfer.divergences.options import check_number
from jaxfer.transferability.labelled_features import labelled_features

Shrinkage = float | Literal["ledoit_wolf"]


class HScoreInfo(NamedTuple):
    """How an H-score came about.

    Attributes:
      shrinkage: scalar in [0, 1], how far the covariance was drawn to a multiple of the identity.
      rank: scalar, directions in which the covariance is not 0; fewer than the features where
        there are few examples, and without shrinkage the others do not count.

    >>> HScoreInfo(shrinkage=0.0, rank=3).rank
    3
    """

    shrinkage: Array
    rank: Array


def h_score(
    features: Any,
    labels: Any,
    *,
    classes: int | None = None,
    shrinkage: Shrinkage = 0.0,
) -> tuple[Array, HScoreInfo]:
    r"""H-score of features for a target task.

    .. math::
        H = \mathrm{tr} \big( \Sigma^{+} \, \Sigma_b \big), \qquad
        \Sigma = \mathrm{cov}(f), \quad \Sigma_b = \mathrm{cov}(\mathrm{E}[f \mid y])

    With shrinkage :math:`\alpha` it is :math:`(1 - \alpha) \, \mathrm{tr}(\Sigma_\alpha^{-1}
    \Sigma_b)` for :math:`\Sigma_\alpha = (1 - \alpha) \Sigma + \alpha \frac{\mathrm{tr} \Sigma}{d}
    I`, which is what few examples of many features need.

    Args:
      features: :math:`f`, ``[n, features]``, of the source network on the target's examples.
      labels: :math:`y`, ``[n]``, integers from 0 to ``classes - 1``.
      classes: how many; ``None`` takes one more than the largest label, which must then be
        concrete.
      shrinkage: :math:`\alpha`, from 0 to 1, or ``"ledoit_wolf"`` for the amount that minimises the
        expected squared error of the covariance.

    Returns:
      The score, from 0 to the smaller of ``classes - 1`` and the features, higher is better; and an
      :class:`HScoreInfo`.

    Raises:
      TypeError, ValueError: for arrays that do not fit, or a shrinkage out of range.

    Source: Bao et al. 2019, An information-theoretic approach to transferability in task transfer
      learning, definition 2; Ibrahim et al. 2022, Newer is not always better, section 4, for the
      shrinkage; Ledoit and Wolf 2004, A well-conditioned estimator for large-dimensional covariance
      matrices, for its amount. Covariances are divided by n.

    >>> features = jnp.array([[0.0], [1.0], [2.0], [3.0]])
    >>> score, _ = h_score(features, jnp.array([0, 0, 1, 1]))  # variance 1.25, 1 of it between
    >>> f"{score:.2f}"
    '0.80'
    """
    checked = labelled_features(features, labels, classes)
    if shrinkage != "ledoit_wolf":
        check_number("shrinkage", shrinkage, at_least=0, at_most=1)
    x, labels, classes = checked
    n, d = x.shape
    x = x - jnp.mean(x, axis=0)
    alpha = ledoit_wolf_shrinkage(x) if shrinkage == "ledoit_wolf" else jnp.asarray(shrinkage)
    alpha = alpha.astype(x.dtype)
    one_hot = jax.nn.one_hot(labels, classes, dtype=x.dtype)
    counts = one_hot.sum(axis=0)
    means = one_hot.T @ x / jnp.where(counts > 0, counts, 1)[:, None]
    between = jnp.sqrt(counts / n)[:, None] * means  # rows whose squares are the covariance
    # By the singular values of the features: none of their digits is lost by squaring.
    _, singular, directions = jnp.linalg.svd(x, full_matrices=False)
    variances = jnp.square(singular) / n
    some = singular > singular[0] * max(n, d) * jnp.finfo(x.dtype).eps
    shrunk = (1 - alpha) * variances + alpha * jnp.sum(variances) / d
    along = jnp.sum(jnp.square(between @ directions.T), axis=0)
    score = (1 - alpha) * jnp.sum(jnp.where(some, along / jnp.where(some, shrunk, 1), 0))
    return score, HScoreInfo(alpha, jnp.sum(some))


def ledoit_wolf_shrinkage(features: Any) -> Array:
    r"""How far to shrink a sample covariance, by Ledoit and Wolf.

    .. math:: \alpha = \min(\beta, \delta) / \delta

    with :math:`\delta` the squared distance of the covariance from :math:`\frac{\mathrm{tr}
    \Sigma}{d} I` and :math:`\beta` its mean squared error, both estimated.

    Args:
      features: ``[n, features]``, centred.

    Returns:
      A scalar in [0, 1]; 0 where the covariance already is a multiple of the identity.

    Source: Ledoit and Wolf 2004, A well-conditioned estimator for large-dimensional covariance
      matrices, section 3.

    >>> corners = jnp.array([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> f"{ledoit_wolf_shrinkage(corners):.3f}"
    '0.944'
    """
    x = jnp.asarray(features)
    n, d = x.shape
    covariance = jnp.matmul(x.T, x, precision="highest") / n
    mean = jnp.trace(covariance) / d
    delta = jnp.sum(jnp.square(covariance - mean * jnp.eye(d, dtype=x.dtype))) / d
    lengths = jnp.sum(jnp.square(x), axis=1)
    beta = (jnp.sum(jnp.square(lengths)) / n - jnp.sum(jnp.square(covariance))) / (d * n)
    beta = jnp.minimum(beta, delta)
    return jnp.where(delta > 0, beta / jnp.where(delta > 0, delta, 1), 0)
