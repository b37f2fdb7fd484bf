"""LoRA on any pytree: corrections of low rank to chosen weights, merged and taken out again."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxfer.adapters.masks import Mask, partition
from jaxfer.divergences.options import check_count, check_number
from jaxfer.typing import Key, PyTree


class LowRank(NamedTuple):
    """The two factors of a correction to one weight.

    Attributes:
      down: ``[..., rank]``, from the weight's inputs.
      up: ``[rank, outputs]``.

    >>> LowRank(jnp.ones((3, 1)), jnp.zeros((1, 2))).up.shape
    (1, 2)
    """

    down: Array
    up: Array


def init_low_rank(key: Key, params: PyTree, mask: Mask, *, rank: int) -> PyTree:
    r"""Factors of a correction that begins as nothing, for each chosen weight.

    A weight's last axis is its outputs; all others are its inputs, as of a dense kernel ``[inputs,
    outputs]`` and of a convolution's ``[height, width, inputs, outputs]``. ``down`` is uniform
    within :math:`\pm 1 / \sqrt{\mathrm{inputs}}`, ``up`` is 0.

    Args:
      key: of the initial values.
      params: any pytree.
      mask: which weights, as for :func:`partition`; each must have at least two axes.
      rank: :math:`r`, at least 1 and at most the smaller side of each weight.

    Returns:
      A pytree of the structure of ``params``: a :class:`LowRank` for what is chosen, ``None`` for
      the rest.

    Raises:
      TypeError: for a rank that is no integer.
      ValueError: for a rank out of range, a chosen leaf of less than two axes, or a mask that does
        not fit.

    Source: Hu et al. 2022, LoRA: low-rank adaptation of large language models, section 4.1. The
      range of ``down`` is that of PEFT, whose initialiser is Kaiming's uniform one with slope
      :math:`\sqrt 5`.

    >>> params = {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)}
    >>> factors = init_low_rank(jax.random.key(0), params, {"kernel": True, "bias": False}, rank=2)
    >>> factors["kernel"].down.shape, factors["kernel"].up.shape, factors["bias"]
    ((4, 2), (2, 3), None)
    """
    check_count("rank", rank)
    chosen, _ = partition(params, mask)
    leaves, structure = jax.tree.flatten(chosen)
    factors = []
    for leaf, leaf_key in zip(leaves, jax.random.split(key, len(leaves)), strict=True):
        if leaf.ndim < 2 or not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(
                "a weight with a correction of low rank must be of floating point with at least "
                f"two axes; one that mask chooses is {leaf.dtype} {leaf.shape}."
            )
        inputs, outputs = leaf.size // leaf.shape[-1], leaf.shape[-1]
        if rank > min(inputs, outputs):
            raise ValueError(
                f"rank must be at most {min(inputs, outputs)}, the smaller side of a weight "
                f"{leaf.shape} that mask chooses; it is {rank}."
            )
        bound, dtype = inputs**-0.5, jax.dtypes.canonicalize_dtype(leaf.dtype)
        down = jax.random.uniform(leaf_key, (*leaf.shape[:-1], rank), dtype, -bound, bound)
        factors.append(LowRank(down, jnp.zeros((rank, outputs), dtype)))
    return jax.tree.unflatten(structure, factors)


def merge_low_rank(
    params: PyTree, factors: PyTree, *, alpha: float | Array | None = None
) -> PyTree:
    r"""Weights with their corrections added.

    .. math:: W + \frac{\alpha}{r} A B

    Differentiated by the factors this forms the gradient of the whole weight first; the layers of
    ``jaxfer.models`` keep the factors apart instead.

    Args:
      params: any pytree.
      factors: from :func:`init_low_rank`, :math:`A` ``down`` and :math:`B` ``up``.
      alpha: :math:`\alpha`, at least 0; ``None`` takes the rank, for a factor of 1.

    Returns:
      Of the structure of ``params``. The product is formed at the highest precision and rounded
      once, in the addition.

    Raises:
      TypeError, ValueError: for an alpha or factors that do not fit.

    Source: Hu et al. 2022, LoRA: low-rank adaptation of large language models, equation 3.

    >>> factors = {"kernel": LowRank(jnp.array([[1.0], [2.0]]), jnp.array([[1.0, 10.0]]))}
    >>> merge_low_rank({"kernel": jnp.zeros((2, 2))}, factors, alpha=2.0)["kernel"]
    Array([[ 2., 20.],
           [ 4., 40.]], dtype=float32)
    """
    return _added(params, factors, alpha, sign=1)


def unmerge_low_rank(
    params: PyTree, factors: PyTree, *, alpha: float | Array | None = None
) -> PyTree:
    """The inverse of :func:`merge_low_rank`, to one rounding of each weight.

    Args:
      params: merged parameters.
      factors, alpha: those that they were merged with.

    Returns:
      The parameters without their corrections. Where they are needed to the last bit, keep them:
      merging changes no array in place.

    Raises:
      TypeError, ValueError: as :func:`merge_low_rank`.

    >>> params = {"kernel": jnp.ones((4, 3))}
    >>> factors = init_low_rank(jax.random.key(0), params, None, rank=1)
    >>> unmerge_low_rank(merge_low_rank(params, factors), factors)["kernel"].sum()
    Array(12., dtype=float32)
    """
    return _added(params, factors, alpha, sign=-1)


def low_rank_scale(rank: int, alpha: float | Array | None = None) -> float | Array:
    r"""What the product of the factors is multiplied by, :math:`\alpha / r`.

    Args:
      rank: :math:`r`, at least 1.
      alpha: :math:`\alpha`, at least 0; ``None`` takes the rank.

    Returns:
      A number.

    Raises:
      TypeError, ValueError: for numbers out of range.

    >>> low_rank_scale(8, 16.0)
    2.0
    """
    check_count("rank", rank)
    if alpha is None:
        return 1.0
    check_number("alpha", alpha, at_least=0)
    return alpha / rank


def _added(params: PyTree, factors: PyTree, alpha: float | Array | None, *, sign: int) -> PyTree:
    def add(pair: LowRank | None, weight: Array) -> Array:
        if pair is None:
            return weight
        down, up = pair
        fits = weight.shape == (*down.shape[:-1], up.shape[-1]) and down.shape[-1] == up.shape[0]
        if not fits:
            raise ValueError(
                f"factors {down.shape} and {up.shape} do not fit a weight {weight.shape}."
            )
        scale = low_rank_scale(down.shape[-1], alpha)
        return weight + sign * scale * jnp.matmul(down, up, precision="highest")

    def ends(leaf: object) -> bool:
        return leaf is None or isinstance(leaf, LowRank)

    # Where factors stop at None, what lies below it in params may be a whole tree.
    return jax.tree.map(
        lambda pair, below: jax.tree.map(lambda weight: add(pair, weight), below),
        factors, params, is_leaf=ends,
    )  # fmt: skip
