"""A row of a benchmark whose peers must agree with jaxfer before they are timed."""

import contextlib
import time
from collections.abc import Sequence
from typing import Any

from maml import compare, describe, say
from turns import summarise, take_turns
from worker import Ask, Built, PeerError, worker


def run_row(
    problem: Any, peers: Sequence[str], *, tolerance: float, threads: int, repeats: int
) -> dict[str, Any]:
    """Builds every peer, compares what they compute, and lets them take turns.

    The first peer is jaxfer. What it says it shares, ``info["shared"]``, replaces those fields of
    the problem for the others.
    """
    jaxfer = peers[0]
    found: dict[str, dict[str, Any]] = {}
    asks: dict[str, Ask] = {}
    expected: Built | None = None
    device = ""
    with contextlib.ExitStack() as stack:
        for peer in peers:
            began = time.perf_counter()
            ask = stack.enter_context(worker(peer, threads))
            try:
                where = ask("start", row=problem.row)
                if device and where != device:
                    raise PeerError(f"it computes on {where}, jaxfer on {device}")
                device = where
                built = ask("build", problem=problem)
                shared = built.info.pop("shared", {})
                found[peer] = describe(built)
                if expected is None:
                    expected, problem = built, problem._replace(**shared)
                else:
                    found[peer] |= compare(built, expected, tolerance)
                asks[peer] = ask
            except PeerError as error:
                if peer == jaxfer:
                    raise
                found[peer] = {"error": str(error)}
            say(peer, found[peer], time.perf_counter() - began)
        turns = take_turns(asks, {p: found[p]["variants"] for p in asks}, repeats)
        for peer, ask in asks.items():
            found[peer]["seconds"] = turns[peer]
            found[peer]["memory"] = ask("memory")._asdict()
    for peer in asks:
        found[peer] |= summarise(turns[peer], turns[jaxfer])
    return {"size": problem.row._asdict(), "device": device, "peers": found}
