"""The processes of a run: what the first does for all, and what they agree on."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxfer.training.devices import sum_over_processes
from jaxfer.typing import PyTree, UserError


def on_first_process(call: Callable[[], Any]) -> Any:
    """Calls a function on process 0 only; when it fails there, the other processes stop too.

    Args:
      call: takes nothing; writes files, say.

    Returns:
      What ``call`` gives on process 0, None on the others.

    Raises:
      UserError: on the other processes, when the call raised on process 0.

    >>> on_first_process(lambda: 3)
    3
    """
    result, failure = None, None
    if jax.process_index() == 0:
        try:
            result = call()
        except Exception as error:  # told to the others, who wait below, before it is raised here
            failure = error
    if any_process(failure is not None):
        raise failure or UserError("Process 0 stopped; its own message says why.")
    return result


def share_from_first_process(tree: PyTree) -> PyTree:
    """Gives every process the arrays of process 0, bit for bit.

    Args:
      tree: arrays; the other processes pass a tree of the same shapes and dtypes.

    Returns:
      The tree of process 0.

    >>> share_from_first_process({"a": np.arange(2)})
    {'a': array([0, 1])}
    """
    if jax.process_count() == 1:
        return tree
    leaves, structure = jax.tree.flatten(tree)
    leaves = [np.ascontiguousarray(leaf).reshape(np.shape(leaf)) for leaf in leaves]
    buffer = np.frombuffer(b"".join(leaf.tobytes() for leaf in leaves), np.uint8)
    if jax.process_index() != 0:
        buffer = np.zeros_like(buffer)
    shared = sum_over_processes(buffer).tobytes()
    parts, start = [], 0
    for leaf in leaves:
        part = np.frombuffer(shared, leaf.dtype, count=leaf.size, offset=start)
        parts.append(part.reshape(leaf.shape))
        start += leaf.nbytes
    return jax.tree.unflatten(structure, parts)


def any_process(flag: bool) -> bool:
    """Says whether any process has raised its flag; all must ask.

    Args:
      flag: that of this process.

    Returns:
      True in every process if it is True in one.

    >>> any_process(True)
    True
    """
    return bool(sum_over_processes(np.array(flag, np.int32)) > 0)
