"""Log-odds of one class against all others, of which both log-probabilities are made."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import logsumexp


def log_odds(
    logits: Array, labels: Array, *, axis: int = -1, where: Array | None = None
) -> tuple[Array, Array]:
    r"""Log-odds of the labels, ``ln p - ln (1 - p)``, from logits that are already checked.

    From it ``ln p`` is ``-softplus(-odds)`` and ``ln (1 - p)`` is ``-softplus(odds)``: neither
    overflows, cancels or takes the logarithm of a probability.

    Args:
      logits: any shape.
      labels: integers, of the shape of the logits with 1 in place of the classes.
      axis: of the classes.
      where: which classes take part; the labels' must.

    Returns:
      The log-odds, without the classes' axis; and whether there is any other class: where there is
      none the odds are 0, and so is their derivative.
    """
    classes = jax.lax.broadcasted_iota(labels.dtype, logits.shape, axis % logits.ndim)
    chosen = classes == labels
    others = ~chosen if where is None else ~chosen & where
    some = jnp.any(others, axis=axis)
    own = jnp.sum(jnp.where(chosen, logits, 0), axis=axis)
    safe = others | ~jnp.expand_dims(some, axis)
    rest = logsumexp(jnp.where(safe, logits, 0), axis=axis, where=safe)
    return jnp.where(some, own - rest, 0), some
