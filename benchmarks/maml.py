"""One outer step of MAML beside its peers: how fast, how much memory, how far from the floor.

    python benchmarks/maml.py                                  every row and every peer
    python benchmarks/maml.py --rows 5way 20way-5steps --repeats 5
    python benchmarks/maml.py --peers jaxfer_maml torch_loop --threads 1
    python benchmarks/maml.py --smoke                          in seconds: does it run at all?

The peers stand in ``peers/``. All get the same weights and episodes, and before anything is timed
they must agree on the loss and the meta-gradient. Then they take turns, each in a process of its
own, on the same cores. The result is printed as a table and written as JSON and as a picture.
"""

import argparse
import contextlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from comparison import picture_of, table_of
from problem import NO_EPISODES, ROWS, Problem, Row, initial_weights, relative_error
from record import circumstances, write
from turns import summarise, take_turns
from worker import Ask, Built, PeerError, worker

from jaxfer.training.devices import available_cores

JAXFER, FLOOR = "jaxfer_maml", "bare_products"
PEERS = (JAXFER, "textbook_jax", "torch_func", "torch_loop", FLOOR)
SMOKE = Row(way=5, shot=1, queries=2, tasks=2, inner_steps=1, width=8)

TOLERANCE = {"cpu": 1e-3, "gpu": 5e-2}  # on a GPU both frameworks round products to TF32


def main(args: Sequence[str] | None = None) -> int:
    """Runs the benchmark; 1 if a peer failed or disagreed."""
    options = parse(args)
    rows = {"smoke": SMOKE} if options.smoke else {name: ROWS[name] for name in options.rows}
    result: dict[str, Any] = {**circumstances(options.threads), "rows": {}}
    for name, row in rows.items():
        print(f"{name}: {row}", flush=True)
        result["rows"][name] = run_row(row, options.peers, options.threads, options.repeats)
        write(options.out, result)
    picture_of(result["rows"], options.out.with_suffix(".png"), against=JAXFER)
    print(table_of(result["rows"], against=JAXFER, floor=FLOOR))
    print(f"In {options.out} and {options.out.with_suffix('.png')}.")
    failed = [p for row in result["rows"].values() for p in row["peers"].values() if "error" in p]
    return int(bool(failed))


def parse(args: Sequence[str] | None) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="which sizes")
    parser.add_argument(
        "--peers", nargs="+", choices=PEERS, default=list(PEERS), help=f"beside {JAXFER}"
    )
    parser.add_argument("--threads", type=int, default=available_cores(), help="default: all cores")
    parser.add_argument("--repeats", type=int, default=11, help="turns of each peer")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/maml.json"))
    parser.add_argument("--smoke", action="store_true", help="one tiny row: does everything run?")
    options = parser.parse_args(args)
    if options.threads < 1 or options.repeats < 1:
        parser.error("--threads and --repeats must be at least 1")
    if options.threads > available_cores():
        parser.error(f"--threads is {options.threads}, but there are {available_cores()} cores")
    if options.smoke:
        options.repeats = 2
    options.peers = [peer for peer in PEERS if peer == JAXFER or peer in options.peers]
    return options


def run_row(row: Row, peers: Sequence[str], threads: int, repeats: int) -> dict[str, Any]:
    """Builds every peer, compares what they compute, and lets them take turns."""
    found: dict[str, dict[str, Any]] = {}
    asks: dict[str, Ask] = {}
    expected: Built | None = None
    problem = Problem(row, initial_weights(row), NO_EPISODES)
    device = ""
    with contextlib.ExitStack() as stack:
        for peer in peers:
            began = time.perf_counter()
            ask = stack.enter_context(worker(peer, threads))
            try:
                where = ask("start", row=row)
                if device and where != device:
                    raise PeerError(f"it computes on {where}, jaxfer on {device}")
                device = where
                built = ask("build", problem=problem)
                found[peer] = describe(built)
                if expected is None:
                    expected = built
                    problem = problem._replace(episodes=built.info["episodes"])
                elif peer != FLOOR:
                    found[peer] |= compare(built, expected, TOLERANCE[device])
                asks[peer] = ask
            except PeerError as error:
                if peer == JAXFER:
                    raise
                found[peer] = {"error": str(error)}
            say(peer, found[peer], time.perf_counter() - began)
        turns = take_turns(asks, {p: found[p]["variants"] for p in asks}, repeats)
        for peer, ask in asks.items():
            found[peer]["seconds"] = turns[peer]
            found[peer]["memory"] = ask("memory")._asdict()
    for peer in asks:
        found[peer] |= summarise(turns[peer], turns[JAXFER])
    return {"size": row._asdict(), "device": device, "peers": found}


def describe(built: Built) -> dict[str, Any]:
    """What of a built peer is written down."""
    return {
        "variants": built.variants,
        "first_seconds": built.first_seconds,
        "loss": built.loss,
        **{name: value for name, value in built.info.items() if name != "episodes"},
    }


def compare(built: Built, expected: Built, tolerance: float) -> dict[str, float]:
    """How far a peer's loss and meta-gradient are from jaxfer's; an error beyond the tolerance."""
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


if __name__ == "__main__":
    sys.exit(main())
