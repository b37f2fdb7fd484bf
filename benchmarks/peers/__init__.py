"""The implementations that are compared, one file each.

Such a file has ``start(row, threads) -> device``, which brings its framework up and names what it
computes on (``"cpu"``, ``"gpu"``); ``build(problem) -> variants``, a function for each way of
writing the same step, of which the fastest is timed; and ``device_bytes() -> int | None``, the
most memory ever used on an accelerator, None on a CPU.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Peer(NamedTuple):
    """One implementation of the step that is timed, ready to run.

    Attributes:
      state: what it starts from; for MAML weights and Adam's moments.
      step: ``state -> (state, loss)``; may return before they are computed.
      wait: blocks until what ``step`` returned is computed.
      gradient: ``state -> gradient`` of the first step, by name; for MAML told from Adam's moments.
      info: what else there is to say about it.
      many: ``state, steps -> (state, loss)``, so many steps in one call, where training takes them
        so; else ``step`` is called as often.
    """

    state: Any
    step: Callable[[Any], tuple[Any, Any]]
    wait: Callable[[Any], object]
    gradient: Callable[[Any], dict[str, np.ndarray]]
    info: dict[str, Any]
    many: Callable[[Any, int], tuple[Any, Any]] | None = None
