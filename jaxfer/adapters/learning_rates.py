"""How fast does each layer learn? Rates by depth, and layers that thaw one after another."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxfer.adapters.freezing import path_name
from jaxfer.divergences.options import check_count, check_number
from jaxfer.typing import PyTree


def depth_of_groups(groups: Sequence[str]) -> Callable[[PyTree], PyTree]:
    """How deep each parameter lies, by patterns of paths from the input to the output.

    Args:
      groups: patterns as those of :func:`by_pattern`, the layers next to the input first. A
        parameter belongs to the first that matches.

    Returns:
      ``depths(params) -> pytree of int`` of the structure of ``params``: 0 for the first group.

    Raises:
      ValueError: without a group; from the function, for a parameter that none matches.

    >>> depths = depth_of_groups(["embed/*", "blocks/0/*", "blocks/1/*", "head/*"])
    >>> depths({"embed": {"k": 1.0}, "blocks": [{"k": 1.0}, {"k": 1.0}], "head": {"k": 1.0}})
    {'blocks': [{'k': 1}, {'k': 2}], 'embed': {'k': 0}, 'head': {'k': 3}}
    """
    if not groups:
        raise ValueError("groups must hold at least one pattern.")

    def depths(params: PyTree) -> PyTree:
        def depth(path: tuple[Any, ...], _: Any) -> int:
            name = path_name(path)
            for index, pattern in enumerate(groups):
                if fnmatchcase(name, pattern):
                    return index
            raise ValueError(f"no group matches the parameter {name}; add a pattern for it.")

        return jax.tree_util.tree_map_with_path(depth, params)

    return depths


def scale_by_depth(depths: PyTree, *, decay: float = 0.9) -> optax.GradientTransformation:
    r"""Layer-wise learning rates: the nearer to the input, the slower.

    .. math:: \eta_\ell = \eta \, \xi^{L - \ell}

    To be put after the transformation that sets the rate, as in ``optax.chain(optax.adamw(rate),
    scale_by_depth(depths))``; weight decay, which is part of an update, is then scaled too.

    Args:
      depths: :math:`\ell`, integers from :func:`depth_of_groups`, of the structure of what is
        trained. :math:`L` is the largest of them.
      decay: :math:`\xi`, above 0 and at most 1.

    Returns:
      An optax transformation without state.

    Raises:
      ValueError: for a decay out of range.

    Source: Howard and Ruder 2018, Universal language model fine-tuning for text classification,
      section 3.2, there with :math:`\xi = 1 / 2.6`.

    >>> chain = scale_by_depth({"body": 0, "head": 1}, decay=0.5)
    >>> params = {"body": jnp.array(1.0), "head": jnp.array(1.0)}
    >>> updates, _ = chain.update(params, chain.init(params))
    >>> updates["body"].item(), updates["head"].item()
    (0.5, 1.0)
    """
    check_number("decay", decay, above=0, at_most=1)
    last = max(jax.tree.leaves(depths))
    scales = jax.tree.map(lambda depth: decay ** (last - depth), depths)
    return optax.stateless(
        lambda updates, _: jax.tree.map(lambda u, scale: u * scale, updates, scales)
    )


def thaw_by_depth(depths: PyTree, *, every: int) -> optax.GradientTransformationExtraArgs:
    r"""Gradual unfreezing: the last group from the start, another one after each so many steps.

    Group :math:`\ell` of :math:`0 \dots L` moves from step :math:`(L - \ell) n` on. To be put last
    in a chain, so that momentum and weight decay move nothing before; what a transformation before
    it has remembered of the gradients meanwhile stays.

    Args:
      depths: :math:`\ell`, integers from :func:`depth_of_groups`, of the structure of what is
        trained.
      every: :math:`n`, steps from one group to the next, at least 1.

    Returns:
      An optax transformation whose state is the step.

    Raises:
      TypeError, ValueError: for a number of steps that is no integer of at least 1.

    Source: Howard and Ruder 2018, Universal language model fine-tuning for text classification,
      section 3.3.

    >>> thaw = thaw_by_depth({"body": 0, "head": 1}, every=1)
    >>> params = {"body": jnp.array(1.0), "head": jnp.array(1.0)}
    >>> state = thaw.init(params)
    >>> for _ in range(2):
    ...     updates, state = thaw.update(params, state)
    ...     print(updates["body"].item(), updates["head"].item())
    0.0 1.0
    1.0 1.0
    """
    check_count("every", every)
    last = max(jax.tree.leaves(depths))

    def init(params: PyTree) -> Array:
        del params
        return jnp.zeros((), jnp.int32)

    def update(
        updates: PyTree, step: Array, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, Array]:
        del params, extra
        moved = jax.tree.map(
            lambda u, depth: jnp.where(step >= (last - depth) * every, u, 0), updates, depths
        )
        return moved, step + 1

    return optax.GradientTransformationExtraArgs(init, update)
