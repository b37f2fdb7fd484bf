"""IA3 on any pytree: learned factors of the inputs or outputs of chosen weights."""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array

from jaxfer.adapters.masks import Mask, partition
from jaxfer.typing import PyTree

Side = Literal["inputs", "outputs"]


def init_rescaling(params: PyTree, mask: Mask, *, side: Side = "outputs") -> PyTree:
    """Factors of 1, one for each output or input of each chosen weight.

    IA3 rescales the outputs of an attention's keys and values, kernels and biases both, and the
    inputs of the second layer of a feed-forward network.

    Args:
      params: any pytree.
      mask: which weights, as for :func:`partition`. With ``side="outputs"`` biases may be among
        them; give a layer's kernel and bias the same factors by training them together, or leave
        the bias out.
      side: ``"outputs"``, the last axis, or ``"inputs"``, the one before it.

    Returns:
      A pytree of the structure of ``params``: vectors of ones, ``None`` for what is not chosen.

    Raises:
      ValueError: for another side, a mask that does not fit, or a leaf without such an axis.

    Source: Liu et al. 2022, Few-shot parameter-efficient fine-tuning is better and cheaper than
      in-context learning, section 3.3.

    >>> params = {"key": jnp.ones((4, 3)), "query": jnp.ones((4, 3))}
    >>> init_rescaling(params, {"key": True, "query": False})
    {'key': Array([1., 1., 1.], dtype=float32), 'query': None}
    """
    axis = _axis(side)
    chosen, _ = partition(params, mask)

    def ones(leaf: Array) -> Array:
        if leaf.ndim < -axis:
            raise ValueError(f"a leaf {leaf.shape} that mask chooses has no axis of {side}.")
        return jnp.ones(leaf.shape[axis], leaf.dtype)

    return jax.tree.map(ones, chosen)


def rescale(params: PyTree, factors: PyTree, *, side: Side = "outputs") -> PyTree:
    r"""Weights times their factors.

    .. math:: W \, \mathrm{diag}(\ell) \quad \text{or} \quad \mathrm{diag}(\ell) \, W

    Args:
      params: any pytree.
      factors: from :func:`init_rescaling`.
      side: the same as there.

    Returns:
      Of the structure of ``params``.

    Raises:
      ValueError: for another side, or factors that do not fit.

    Source: Liu et al. 2022, Few-shot parameter-efficient fine-tuning is better and cheaper than
      in-context learning, section 3.3; there activations are multiplied, which is the same.

    >>> rescale({"key": jnp.ones((2, 3))}, {"key": jnp.array([2.0, 3.0])}, side="inputs")["key"]
    Array([[2., 2., 2.],
           [3., 3., 3.]], dtype=float32)
    """
    axis = _axis(side)

    def multiply(factor: Array | None, weight: Array) -> Array:
        if factor is None:
            return weight
        if weight.ndim < -axis or factor.shape != weight.shape[axis:][:1]:
            raise ValueError(f"factors {factor.shape} do not fit the {side} of {weight.shape}.")
        return weight * (factor if side == "outputs" else factor[:, None])

    return jax.tree.map(
        lambda factor, below: jax.tree.map(lambda weight: multiply(factor, weight), below),
        factors, params, is_leaf=lambda leaf: leaf is None,
    )  # fmt: skip


def _axis(side: Side) -> int:
    if side not in ("inputs", "outputs"):
        raise ValueError(f"side must be 'inputs' or 'outputs'; it is {side!r}.")
    return -1 if side == "outputs" else -2
