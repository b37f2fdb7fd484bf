"""Pseudo-labels: a network's own sure predictions as its labels."""

from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from jaxfer.divergences.logits import one_prediction
from jaxfer.divergences.options import check_number


def pseudo_label_cross_entropy(
    logits: Any,
    *,
    threshold: float | Array = 0.0,
    axis: int = -1,
    where: Any = None,
) -> Array:
    r"""Cross-entropy with the most probable class, where it is probable enough (per-example).

    .. math::
        L = 1[\max_k p_k \ge \tau] \; (- \ln p_{\hat y}), \qquad \hat y = \arg\max_k p_k, \quad p =
        \mathrm{softmax}(z)

    Neither label nor mask is differentiated.

    Args:
      logits: :math:`z`, ``[batch, classes]``, floating point, finite.
      threshold: :math:`\tau`, from 0, which takes every example, to 1.
      axis: the axis of the classes.
      where: booleans that broadcast to the shape of the logits. A class that is left out is absent,
        as if sliced away.

    Returns:
      ``[batch]``, in nats; 0 for an example below the threshold or with no class. The mean over the
      batch counts those too.

    Raises:
      TypeError: for logits that are not of floating point, a ``where`` that is not of booleans, or
        an axis that is not an integer.
      ValueError: for shapes or a threshold that do not fit; where arrays are concrete also for NaN
        or infinity.

    Source: Lee 2013, Pseudo-label, equations 15 and 16, with threshold 0.

    >>> logits = jnp.log(jnp.array([[0.9, 0.1], [0.4, 0.6]]))
    >>> [f"{loss:.4f}" for loss in pseudo_label_cross_entropy(logits, threshold=0.8)]  # -ln 0.9, 0
    ['0.1054', '0.0000']
    """
    return _cross_entropy(("logits", logits), ("logits", logits), threshold, axis, where)


def fixmatch_consistency(
    weak_logits: Any,
    strong_logits: Any,
    *,
    threshold: float | Array = 0.95,
    axis: int = -1,
    where: Any = None,
) -> Array:
    r"""Cross-entropy of one view's prediction with the sure label of another (per-example).

    .. math::
        L = 1[\max_k p_k \ge \tau] \; (- \ln q_{\hat y}), \qquad \hat y = \arg\max_k p_k

    The gradient reaches the strong logits alone.

    Args:
      weak_logits: ``[batch, classes]``, of weakly augmented examples, floating point, finite;
        :math:`p` is their softmax.
      strong_logits: of the same shape, of the same examples strongly augmented; :math:`q` is their
        softmax.
      threshold: :math:`\tau`, from 0, which takes every example, to 1.
      axis: the axis of the classes.
      where: booleans that broadcast to the shape of the logits. A class that is left out is absent
        from both predictions, as if sliced away.

    Returns:
      ``[batch]``, in nats; 0 for an example below the threshold or with no class. The mean over the
      batch counts those too, as in the paper.

    Raises:
      TypeError: for logits that are not of floating point, a ``where`` that is not of booleans, or
        an axis that is not an integer.
      ValueError: for shapes or a threshold that do not fit; where arrays are concrete also for NaN
        or infinity.

    Source: Sohn et al. 2020, FixMatch, equation 4.

    >>> weak_logits = jnp.log(jnp.array([[0.98, 0.02], [0.4, 0.6]]))
    >>> strong_logits = jnp.log(jnp.array([[0.5, 0.5], [0.5, 0.5]]))
    >>> [f"{loss:.4f}" for loss in fixmatch_consistency(weak_logits, strong_logits)]  # ln 2, 0
    ['0.6931', '0.0000']
    """
    return _cross_entropy(
        ("weak_logits", weak_logits), ("strong_logits", strong_logits), threshold, axis, where
    )


def _cross_entropy(
    labelling: tuple[str, Any],
    learning: tuple[str, Any],
    threshold: Any,
    axis: int,
    where: Any,
) -> Array:
    check_number("threshold", threshold, at_least=0, at_most=1)
    if not isinstance(axis, int):
        raise TypeError(f"axis must be an integer; it is {axis!r}.")
    (name, labels), (other_name, logits) = labelling, learning
    if jnp.shape(labels) != jnp.shape(logits):
        raise ValueError(
            f"{name} and {other_name} must have the same shape; "
            f"their shapes are {jnp.shape(labels)} and {jnp.shape(logits)}."
        )
    options = {"axis": axis, "where": where}
    _, probabilities = one_prediction(lax.stop_gradient(labels), name=name, **options)
    log_probabilities, _ = one_prediction(logits, name=other_name, **options)
    best = jnp.argmax(probabilities, axis=axis, keepdims=True)
    confidence = jnp.max(probabilities, axis=axis)
    chosen = jnp.squeeze(jnp.take_along_axis(log_probabilities, best, axis=axis), axis)
    # What is neither at least nor below the threshold is NaN, and stays it.
    below = jnp.where(confidence < threshold, 0, confidence)
    return jnp.where(confidence >= threshold, -chosen, below)
