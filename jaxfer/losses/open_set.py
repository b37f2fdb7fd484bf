"""Open-set adaptation: the boundary that an unknown class is pushed across."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxfer.divergences.logits import check_axes
from jaxfer.divergences.options import check_number
from jaxfer.divergences.samples import floating
from jaxfer.losses.log_odds import log_odds


def open_set_boundary(
    logits: Any,
    *,
    boundary: float | Array = 0.5,
    unknown: int = -1,
    axis: int = -1,
    where: Any = None,
) -> Array:
    r"""Cross-entropy of the unknown class's probability with a boundary (per-example).

    .. math::
        L = -t \ln p_u - (1 - t) \ln (1 - p_u), \qquad p = \mathrm{softmax}(z)

    The classifier minimises it on target examples, which draws :math:`p_u` to :math:`t`. The
    features maximise it, through ``jaxfer.adapters.reverse_gradient``: an example moves to one of
    the known classes or to the unknown one, and away from the boundary. Both logarithms are those
    of the log-odds of the unknown class, and never infinite.

    Args:
      logits: :math:`z`, ``[batch, classes + 1]``, floating point, finite.
      boundary: :math:`t`, from 0 to 1.
      unknown: :math:`u`, the index of the unknown class along the axis; the last one by default.
      axis: the axis of the classes.
      where: booleans that broadcast to the shape of the logits. A class that is left out is absent,
        as if sliced away; the unknown one must not be.

    Returns:
      ``[batch]``, in nats, at least the entropy of the boundary; 0 for an example without a known
      class or without the unknown one.

    Raises:
      TypeError: for logits that are not of floating point, a ``where`` that is not of booleans, or
        an axis or index that is not an integer.
      ValueError: for shapes, an index or a boundary that do not fit; where arrays are concrete also
        for NaN or infinity.

    Source: Saito et al. 2018, Open set domain adaptation by backpropagation, equation 2. Deviation:
    tllib adds 1e-6 inside the logarithms.

    >>> logits = jnp.log(jnp.array([[0.25, 0.25, 0.5], [0.45, 0.45, 0.1]]))
    >>> [f"{loss:.4f}" for loss in open_set_boundary(logits)]  # ln 2, -ln(0.1 * 0.9) / 2
    ['0.6931', '1.2040']
    """
    check_number("boundary", boundary, at_least=0, at_most=1)
    logits = floating("logits", logits)
    for name, index in (("axis", axis), ("unknown", unknown)):
        if not isinstance(index, int):
            raise TypeError(f"{name} must be an integer; it is {index!r}.")
    _, where = check_axes("logits", logits, axis, where)
    classes = logits.shape[axis]
    if classes < 2:
        raise ValueError(
            "logits must hold a known class and the unknown one; their shape is "
            f"{logits.shape} with axis={axis}."
        )
    if not -classes <= unknown < classes:
        raise ValueError(f"unknown must be the index of one of {classes} classes; it is {unknown}.")
    kept = jnp.ones(logits.shape, bool) if where is None else where
    takes_part = jnp.take(kept, jnp.array([unknown % classes]), axis=axis)
    labels = jnp.full_like(takes_part, unknown % classes, dtype=int)
    odds, others = log_odds(logits, labels, axis=axis, where=where)
    value = boundary * jax.nn.softplus(-odds) + (1 - boundary) * jax.nn.softplus(odds)
    return jnp.where(others & jnp.squeeze(takes_part, axis), value, 0)
