"""What trains? Parameters chosen by patterns of their paths, and how many they are."""

import math
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import jax

from jaxfer.adapters.masks import Mask, partition
from jaxfer.typing import PyTree


def path_name(path: tuple[Any, ...]) -> str:
    """A path of ``jax.tree_util`` as one string, its keys joined by ``/``.

    Args:
      path: keys, indices and attributes.

    Returns:
      Such as ``blocks/0/attention/query/kernel``.

    >>> [(path, _)] = jax.tree_util.tree_leaves_with_path({"blocks": [{"bias": 1.0}]})
    >>> path_name(path)
    'blocks/0/bias'
    """
    return "/".join(
        str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path
    )


def by_pattern(*patterns: str, invert: bool = False) -> Callable[[PyTree], PyTree]:
    """A mask of the parameters whose whole path matches one of some patterns.

    Such a mask is what :func:`partition` splits by, so that gradients, optimiser state and weight
    decay exist for the chosen half alone. BitFit, which trains biases and a head, is
    ``by_pattern("*/bias", "head/*")``.

    Args:
      *patterns: as of a shell, against the path joined by ``/``: ``*`` stands for any characters,
        those of deeper levels included, ``?`` for one, ``[01]`` for one of several.
      invert: choose the other leaves instead.

    Returns:
      ``mask(params) -> pytree of bool`` of the structure of ``params``.

    Raises:
      ValueError: without any pattern; from the mask, if a pattern matches no leaf.

    Source of BitFit: Ben Zaken et al. 2022, BitFit: simple parameter-efficient fine-tuning, section
      3.

    >>> by_pattern("head/*", "*/bias")({"body": {"kernel": 1.0, "bias": 2.0}, "head": {"k": 3.0}})
    {'body': {'bias': True, 'kernel': False}, 'head': {'k': True}}
    """
    if not patterns:
        raise ValueError("by_pattern needs at least one pattern, such as 'head/*'.")

    def mask(params: PyTree) -> PyTree:
        names = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ValueError(
                    f"pattern {pattern!r} matches no parameter; there are {', '.join(names)}."
                )
        return jax.tree_util.tree_map_with_path(
            lambda path, _: any(fnmatchcase(path_name(path), p) for p in patterns) != invert, params
        )

    return mask


def count_parameters(params: PyTree) -> int:
    """How many numbers a pytree of parameters holds.

    Args:
      params: any pytree of arrays or of their shapes; ``None`` counts for nothing.

    Returns:
      The sum of the sizes of its leaves.

    >>> count_parameters({"kernel": jax.ShapeDtypeStruct((3, 4), float), "bias": None})
    12
    """
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def parameter_table(params: PyTree, mask: Mask = None, *, depth: int = 2) -> str:
    """A table of how many parameters train, and how many are frozen, below each path.

    Args:
      params: any pytree of arrays or of their shapes.
      mask: what trains, as for :func:`partition`; ``None`` for all.
      depth: levels of the path that a row stands for, at least 1.

    Returns:
      Lines of text: a row for each path and one for the whole.

    Raises:
      ValueError: for a depth below 1, or as :func:`partition`.

    >>> import jax.numpy as jnp
    >>> params = {"body": {"kernel": jnp.ones((10, 100))}, "head": {"bias": jnp.ones(2)}}
    >>> print(parameter_table(params, by_pattern("head/*"), depth=1))
    parameters  trained  frozen
    body              0   1,000
    head              2       0
    all               2   1,000
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1; it is {depth}.")
    counts: dict[str, list[int]] = {}
    for side, half in enumerate(partition(params, mask)):
        for path, leaf in jax.tree_util.tree_leaves_with_path(half):
            row = counts.setdefault(path_name(path[:depth]), [0, 0])
            row[side] += math.prod(leaf.shape)
    whole = [sum(row[side] for row in counts.values()) for side in (0, 1)]
    rows = [("parameters", "trained", "frozen")]
    rows += [(name, f"{own:,}", f"{rest:,}") for name, (own, rest) in sorted(counts.items())]
    rows.append(("all", f"{whole[0]:,}", f"{whole[1]:,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        f"{name:<{widths[0]}}  {trained:>{widths[1]}}  {frozen:>{widths[2]}}"
        for name, trained, frozen in rows
    )
