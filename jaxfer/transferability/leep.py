"""LEEP and NCE: how much a source network's classes say about those of the target."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxfer.transferability.labelled_features import class_labels, labelled_features


def leep(source_logits: Any, labels: Any, *, classes: int | None = None) -> Array:
    r"""Log expected empirical prediction of a source classifier on a target task.

    .. math::
        \frac{1}{n} \sum_i \ln \sum_z \hat P(y_i \mid z) \, \theta(x_i)_z, \qquad
        \hat P(y \mid z) = \frac{\sum_{i : y_i = y} \theta(x_i)_z}{\sum_i \theta(x_i)_z}

    The mean log-likelihood of the target's labels when each source class is translated into target
    classes as often as they were seen together. Nothing is trained.

    Args:
      source_logits: ``[n, source classes]``, of the source network's own head on the target's
        examples; :math:`\theta` is their softmax.
      labels: :math:`y`, ``[n]``, of the target, integers from 0 to ``classes - 1``.
      classes: of the target; ``None`` takes one more than the largest label, which must then be
        concrete.

    Returns:
      A scalar in nats, at most 0; higher is better.

    Raises:
      TypeError, ValueError: for arrays that do not fit.

    Source: Nguyen et al. 2020, LEEP: a new measure to evaluate transferability of learned
      representations, equation 2 and the steps before it.

    >>> logits = 100 * jnp.eye(2)[jnp.array([0, 0, 1, 1])]
    >>> f"{leep(logits, jnp.array([1, 1, 0, 0])):.4f}"  # another name for the same classes
    '0.0000'
    >>> f"{leep(logits, jnp.array([0, 1, 0, 1])):.4f}"  # of no use: -ln 2
    '-0.6931'
    """
    checked = labelled_features(source_logits, labels, classes, name="source_logits")
    theta = jax.nn.softmax(checked.features)
    joint = jax.nn.one_hot(checked.labels, checked.classes, dtype=theta.dtype).T @ theta
    total = joint.sum(axis=0)
    conditional = joint / jnp.where(total > 0, total, 1)
    # That of its own label is at least theta^2 / total > 0, but may be rounded to 0.
    own = jnp.sum(conditional[checked.labels] * theta, axis=1)
    return jnp.mean(jnp.log(jnp.maximum(own, jnp.finfo(theta.dtype).tiny)))


def nce(
    source_labels: Any,
    labels: Any,
    *,
    source_classes: int | None = None,
    classes: int | None = None,
) -> Array:
    r"""Negative conditional entropy of the target's labels given those of a source.

    .. math:: -H(Y \mid Z) = \sum_{y, z} \hat P(y, z) \ln \frac{\hat P(y, z)}{\hat P(z)}

    Args:
      source_labels: :math:`z`, ``[n]``, what the source calls each of the target's examples: its
        true labels, or its network's most probable class.
      labels: :math:`y`, ``[n]``, of the target.
      source_classes, classes: how many of each; ``None`` takes one more than the largest, which
        must then be concrete.

    Returns:
      A scalar in nats, from minus the logarithm of ``classes`` to 0; higher is better.

    Raises:
      TypeError, ValueError: for arrays that do not fit.

    Source: Tran et al. 2019, Transferability and hardness of supervised classification tasks,
      equation 4.

    >>> f"{nce(jnp.array([0, 0, 1, 1]), jnp.array([0, 1, 1, 1])):.4f}"  # -ln(2) / 2
    '-0.3466'
    """
    labels = jnp.asarray(labels)
    n = labels.shape[0] if labels.ndim else 0
    if not n:
        raise ValueError("labels must hold at least one class.")
    labels, classes = class_labels("labels", labels, classes, n)
    z, source_classes = class_labels("source_labels", source_labels, source_classes, n)
    joint = jnp.zeros((source_classes, classes)).at[z, labels].add(1 / n)
    given = joint.sum(axis=1, keepdims=True)
    some = joint > 0
    ratio = jnp.where(some, joint / jnp.where(given > 0, given, 1), 1)
    return jnp.sum(joint * jnp.log(ratio))
