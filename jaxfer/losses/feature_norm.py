"""Adaptive feature norm: features that are long enough in both domains."""

from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from jaxfer.divergences.logits import check_axes
from jaxfer.divergences.options import check_number
from jaxfer.divergences.samples import floating, one_sample
from jaxfer.losses.batch_mean import batch_sum
from jaxfer.losses.safe_norm import safe_norm


def hard_feature_norm(
    features: Any,
    *,
    radius: float | Array = 25.0,
    weights: Any = None,
    axis_name: str | None = None,
) -> Array:
    r"""Squared distance of the mean feature norm from a radius (batch-coupled).

    .. math:: L = \Big( \sum_i w_i \|f_i\| - R \Big)^2

    with weights that sum to 1. HAFN adds it for the source and for the target batch, with one
    radius. A feature that is 0 has the gradient 0.

    Args:
      features: ``[batch, features]``, floating point.
      radius: :math:`R`, positive.
      weights: :math:`w`, ``[batch]``, not negative, on any scale; an example of weight 0 is absent.
        ``None`` weighs all alike.
      axis_name: mapped axis over which the batch is spread. Every device then returns the loss of
        the global batch; average the gradients with ``lax.pmean``.

    Returns:
      A scalar, at least 0. 0 where traced weights are all 0.

    Raises:
      TypeError: for features that are not of floating point.
      ValueError: for wrong shapes or a radius that is not positive; where arrays are concrete also
        for NaN, infinity, or weights that are negative or all 0.

    Source: Xu et al. 2019, Larger norm more transferable, section 3.3, the hard variant.

    >>> hard_feature_norm(jnp.array([[3.0, 4.0], [0.0, 1.0]]), radius=4.0)  # (3 - 4)^2
    Array(1., dtype=float32)
    """
    check_number("radius", radius, above=0)
    features, weights, present = one_sample(features, weights, name="features", axis_name=axis_name)
    mean = batch_sum(weights @ safe_norm(features, axis=1), axis_name)
    return jnp.where(present > 0, jnp.square(mean - radius), 0)


def stepwise_feature_norm(
    features: Any,
    *,
    step: float | Array = 1.0,
    axis: int | tuple[int, ...] = -1,
    where: Any = None,
) -> Array:
    r"""Squared distance of each feature norm from a step beyond itself (per-example).

    .. math:: L = \big( \|f\| - (\|\bar f\| + \Delta r) \big)^2

    where :math:`\bar f` is :math:`f`, held constant. The value is always :math:`\Delta r^2`; the
    gradient lengthens the features, by the same force at any length. A feature that is 0 has no
    direction to grow in: its gradient is 0.

    Args:
      features: ``[batch, features]``, floating point, of either domain.
      step: :math:`\Delta r`, at least 0.
      axis: the axis, or axes, of the features.
      where: booleans that broadcast to the shape of the features: which take part.

    Returns:
      ``[batch]``, all :math:`\Delta r^2`; 0 for an example of which nothing takes part.

    Raises:
      TypeError: for features that are not of floating point or a ``where`` that is not of booleans.
      ValueError: for shapes or a step that do not fit; where arrays are concrete also for NaN or
        infinity.

    Source: Xu et al. 2019, Larger norm more transferable, section 3.4, the stepwise variant.

    >>> features = jnp.array([[3.0, 4.0]])
    >>> stepwise_feature_norm(features, step=0.5)
    Array([0.25], dtype=float32)
    >>> import jax
    >>> jax.grad(lambda f: stepwise_feature_norm(f, step=0.5).sum())(features)  # -f / ||f||
    Array([[-0.6, -0.8]], dtype=float32)
    """
    check_number("step", step, at_least=0)
    features = floating("features", features)
    axes, where = check_axes("features", features, axis, where, holds="feature")
    some: Any = True
    if where is not None:
        some = jnp.any(where, axis=axes)
        features = jnp.where(where, features, 0)
    norm = safe_norm(features, axis=axes)
    return jnp.where(some, jnp.square(norm - lax.stop_gradient(norm) - step), 0)
