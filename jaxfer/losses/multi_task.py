"""Several tasks on one network: how their losses are weighed, and their gradients made to agree."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxfer.divergences.samples import floating
from jaxfer.typing import Key, PyTree


def uncertainty_weighted(losses: Any, log_variances: Any, *, regression: Any = False) -> Array:
    r"""Sum of the losses of several tasks, each by a trained uncertainty (of losses, no batch).

    .. math:: L = \sum_t c_t e^{-s_t} L_t + \frac{s_t}{2}, \qquad s_t = \ln \sigma_t^2

    :math:`c_t` is 1 for a classification, whose logits are divided by :math:`\sigma_t^2`, and 1/2
    for the squared error of a regression. At the best :math:`s_t` a task adds the logarithm of its
    loss, so that tasks on any scale pull alike.

    Args:
      losses: :math:`L_t`, ``[tasks]``, mean losses, not negative.
      log_variances: :math:`s_t`, ``[tasks]``, trained along, beginning at 0.
      regression: booleans that broadcast to ``[tasks]``: which losses are squared errors.

    Returns:
      A scalar.

    Raises:
      TypeError: for arrays that are not of floating point.
      ValueError: for shapes that do not fit; where arrays are concrete also for NaN or infinity.

    Source: Kendall et al. 2018, Multi-task learning using uncertainty to weigh losses, equations 7
      and 10 with :math:`s_t` as trained there.

    >>> float(uncertainty_weighted(jnp.array([2.0, 4.0]), jnp.zeros(2), regression=[True, False]))
    5.0
    """
    losses, log_variances = floating("losses", losses), floating("log_variances", log_variances)
    if losses.ndim != 1 or losses.shape != log_variances.shape:
        raise ValueError(
            "losses and log_variances must be arrays [tasks]; their shapes are "
            f"{losses.shape} and {log_variances.shape}."
        )
    factor = jnp.where(jnp.broadcast_to(jnp.asarray(regression), losses.shape), 0.5, 1.0)
    return jnp.sum(factor * jnp.exp(-log_variances) * losses + 0.5 * log_variances)


def project_conflicting(gradients: Sequence[PyTree], key: Key) -> PyTree:
    r"""PCGrad: the sum of gradients of tasks, none of which works against another (of gradients).

    .. math:: g_i \leftarrow g_i - \frac{g_i^\top g_j}{\|g_j\|^2} g_j
       \quad \text{where} \quad g_i^\top g_j < 0

    for the other tasks :math:`j` in random order, with :math:`g_j` as it was at first.

    Args:
      gradients: one pytree for each task, of the shared parameters, all of one structure.
      key: of the order.

    Returns:
      A pytree of that structure. A gradient of 0 conflicts with nothing.

    Raises:
      ValueError: without a gradient, or where structures or shapes differ.

    Source: Yu et al. 2020, Gradient surgery for multi-task learning, algorithm 1. The order is
      drawn once for each task, as there.

    >>> first, second = {"w": jnp.array([1.0, 0.0])}, {"w": jnp.array([-1.0, 1.0])}
    >>> project_conflicting([first, second], jax.random.key(0))["w"]
    Array([0.5, 1.5], dtype=float32)
    """
    if not gradients:
        raise ValueError("gradients must hold at least one pytree, that of a task.")
    shapes = [jax.tree.map(jnp.shape, gradient) for gradient in gradients]
    if any(shape != shapes[0] for shape in shapes[1:]):
        raise ValueError(
            f"gradients must be of one structure and shape; they are {', '.join(map(str, shapes))}."
        )
    tasks = len(gradients)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *gradients)

    def inner(a: PyTree, b: PyTree) -> Array:
        products = jax.tree.map(lambda x, y: jnp.vdot(x, y, precision="highest"), a, b)
        return sum(jax.tree.leaves(products), jnp.zeros(()))

    def project(own: PyTree, index: Array, order_key: Key) -> PyTree:
        def against(gradient: PyTree, j: Array) -> tuple[PyTree, None]:
            other = jax.tree.map(lambda leaf: leaf[j], stacked)
            product, square = inner(gradient, other), inner(other, other)
            conflict = (product < 0) & (j != index) & (square > 0)
            share = jnp.where(conflict, product / jnp.where(square > 0, square, 1), 0)
            return jax.tree.map(
                lambda g, o: g - share.astype(g.dtype) * o, gradient, other
            ), None  # fmt: skip

        return jax.lax.scan(against, own, jax.random.permutation(order_key, tasks))[0]

    projected = jax.vmap(project)(stacked, jnp.arange(tasks), jax.random.split(key, tasks))
    return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), projected)
