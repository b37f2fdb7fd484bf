"""Checkpoints: ``folder/STEP``, written whole or not at all, free of device counts.

The one place that knows Orbax.
"""

import contextlib
import logging
import pathlib
import shutil
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from orbax.checkpoint import v1 as ocp

from jaxfer.training.processes import any_process, on_first_process, share_from_first_process
from jaxfer.typing import PyTree, UserError

_REMOVED = ".removed"


def checkpoint_steps(folder: pathlib.Path) -> list[int]:
    """Lists the steps of the complete checkpoints in a folder.

    Args:
      folder: the folder of all checkpoints of a run; it need not exist.

    Returns:
      The steps, oldest first.

    >>> checkpoint_steps(pathlib.Path("no/such/folder"))
    []
    """
    if not folder.is_dir():
        return []
    return sorted(
        int(entry.name) for entry in folder.iterdir() if entry.name.isdigit() and entry.is_dir()
    )


def save_checkpoint(folder: pathlib.Path, step: int, tree: PyTree, *, keep: int = 2) -> None:
    """Saves a tree as ``folder/STEP``; killed at any instant, the checkpoints before it stay whole.

    All processes of a run call it, on a file system that they share; the first one writes.

    Args:
      folder: the folder of all checkpoints of a run; it is made if need be.
      step: the step that the tree belongs to; a checkpoint of that step is replaced.
      tree: any pytree of arrays; PRNG keys are kept as their data.
      keep: how many checkpoints to keep, this one included; later steps than this one are from a
        past that could not be restored, and go as well.

    Raises:
      UserError: if it cannot be written (no space, no permission).

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     for step in (10, 20, 30):
    ...         save_checkpoint(pathlib.Path(name), step, {"w": np.ones(3)})
    ...     checkpoint_steps(pathlib.Path(name))
    [20, 30]
    """
    folder = folder.resolve()
    host = _to_host(tree)

    def make_room() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        _discard(folder, [old for old in checkpoint_steps(folder) if old >= step])

    try:
        on_first_process(make_room)
        with _quiet(), _context():
            ocp.save(folder / str(step), host, custom_metadata={"crc32": _checksum(host)})
        on_first_process(lambda: _discard(folder, checkpoint_steps(folder)[:-keep]))
    except (OSError, ValueError) as error:  # TensorStore calls a full disk a ValueError
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"The checkpoint {folder / str(step)} could not be written ({reason}); make room, then "
            f"go on with --resume."
        ) from error


def restore_checkpoint(
    folder: pathlib.Path,
    like: PyTree,
    *,
    say: Callable[[str], None] | None = None,
) -> tuple[int, PyTree] | None:
    """Restores the latest checkpoint that is whole; all processes of a run call it.

    What a killed save left is removed. A damaged checkpoint is named, the one before it taken.

    Args:
      folder: the folder of all checkpoints of a run.
      like: a tree of the same structure, shapes and dtypes, arrays or ``jax.ShapeDtypeStruct``.
      say: is told of a damaged checkpoint; it is printed to stderr unless given.

    Returns:
      The step and the tree (NumPy arrays; PRNG keys are keys again), or None when there is no
      checkpoint.

    Raises:
      UserError: if there are checkpoints but all are damaged.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     save_checkpoint(pathlib.Path(name), 10, {"w": np.ones(3)})
    ...     restore_checkpoint(pathlib.Path(name), {"w": np.zeros(3)})
    (10, {'w': array([1., 1., 1.])})
    """
    folder = folder.resolve()
    steps = _steps_to_try(folder)
    for index, step in enumerate(steps):
        failure: Exception | None = None
        try:
            tree = _load(folder / str(step), like)
        except Exception as error:  # a cut or altered file makes Orbax raise one of many kinds
            failure = error
        if not any_process(failure is not None):
            return step, tree
        reason = " ".join(str(failure).split())[:200]
        older = steps[index + 1 :]
        if not older:
            raise UserError(
                f"No checkpoint in {folder} can be read; {step} says: {reason}. Start again with "
                f"another --out, or delete that folder to start over in this one."
            ) from failure
        message = (
            f"The checkpoint {folder / str(step)} is damaged ({reason}); going on from step "
            f"{older[0]} instead."
        )
        (say or partial(print, file=sys.stderr))(message)
    return None


def _steps_to_try(folder: pathlib.Path) -> list[int]:
    """The latest checkpoints, newest first, as process 0 sees them after clearing up."""

    def clear_up() -> list[int]:
        remove_leftovers(folder)
        return checkpoint_steps(folder)[::-1]

    found = on_first_process(clear_up) or []
    padded = np.array((found + [-1] * 8)[:8])
    return [int(step) for step in share_from_first_process(padded) if step >= 0]


def remove_leftovers(folder: pathlib.Path) -> None:
    """Removes what a killed save or removal left among checkpoints, and nothing else.

    Args:
      folder: the folder of all checkpoints of a run; it need not exist.

    >>> remove_leftovers(pathlib.Path("no/such/folder"))
    """
    if folder.is_dir():
        for entry in folder.iterdir():
            if ".orbax-checkpoint-tmp" in entry.name or entry.name.endswith(_REMOVED):
                shutil.rmtree(entry, ignore_errors=True)


def _discard(folder: pathlib.Path, steps: list[int]) -> None:
    for step in steps:
        # Renamed first: a removal killed halfway must not leave half of it under a step's name.
        doomed = folder / f"{step}{_REMOVED}"
        shutil.rmtree(doomed, ignore_errors=True)
        (folder / str(step)).rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def _load(path: pathlib.Path, like: PyTree) -> PyTree:
    abstract = jax.tree.map(_blank, like)
    with _quiet(), _context():
        host = ocp.load(path, abstract)
        recorded = (ocp.metadata(path).custom_metadata or {}).get("crc32")
    if recorded != _checksum(host):
        raise ValueError("its contents differ from what was saved")
    for leaf, blank in zip(jax.tree.leaves(host), jax.tree.leaves(abstract), strict=True):
        if leaf.shape != blank.shape or leaf.dtype != blank.dtype:
            raise ValueError(
                f"it holds {leaf.dtype}{list(leaf.shape)} where {blank.dtype}{list(blank.shape)} "
                f"belongs"
            )
    return jax.tree.map(_wrap_key, host, like)


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_host(tree: PyTree) -> PyTree:
    return jax.tree.map(
        lambda leaf: np.array(jax.random.key_data(leaf) if _is_key(leaf) else leaf), tree
    )


def _blank(leaf: Any) -> np.ndarray:
    if _is_key(leaf):
        leaf = jax.eval_shape(jax.random.key_data, leaf)
    return np.empty(
        np.shape(leaf), leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
    )


def _wrap_key(leaf: np.ndarray, like: Any) -> Any:
    if not _is_key(like):
        return leaf
    impl = jax.random.key_impl(jnp.zeros((), like.dtype))  # `like` may be abstract
    return jax.random.wrap_key_data(jnp.asarray(leaf), impl=impl)


def _checksum(host: PyTree) -> int:
    value = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(host):
        value = zlib.crc32(
            f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}".encode(), value
        )
        value = zlib.crc32(np.ascontiguousarray(leaf).view(np.uint8).data, value)
    return value


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Orbax's chatter out of the progress of a run."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _context() -> ocp.Context:
    context = ocp.Context()
    # In the background, a folder that cannot be made is waited for until a time runs out.
    context.asynchronous.create_directories_asynchronously = False
    return context
