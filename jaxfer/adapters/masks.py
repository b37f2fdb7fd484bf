"""Which parameters are adapted? Masks over any pytree, and its two halves."""

from collections.abc import Callable
from typing import TypeAlias

import jax

from jaxfer.typing import PyTree

Mask: TypeAlias = PyTree | Callable[[PyTree], PyTree] | None


def by_path(contains: str | tuple[str, ...], *, invert: bool = False) -> Callable[[PyTree], PyTree]:
    """A mask of the parameters on whose path a name stands.

    Args:
      contains: a key of the nested parameters, or several; a leaf is chosen if one of them is on
        its path.
      invert: choose the other leaves instead.

    Returns:
      ``mask(params) -> pytree of bool`` of the structure of ``params``.

    Raises:
      ValueError: from the mask, if no leaf lies below such a key.

    >>> by_path("head")({"body": 1.0, "head": {"kernel": 2.0}})
    {'body': False, 'head': {'kernel': True}}
    """
    names = (contains,) if isinstance(contains, str) else tuple(contains)

    def mask(params: PyTree) -> PyTree:
        def chosen(path: tuple, _: object) -> bool:
            return any(str(getattr(key, "key", getattr(key, "name", key))) in names for key in path)

        found = jax.tree_util.tree_map_with_path(chosen, params)
        if not any(jax.tree.leaves(found)):
            paths = [
                jax.tree_util.keystr(path)
                for path, _ in jax.tree_util.tree_leaves_with_path(params)
            ]
            raise ValueError(
                f"no parameter lies below {' or '.join(names)}; there are {', '.join(paths)}."
            )
        return jax.tree.map(lambda leaf: leaf != invert, found)

    return mask


def partition(params: PyTree, mask: Mask) -> tuple[PyTree, PyTree]:
    """Split parameters into the adapted and the others.

    Each has the structure of the whole, with ``None`` for what it lacks.

    Args:
      params: any pytree.
      mask: a pytree of bool (a prefix of ``params``), a function that makes one, or ``None`` for
        all.

    Returns:
      ``(adapted, others)``; :func:`merge` puts them together again.

    Raises:
      ValueError: if ``mask`` is no prefix of ``params`` or chooses nothing.

    >>> partition({"body": 1.0, "head": 2.0}, {"body": False, "head": True})
    ({'body': None, 'head': 2.0}, {'body': 1.0, 'head': None})
    """
    if mask is None:
        return params, jax.tree.map(lambda _: None, params)
    prefix = mask(params) if callable(mask) else mask
    try:
        full = jax.tree.map(
            lambda chosen, below: jax.tree.map(lambda _: bool(chosen), below), prefix, params
        )
    except ValueError as error:
        raise ValueError(f"mask must be a prefix of params: {error}") from None
    if not any(jax.tree.leaves(full)):
        raise ValueError("mask chooses no parameter; at least one must be adapted.")
    adapted = jax.tree.map(lambda leaf, chosen: leaf if chosen else None, params, full)
    others = jax.tree.map(lambda leaf, chosen: None if chosen else leaf, params, full)
    return adapted, others


def merge(adapted: PyTree, others: PyTree) -> PyTree:
    """The inverse of :func:`partition`.

    Args:
      adapted: parameters, ``None`` where absent.
      others: the rest, ``None`` where ``adapted`` has a leaf.

    Returns:
      The whole pytree.

    >>> merge({"body": None, "head": 3.0}, {"body": 1.0, "head": None})
    {'body': 1.0, 'head': 3.0}
    """
    return jax.tree.map(
        lambda a, b: b if a is None else a, adapted, others, is_leaf=lambda leaf: leaf is None
    )
