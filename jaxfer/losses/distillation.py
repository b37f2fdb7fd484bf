"""Distillation: a student that follows a teacher's predictions, or its features."""

from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from jaxfer.divergences.kl import kl_logits
from jaxfer.divergences.logits import check_axes
from jaxfer.divergences.options import check_number
from jaxfer.divergences.samples import floating
from jaxfer.losses.safe_norm import safe_norm


def distillation(
    logits: Any,
    teacher_logits: Any,
    *,
    temperature: float | Array = 4.0,
    axis: int | tuple[int, ...] = -1,
    where: Any = None,
) -> Array:
    r"""Divergence of a student's softened predictions from its teacher's (per-example).

    .. math:: L = T^2 \, \mathrm{KL}(q \,\|\, p), \qquad
        q = \mathrm{softmax}(z' / T), \quad p = \mathrm{softmax}(z / T)

    The factor :math:`T^2` keeps the gradient's size as the temperature changes. No gradient goes to
    the teacher. The cross-entropy with true labels, which is usually added, is the caller's.

    Args:
      logits: :math:`z`, the student's, ``[batch, classes]``, floating point, finite.
      teacher_logits: :math:`z'`, of the same shape.
      temperature: :math:`T`, positive.
      axis: the axis, or axes, of the classes.
      where: booleans that broadcast to the shape of the logits. A class that is left out is absent
        from both predictions.

    Returns:
      ``[batch]``, in nats times :math:`T^2`, at least 0 up to rounding.

    Raises:
      TypeError: for logits that are not of floating point or a ``where`` that is not of booleans.
      ValueError: for shapes that do not fit or a temperature that is not positive; where arrays are
        concrete also for NaN or infinity.

    Source: Hinton et al. 2015, Distilling the knowledge in a neural network, section 2. It differs
      from the cross-entropy there by the teacher's entropy, which is constant.

    >>> logits, teacher_logits = jnp.array([[0.0, 0.0]]), jnp.array([[1.0, -1.0]])
    >>> f"{distillation(logits, teacher_logits, temperature=1.0)[0]:.4f}"
    '0.3278'
    """
    check_number("temperature", temperature, above=0)
    # Checked before the teacher is held constant: a constant of the caller's is still concrete.
    teacher_logits = lax.stop_gradient(floating("teacher_logits", teacher_logits))
    divergence = kl_logits(
        teacher_logits, logits, axis=axis, where=where, temperature=temperature
    )  # fmt: skip
    return jnp.square(temperature) * divergence


def feature_distillation(
    features: Any,
    teacher_features: Any,
    *,
    normalize: bool = False,
    axis: int | tuple[int, ...] = -1,
    where: Any = None,
) -> Array:
    r"""Half the squared distance of a student's features from its teacher's (per-example).

    .. math:: L = \frac{1}{2} \| f - f' \|^2

    or that of :math:`f / \|f\|` and :math:`f' / \|f'\|`, which is one minus their cosine. No
    gradient goes to the teacher. Features of another width go through a map first, such as
    ``linear_feature_map``, trained along.

    Args:
      features: :math:`f`, the student's, ``[batch, features]``, floating point.
      teacher_features: :math:`f'`, of the same shape.
      normalize: compare directions alone; a feature that is 0 has none, and stays 0.
      axis: the axis, or axes, of the features: ``(1, 2, 3)`` of maps.
      where: booleans that broadcast to the shape of the features: which take part.

    Returns:
      ``[batch]``, at least 0.

    Raises:
      TypeError: for features that are not of floating point or a ``where`` that is not of booleans.
      ValueError: for shapes that do not fit; where arrays are concrete also for NaN or infinity.

    Source: Romero et al. 2015, FitNets: hints for thin deep nets, equation 3; normalised as in
      Zagoruyko and Komodakis 2017, Paying more attention to attention, equation 2, squared.

    >>> feature_distillation(jnp.array([[3.0, 4.0]]), jnp.array([[0.0, 0.0]]))
    Array([12.5], dtype=float32)
    """
    features = floating("features", features)
    teacher_features = lax.stop_gradient(floating("teacher_features", teacher_features))
    if features.shape != teacher_features.shape:
        raise ValueError(
            "features and teacher_features must have the same shape; their shapes are "
            f"{features.shape} and {teacher_features.shape}."
        )
    axes, where = check_axes("features", features, axis, where, holds="feature")
    if where is not None:
        features, teacher_features = (jnp.where(where, f, 0) for f in (features, teacher_features))
    if normalize:
        features, teacher_features = (
            f / jnp.where(norm > 0, norm, 1)
            for f in (features, teacher_features)
            for norm in [jnp.expand_dims(safe_norm(f, axis=axes), axes)]
        )
    return 0.5 * jnp.sum(jnp.square(features - teacher_features), axis=axes)
