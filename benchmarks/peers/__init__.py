"""The implementations that are compared, one file each.

Such a file has ``start(row, threads) -> device``, which brings its framework up and names what it
computes on (``"cpu"``, ``"gpu"``); ``build(problem) -> variants``, a function for each way of
writing the same step, of which the fastest is timed; and ``device_bytes() -> int | None``, the
most memory ever used on an accelerator, None on a CPU.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from problem import Weights


class Peer(NamedTuple):
    """One implementation of the outer step, ready to run.

    Attributes:
      state: what it starts from: weights and Adam's moments.
      step: ``state -> (state, loss)``; may return before they are computed.
      wait: blocks until what ``step`` returned is computed.
      gradient: ``state -> meta-gradient`` of the first step, told from Adam's first moment.
      info: what else there is to say about it.
    """

    state: Any
    step: Callable[[Any], tuple[Any, Any]]
    wait: Callable[[Any], object]
    gradient: Callable[[Any], Weights]
    info: dict[str, Any]
