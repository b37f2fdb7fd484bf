"""A peer that computes value and gradient of samples that stay where they are."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from peers import Peer


def peer_of(
    call: Callable[[], tuple[Any, Sequence[Any]]],
    to_host: Callable[[Any], np.ndarray] = np.asarray,
) -> Peer:
    """Of a call that gives the value and its gradients, by source and target, when they are there.

    Only the first step hands its gradients on: between the others none are held, so that a step's
    memory counts them.
    """

    def step(state: Any) -> tuple[Any, Any]:
        value, gradients = call()
        return (gradients if state == "first" else None), value

    def gradient(state: Sequence[Any]) -> dict[str, np.ndarray]:
        return dict(zip(("source", "target"), map(to_host, state), strict=False))

    return Peer("first", step, lambda state_and_value: None, gradient, {})
