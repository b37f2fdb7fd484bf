"""A row of a benchmark whose peers must agree with jaxfer before they are timed."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from problem import relative_error
from turns import summarise, take_turns
from worker import Ask, Built, PeerError, worker


def run_row(
    problem: Any,
    peers: Sequence[str],
    *,
    tolerance: float | Mapping[str, float],
    threads: int,
    repeats: int,
    floor: str = "",
) -> dict[str, Any]:
    """Builds every peer, compares what they compute, and lets them take turns.

    The first peer is jaxfer. What it says it shares, ``info["shared"]``, replaces those fields of
    the problem for the others. The tolerance is relative, one number or one for each platform. The
    peer named as the floor does only part of the work, and is not compared.
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
                found[peer] = describe(built)
                if expected is None:
                    expected = built
                    problem = problem._replace(**built.info.get("shared", {}))
                elif peer != floor:
                    allowed = tolerance if isinstance(tolerance, float) else tolerance[device]
                    found[peer] |= compare(built, expected, allowed)
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


def describe(built: Built) -> dict[str, Any]:
    """What of a built peer is written down."""
    return {
        "variants": built.variants,
        "first_seconds": built.first_seconds,
        "loss": built.loss,
        **{name: value for name, value in built.info.items() if name != "shared"},
    }


def compare(built: Built, expected: Built, tolerance: float) -> dict[str, float]:
    """How far a peer's loss and gradient are from jaxfer's; an error beyond the tolerance."""
    errors = {
        "loss_error": abs(built.loss - expected.loss) / abs(expected.loss),
        "gradient_error": relative_error(built.gradient, expected.gradient),
    }
    if not max(errors.values()) <= tolerance:
        raise PeerError(f"it does not compute what jaxfer does: {errors}")
    return errors


def say(peer: str, found: dict[str, Any], seconds: float) -> None:
    """One line as soon as a peer is built."""
    if "error" in found:
        line = found["error"]
    else:
        times = ", ".join(f"{name} {value:.3f} s" for name, value in found["variants"].items())
        line = f"ready after {seconds:.0f} s; {times}"
        if "gradient_error" in found:
            line += f"; gradient within {found['gradient_error']:.1e}"
    print(f"  {peer}: {line}", flush=True)


def failures(rows: Mapping[str, Any]) -> list[str]:
    """The peers that failed or disagreed, of all rows."""
    return [
        peer for row in rows.values() for peer, found in row["peers"].items() if "error" in found
    ]
