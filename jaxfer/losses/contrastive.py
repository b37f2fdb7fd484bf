"""Losses of a labelled batch that draw a class together and others apart."""

from typing import Any, Literal

import jax.numpy as jnp
from jax import Array
from jax.scipy.special import logsumexp

from jaxfer.divergences.options import check_number
from jaxfer.divergences.samples import one_sample, whole_batch
from jaxfer.losses.safe_norm import safe_norm, unit_rows

Mining = Literal["hard", "all"]


def contrastive(
    features: Any,
    labels: Any,
    *,
    margin: float | Array = 1.0,
    weights: Any = None,
    axis_name: str | None = None,
) -> Array:
    r"""Contrastive loss of all pairs of a batch (batch-coupled).

    .. math::
        L = \frac{1}{4} \, \mathrm{mean}_{y_i = y_j} d_{ij}^2
            + \frac{1}{4} \, \mathrm{mean}_{y_i \ne y_j} \max(0, m - d_{ij})^2,
        \qquad d_{ij} = \|f_i - f_j\|, \quad i \ne j

    with means weighted by :math:`w_i w_j`: the pairs of one class and the others, which are many
    more, count half each. What a siamese network is trained by.

    Args:
      features: :math:`f`, ``[batch, features]``, floating point.
      labels: :math:`y`, ``[batch]`` integers.
      margin: :math:`m`, positive: the distance from which two classes leave each other alone.
      weights: :math:`w`, ``[batch]``, not negative, on any scale; an example of weight 0 is absent.
        ``None`` weighs all alike.
      axis_name: mapped axis over which the batch is spread. Every device then returns the loss of
        the global batch; average the gradients with ``lax.pmean``.

    Returns:
      A scalar, at least 0. A kind of pair that the batch does not hold counts 0.

    Raises:
      TypeError: for features that are not of floating point or labels that are no integers.
      ValueError: for wrong shapes or a margin that is not positive; where arrays are concrete also
        for NaN, infinity, or weights that are negative or all 0.

    Source: Hadsell et al. 2006, Dimensionality reduction by learning an invariant mapping, equation
    4; the balance of the two kinds is this function's.

    >>> features = jnp.array([[0.0, 0.0], [3.0, 4.0], [0.0, 0.5]])
    >>> contrastive(features, jnp.array([0, 0, 1]))  # (25/2 + (0.5^2/2 + 0) / 2) / 2
    Array(6.28125, dtype=float32)
    """
    check_number("margin", margin, above=0)
    features, labels, weights = _gathered(features, labels, weights, axis_name)
    pairs, same = _pairs(weights), labels[:, None] == labels[None]
    distances = safe_norm(features[:, None] - features[None], axis=-1)
    apart = jnp.maximum(margin - distances, 0)
    together = _mean(0.5 * jnp.square(distances), pairs * same)
    return 0.5 * (together + _mean(0.5 * jnp.square(apart), pairs * ~same))


def triplet(
    features: Any,
    labels: Any,
    *,
    margin: float | Array = 0.2,
    mining: Mining = "hard",
    weights: Any = None,
    axis_name: str | None = None,
) -> Array:
    r"""Triplet loss of a batch (batch-coupled).

    .. math::
        L_{\mathrm{hard}} = \sum_i w_i \max\Big(0, m + \max_{y_p = y_i} d_{ip}
            - \min_{y_n \ne y_i} d_{in}\Big), \qquad
        L_{\mathrm{all}} = \sum_{ipn} w_{ipn} \max(0, m + d_{ip} - d_{in})

    with Euclidean distances and weights that sum to 1 over the anchors, or the triplets, that the
    batch holds.

    Args:
      features: ``[batch, features]``, floating point.
      labels: :math:`y`, ``[batch]`` integers.
      margin: :math:`m`, at least 0.
      mining: ``"hard"``, for each anchor the farthest example of its class and the nearest of
        another; or ``"all"`` triplets, whose memory grows with the cube of the batch.
      weights: :math:`w`, ``[batch]``, not negative, on any scale; an example of weight 0 is absent.
        ``None`` weighs all alike.
      axis_name: mapped axis over which the batch is spread. Every device then returns the loss of
        the global batch; average the gradients with ``lax.pmean``.

    Returns:
      A scalar, at least 0; 0 for a batch without any triplet.

    Raises:
      TypeError: for features that are not of floating point or labels that are no integers.
      ValueError: for wrong shapes, a negative margin or an unknown ``mining``; where arrays are
        concrete also for NaN, infinity, or weights that are negative or all 0.

    Source: Schroff et al. 2015, FaceNet, equation 3, with distances that are not squared; Hermans
    et al. 2017, In defense of the triplet loss, equations 5 and 6.

    >>> features = jnp.array([[0.0], [1.0], [3.0]])
    >>> triplet(features, jnp.array([0, 0, 1]), margin=2.5)  # (2.5 + 1 - 3, 2.5 + 1 - 2) / 2
    Array(1., dtype=float32)
    """
    check_number("margin", margin, at_least=0)
    if mining not in ("hard", "all"):
        raise ValueError(f"mining must be 'hard' or 'all'; got {mining!r}.")
    features, labels, weights = _gathered(features, labels, weights, axis_name)
    pairs, same = _pairs(weights), labels[:, None] == labels[None]
    distances = safe_norm(features[:, None] - features[None], axis=-1)
    positive, negative = pairs * same, pairs * ~same
    if mining == "all":
        losses = jnp.maximum(margin + distances[:, :, None] - distances[:, None, :], 0)
        among = jnp.where(weights > 0, 1 / jnp.where(weights > 0, weights, 1), 0)
        return _mean(losses, positive[:, :, None] * negative[:, None, :] * among[:, None, None])
    farthest = jnp.max(jnp.where(positive > 0, distances, 0), axis=1)
    some = jnp.any(positive > 0, 1) & jnp.any(negative > 0, 1)
    nearest = jnp.min(jnp.where(negative > 0, distances, jnp.inf), axis=1)
    losses = jnp.maximum(margin + farthest - jnp.where(some, nearest, 0), 0)
    return _mean(losses, weights * some)


def supervised_contrastive(
    features: Any,
    labels: Any,
    *,
    temperature: float | Array = 0.1,
    weights: Any = None,
    axis_name: str | None = None,
) -> Array:
    r"""Supervised contrastive loss of a batch (batch-coupled).

    .. math::
        L = \sum_i w_i \, \frac{-1}{\sum_{p \in P(i)} w_p} \sum_{p \in P(i)} w_p \ln
            \frac{\exp(z_i \cdot z_p / \tau)}{\sum_{a \ne i} w_a \exp(z_i \cdot z_a / \tau)
            / \bar w}

    with :math:`z = f / \|f\|`, :math:`P(i)` the others of the class of :math:`i`, and weights that
    sum to 1 over the anchors that have any; :math:`\bar w` is their mean, so that equal weights
    give the paper's loss.

    Args:
      features: :math:`f`, ``[batch, features]``, floating point, of any length; a feature of 0 has
        the gradient 0.
      labels: ``[batch]`` integers.
      temperature: :math:`\tau`, positive.
      weights: :math:`w`, ``[batch]``, not negative, on any scale; an example of weight 0 is absent.
        ``None`` weighs all alike.
      axis_name: mapped axis over which the batch is spread. Every device then returns the loss of
        the global batch; average the gradients with ``lax.pmean``.

    Returns:
      A scalar; 0 for a batch that holds no class twice.

    Raises:
      TypeError: for features that are not of floating point or labels that are no integers.
      ValueError: for wrong shapes or a temperature that is not positive; where arrays are concrete
        also for NaN, infinity, or weights that are negative or all 0.

    Source: Khosla et al. 2020, Supervised contrastive learning, equation 2.

    >>> features = jnp.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    >>> labels = jnp.array([0, 0, 1])  # ln(1 + 1/e)
    >>> print(f"{supervised_contrastive(features, labels, temperature=1.0):.3f}")
    0.313
    """
    check_number("temperature", temperature, above=0)
    features, labels, weights = _gathered(features, labels, weights, axis_name)
    unit = unit_rows(features)
    similarity = jnp.matmul(unit, unit.T, precision="highest") / temperature
    others = _pairs(weights) > 0
    count = jnp.sum(weights > 0).astype(weights.dtype)
    total = jnp.sum(weights)
    relative = weights * count / jnp.where(total > 0, total, 1)
    # An anchor that stands alone has no denominator: it is not computed, and does not count.
    some = others | ~jnp.any(others, axis=1, keepdims=True)
    weighed = jnp.where(others, relative[None], 1)
    logs = similarity - logsumexp(
        jnp.where(some, similarity, -jnp.inf), axis=1, keepdims=True, b=weighed
    )
    positive = weights[None] * others * (labels[:, None] == labels[None])
    sums = jnp.sum(positive, axis=1)
    mean = jnp.sum(positive * jnp.where(others, logs, 0), 1) / jnp.where(sums > 0, sums, 1)
    return _mean(-mean, weights * (sums > 0))


def _gathered(
    features: Any, labels: Any, weights: Any, axis_name: str | None
) -> tuple[Array, Array, Array]:
    """The global batch, checked: features ``[n, d]``, labels ``[n]`` and weights ``[n]``."""
    features, weights, _ = one_sample(features, weights, name="features", axis_name=axis_name)
    labels = jnp.asarray(labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"labels must be integers; they are {labels.dtype}.")
    if labels.shape != features.shape[:1]:
        raise ValueError(
            f"labels must hold one class for each of the {len(features)} features; their shape is "
            f"{labels.shape}."
        )
    # The gradient of what is gathered is summed over the devices, as pmean expects it.
    return (
        whole_batch(features, axis_name),
        whole_batch(labels, axis_name),
        whole_batch(weights, axis_name),
    )


def _pairs(weights: Array) -> Array:
    """Weights of ordered pairs, none of an example with itself."""
    return weights[:, None] * weights[None] * ~jnp.eye(len(weights), dtype=bool)


def _mean(values: Array, weights: Array) -> Array:
    total = jnp.sum(weights)
    present = jnp.where(weights > 0, values, 0)
    return jnp.where(total > 0, jnp.sum(weights * present) / jnp.where(total > 0, total, 1), 0)
