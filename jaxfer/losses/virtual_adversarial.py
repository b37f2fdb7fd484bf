"""Virtual adversarial training: predictions that hold still in the direction they change most."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxfer.divergences.kl import kl_logits
from jaxfer.divergences.logits import one_prediction
from jaxfer.divergences.options import check_count, check_number
from jaxfer.divergences.samples import floating
from jaxfer.losses.safe_norm import safe_norm
from jaxfer.typing import Key


def virtual_adversarial(
    logits_fn: Callable[[Array], Array],
    x: Any,
    *,
    key: Key,
    radius: float | Array,
    power_iterations: int = 1,
    finite_difference: float | Array | None = None,
    axis: int | tuple[int, ...] = -1,
    where: Any = None,
) -> Array:
    r"""KL divergence to the prediction at the worst nearby input (per-example).

    .. math::
        L = \mathrm{KL} \big( p(\bar\theta, x) \,\|\, p(\theta, x + r) \big), \qquad r = \epsilon \,
        d_T, \quad d_{t+1} = \frac{H d_t}{\| H d_t \|}

    where :math:`H` is the Hessian of the divergence by :math:`r` at 0, whose leading eigenvector
    the power iterations approach from a random direction. Neither :math:`p(\bar\theta, x)` nor
    :math:`r` is differentiated.

    At :math:`r = 0` that Hessian is :math:`J^\top (\mathrm{diag}\, p - p p^\top) J` with the
    Jacobian :math:`J` of the logits, and its product costs one forward and one reverse derivative,
    exactly. ``finite_difference`` gives the paper's approximation of it instead, a gradient at
    :math:`\xi d`, at the same cost.

    Args:
      logits_fn: ``[batch, ...] -> [batch, classes]``, of floating point. It is called several
        times: random numbers inside must be the same in each, and batch statistics recorded ones.
      x: ``[batch, ...]``, floating point.
      key: of the first direction.
      radius: :math:`\epsilon`, at least 0: the norm of :math:`r` of each example.
      power_iterations: at least 1.
      finite_difference: :math:`\xi`, positive, or ``None`` for the exact product.
      axis: the axis, or axes, of the classes in the logits; not the first.
      where: booleans that broadcast to the shape of the logits: which classes take part.

    Returns:
      ``[batch]``, in nats, at least 0 up to rounding. Where the product is 0, as for a constant
      prediction, the direction stays what it was.

    Raises:
      TypeError: for inputs or logits that are not of floating point, or options of the wrong type.
      ValueError: for shapes or numbers that do not fit; where arrays are concrete also for NaN or
        infinity.

    Source: Miyato et al. 2018, Virtual adversarial training, equation 5 and algorithm 1. Deviation:
    the exact product. The paper's :math:`\xi` of 1e-6 is less than float32 resolves.

    >>> logits_fn = lambda x: jnp.stack([3 * x[:, 0], 0 * x[:, 1]], axis=1)  # of x_0 alone
    >>> x, key = jnp.zeros((1, 2)), jax.random.key(0)
    >>> loss = virtual_adversarial(logits_fn, x, key=key, radius=0.1)
    >>> worst = jnp.array([[0.1, 0.0]])
    >>> bool(jnp.allclose(loss, kl_logits(logits_fn(x), logits_fn(x + worst)), atol=1e-6))
    True
    """
    check_number("radius", radius, at_least=0)
    check_count("power_iterations", power_iterations)
    if finite_difference is not None:
        check_number("finite_difference", finite_difference, above=0)
    x = floating("x", x)
    if not x.ndim:
        raise ValueError("x must be an array [batch, ...]; it has no axis.")
    logits, pull = jax.vjp(logits_fn, x)
    if jnp.ndim(logits) < 2 or len(logits) != len(x):
        raise ValueError(
            f"logits_fn must map {x.shape} to [{len(x)}, classes]; it made {jnp.shape(logits)}."
        )
    _, probabilities = one_prediction(logits, axis=axis, where=where)

    def product(direction: Array) -> Array:
        if finite_difference is not None:
            moved, pull_there = jax.vjp(logits_fn, x + finite_difference * direction)
            _, there = one_prediction(moved, axis=axis, where=where)
            return pull_there((there - probabilities).astype(moved.dtype))[0]
        _, change = jax.jvp(logits_fn, (x,), (direction,))
        mean = jnp.sum(probabilities * change, axis=axis, keepdims=True)
        return pull((probabilities * (change - mean)).astype(logits.dtype))[0]

    direction = _unit(jax.random.normal(key, x.shape, x.dtype))
    for _ in range(power_iterations):
        direction = _unit(product(direction), otherwise=direction)
    moved = logits_fn(x + lax.stop_gradient(radius * direction))
    return kl_logits(lax.stop_gradient(logits), moved, axis=axis, where=where)


def _unit(x: Array, otherwise: Array | float = 0.0) -> Array:
    """Each example over its norm; something else where that is 0."""
    norm = safe_norm(x, axis=tuple(range(1, x.ndim)))
    norm = norm.reshape(-1, *[1] * (x.ndim - 1))
    return jnp.where(norm > 0, x / jnp.where(norm > 0, norm, 1), otherwise)
