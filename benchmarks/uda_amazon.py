"""Reverse validation of DANN on reviews, 10 seeds x 9 strengths, beside the same in PyTorch.

    python benchmarks/uda_amazon.py                            4 passes in either direction
    python benchmarks/uda_amazon.py --rows 16-passes --repeats 1      the experiment's default
    python benchmarks/uda_amazon.py --peers torch_strengths
    python benchmarks/uda_amazon.py --smoke                    in seconds: does it run at all?

A step is the whole of it: inner products, training forward, labelling the target, training back,
scoring. The reviews are made up, as many and as sparse as the DANN paper's. The peers stand in
``peers/``; all see the same batches in the same order from the same weights, and before anything is
timed they must agree on the held-out risks of all networks. Then they take turns, each in a process
of its own, on the same cores. The result is printed as a table and written as JSON.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from amazon_problem import ROWS, SMOKE, make_problem
from comparison import table_of
from record import circumstances, write
from side_by_side import run_row

from jaxfer.training.devices import available_cores

JAXFER = "jaxfer_amazon"
PEERS = (JAXFER, "torch_networks", "torch_strengths", "torch_span")
# Of the risks, Euclidean. Labels of the target that lie on the fence may differ by rounding, and
# with them the reverse risks.
TOLERANCE = 5e-3


def main(args: Sequence[str] | None = None) -> int:
    """Runs the benchmark; 1 if a peer failed or disagreed."""
    options = parse(args)
    rows = {"smoke": SMOKE} if options.smoke else {name: ROWS[name] for name in options.rows}
    result: dict[str, Any] = {**circumstances(options.threads), "rows": {}}
    for name, row in rows.items():
        print(f"{name}: {row}", flush=True)
        result["rows"][name] = run_row(
            make_problem(row), options.peers,
            tolerance=TOLERANCE, threads=options.threads, repeats=options.repeats,
        )  # fmt: skip
        write(options.out, result)
    print(table_of(result["rows"], against=JAXFER, floor=""))
    print(f"In {options.out}.")
    failed = [p for row in result["rows"].values() for p in row["peers"].values() if "error" in p]
    return int(bool(failed))


def parse(args: Sequence[str] | None) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=["4-passes"], help="how long")
    parser.add_argument(
        "--peers", nargs="+", choices=PEERS, default=list(PEERS), help=f"beside {JAXFER}"
    )
    parser.add_argument("--threads", type=int, default=available_cores(), help="default: all cores")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each peer")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/uda_amazon.json"))
    parser.add_argument("--smoke", action="store_true", help="one tiny row: does everything run?")
    options = parser.parse_args(args)
    if options.threads < 1 or options.repeats < 1:
        parser.error("--threads and --repeats must be at least 1")
    if options.threads > available_cores():
        parser.error(f"--threads is {options.threads}, but there are {available_cores()} cores")
    options.peers = [peer for peer in PEERS if peer == JAXFER or peer in options.peers]
    return options


if __name__ == "__main__":
    sys.exit(main())
