"""MMD squared and its gradient beside its peers: how fast, how much memory, how far from exact.

    python benchmarks/mmd.py --plot                            every size and every peer
    python benchmarks/mmd.py --rows 256x256x256,4096x4096x256 --repeats 5
    python benchmarks/mmd.py --peers dense_jax,gram_product --threads 1
    python benchmarks/mmd.py --quick                           two sizes, three turns
    python benchmarks/mmd.py --show runs/benchmarks/mmd.json --plot    of an earlier run

A row is source points x target points x features. The peers stand in ``peers/``. All compute the
default of ``jaxfer.mmd`` in float32 on the same samples: the biased estimate with five Gaussians,
and its gradient by both samples (scikit-learn the value alone). Before anything is timed, each is
compared with float64. Then they take turns, each in a process of its own, on the same cores; each
waits for its result before it begins again. The result is printed as a table and written as JSON.
What would not fit in memory, or would take too long, is left out and said so.
"""

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmd_comparison import picture_of, table_of
from mmd_problem import Reference, Size, errors, parse_size, reference
from record import circumstances, write
from turns import summarise, take_turns
from worker import Ask, Built, PeerError, worker

from jaxfer.training.devices import available_cores

JAXFER, FLOOR = "jaxfer_mmd", "gram_product"
PEERS = (JAXFER, "dense_jax", "torch_eager", "torch_compiled", "tllib_formula", "scikit_learn",
         FLOOR)  # fmt: skip
SIZES = (
    *[Size(n, n, d) for d in (64, 256) for n in (32, 64, 256, 1024, 4096, 16384)],
    Size(65536, 65536, 256),
    *[Size(n, n, 2048) for n in (32, 64, 256, 1024, 4096)],
    *[Size(64, 1024, 256), Size(256, 4096, 256), Size(8192, 1024, 256)],
)
QUICK = (Size(256, 256, 256), Size(1024, 1024, 256))

GIB = 2**30
CHECKING = 180.0  # seconds that the exact value may take
WRONG = 1000.0  # times the error that is allowed: another formula, not rounding
# Numbers for each entry of the kernel matrices that were seen to be held at once.
NUMBERS = {"dense_jax": 6.3, "torch_eager": 20, "torch_compiled": 4}
TLLIB_NUMBERS = 8.5  # for each difference of the pooled sample in one feature
GRAM_NUMBERS = 2**30  # beyond that it is computed by rows


def main(args: Sequence[str] | None = None) -> int:
    """Runs the benchmark; 1 if a peer failed or disagreed."""
    options = parse(args)
    if options.show is not None:
        result = json.loads(options.show.read_text())
    else:
        result = {**circumstances(options.threads), "rows": {}}
        for size in sorted(options.rows, key=lambda size: size.gram_flops):
            print(f"{size}:", flush=True)
            result["rows"][str(size)] = run_row(size, options, result["rows"])
            write(options.out, result)
    print(table_of(result["rows"], against=JAXFER, floor=FLOOR))
    print(f"In {options.show or options.out}.")
    if options.plot is not None:
        drawn = picture_of(result["rows"], options.plot, against=JAXFER, floor=FLOOR)
        print(f"Drawn in {options.plot}." if drawn else "No row of the picture's was run.")
    failed = [p for row in result["rows"].values() for p in row["peers"].values() if "error" in p]
    return int(bool(failed))


def parse(args: Sequence[str] | None) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", nargs="+", metavar="NxMxD", help="which sizes, such as 64x256x64")
    parser.add_argument(
        "--peers", nargs="+", metavar="PEER", help=f"beside {JAXFER}: {', '.join(PEERS[1:])}"
    )
    parser.add_argument("--threads", type=int, default=available_cores(), help="default: all cores")
    parser.add_argument("--repeats", type=int, default=7, help="turns of each peer")
    parser.add_argument("--memory", type=float, default=6.0, help="GiB that a peer may need")
    parser.add_argument("--seconds", type=float, default=60.0, help="that a peer's call may take")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/mmd.json"))
    picture = Path(__file__).with_name("mmd.png")
    parser.add_argument(
        "--plot",
        type=Path,
        nargs="?",
        const=picture,
        help="draw; without a name, benchmarks/mmd.png",
    )
    parser.add_argument("--show", type=Path, metavar="JSON", help="run nothing, show that result")
    parser.add_argument("--quick", action="store_true", help="two sizes, three turns")
    options = parser.parse_args(args)
    if options.threads < 1 or options.repeats < 1:
        parser.error("--threads and --repeats must be at least 1")
    if options.threads > available_cores():
        parser.error(f"--threads is {options.threads}, but there are {available_cores()} cores")
    try:
        sizes = [parse_size(text) for text in split(options.rows)]
    except ValueError as error:
        parser.error(str(error))
    options.rows = dict.fromkeys(sizes or (QUICK if options.quick else SIZES))
    chosen = split(options.peers) or PEERS
    if unknown := set(chosen) - set(PEERS):
        parser.error(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    options.peers = [peer for peer in PEERS if peer == JAXFER or peer in chosen]
    if options.quick:
        options.repeats = min(3, options.repeats)
    return options


def split(words: Sequence[str] | None) -> list[str]:
    """Separated by commas or by blanks."""
    return [part for word in words or () for part in word.split(",") if part]


def run_row(size: Size, options: argparse.Namespace, before: Mapping[str, Any]) -> dict[str, Any]:
    """Builds every peer, compares what they compute with float64, and lets them take turns."""
    began = time.perf_counter()
    exact = reference(size, CHECKING)
    value = "too long to compute" if exact.value is None else f"{exact.value:.6g}"
    print(f"  float64: {value}, after {time.perf_counter() - began:.0f} s", flush=True)
    found: dict[str, dict[str, Any]] = {}
    asks: dict[str, Ask] = {}
    device = ""
    with contextlib.ExitStack() as stack:
        for peer in options.peers:
            began = time.perf_counter()
            if reason := left_out(peer, size, options, before):
                found[peer] = {"left_out": reason}
                say(peer, found[peer], 0)
                continue
            ask = stack.enter_context(worker(peer, options.threads))
            try:
                where = ask("start", row=size)
                device = device or where
                if where != device:
                    found[peer] = {"left_out": f"it computes on {where}, jaxfer on {device}"}
                    say(peer, found[peer], 0)
                    continue
                built = ask("build", problem=size)
                found[peer] = {
                    "variants": built.variants,
                    "first_seconds": built.first_seconds,
                    "value": built.loss,
                }
                if peer != FLOOR:
                    found[peer] |= check(size, built, exact)
                asks[peer] = ask
            except PeerError as error:
                if peer == JAXFER:
                    raise
                found[peer] = {"error": str(error)}
            say(peer, found[peer], time.perf_counter() - began)
        turns = take_turns(asks, {p: found[p]["variants"] for p in asks}, options.repeats)
        for peer, ask in asks.items():
            found[peer]["seconds"] = turns[peer]
            found[peer]["memory"] = ask("memory")._asdict()
    for peer in asks:
        found[peer] |= summarise(turns[peer], turns[JAXFER])
    return {"size": size._asdict(), "device": device, "exact": exact.value, "peers": found}


def check(size: Size, built: Built, exact: Reference) -> dict[str, float | None]:
    """What it errs by, as multiples of what is allowed; an error if that is no rounding."""
    found = errors(size, built.loss, built.gradient, exact)
    if not all(error is None or error <= WRONG for error in found.values()):
        raise PeerError(f"it computes something else: {found} times the error that is allowed")
    return found


def left_out(
    peer: str, size: Size, options: argparse.Namespace, before: Mapping[str, Any]
) -> str | None:
    """Why a peer has no place in a row, if that is so."""
    need = needed_bytes(peer, size) / GIB
    if need > options.memory:
        return f"does not fit: about {need:.0f} GiB"
    seconds = 0.0 if peer in (JAXFER, FLOOR) else expected_seconds(peer, size, before)
    if seconds > options.seconds:
        return f"would take too long: about {seconds:.0f} s"
    return None


def needed_bytes(peer: str, size: Size) -> float:
    """Beyond the samples, of what is known to need much."""
    pooled = (size.n + size.m) ** 2
    if peer == "tllib_formula":
        return 4 * TLLIB_NUMBERS * pooled * size.d
    if peer == FLOOR:
        return 4 * min(pooled, GRAM_NUMBERS)
    return 4 * NUMBERS.get(peer, 0) * size.pairs


def expected_seconds(peer: str, size: Size, before: Mapping[str, Any]) -> float:
    """By its time in the largest row so far, if that has at least a hundredth of the work."""
    work, seconds = 0, 0.0
    for row in before.values():
        done = Size(**row["size"]).gram_flops
        if "median" in row["peers"].get(peer, {}) and max(work, size.gram_flops // 100) <= done:
            work, seconds = done, row["peers"][peer]["median"]
    return seconds * size.gram_flops / work if work else 0.0


def say(peer: str, found: dict[str, Any], seconds: float) -> None:
    """One line as soon as a peer is built."""
    if "error" in found or "left_out" in found:
        line = found.get("error") or found["left_out"]
    else:
        times = ", ".join(
            f"{name} {1e3 * value:.3g} ms" for name, value in found["variants"].items()
        )
        line = f"ready after {seconds:.0f} s; {times}"
        for what in ("value", "gradient"):
            if found.get(f"{what}_error") is not None:
                line += f"; {what} errs by {found[f'{what}_error']:.2g} of what is allowed"
    print(f"  {peer}: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
