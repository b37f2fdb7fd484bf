"""A step of DANN and one of CDAN on LeNet, 128 + 128 images, beside the same in PyTorch.

    python benchmarks/adversarial.py                           every row
    python benchmarks/adversarial.py --rows dann cdan --repeats 15
    python benchmarks/adversarial.py --smoke                   in seconds: does it run at all?

A step is everything: both domains through the encoder, head and adversary, backwards, Adam. The
peers stand in ``peers/``; they begin with the same weights and see the same images, and before
anything is timed they must agree on the loss and on the gradient of all weights. Then they take
turns, each in a process of its own, on the same cores. The result is printed as a table and written
as JSON.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adversarial_problem import ROWS, SMOKE, make_problem
from comparison import table_of
from record import circumstances, write
from side_by_side import run_row

from jaxfer.training.devices import available_cores

JAXFER = "jaxfer_adversarial"
PEERS = (JAXFER, "torch_adversarial")
TOLERANCE = 1e-3


def main(args: Sequence[str] | None = None) -> int:
    """Runs the benchmark; 1 if a peer failed or disagreed."""
    options = parse(args)
    result: dict[str, Any] = {**circumstances(options.threads), "rows": {}}
    for name in options.rows:
        row = (SMOKE if options.smoke else ROWS)[name]
        print(f"{name}: {row}", flush=True)
        result["rows"][name] = run_row(
            make_problem(row), PEERS,
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
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="which steps")
    parser.add_argument("--threads", type=int, default=available_cores(), help="default: all cores")
    parser.add_argument("--repeats", type=int, default=11, help="turns of each peer")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/adversarial.json"))
    parser.add_argument("--smoke", action="store_true", help="tiny steps: does everything run?")
    options = parser.parse_args(args)
    if options.threads < 1 or options.repeats < 1:
        parser.error("--threads and --repeats must be at least 1")
    if options.threads > available_cores():
        parser.error(f"--threads is {options.threads}, but there are {available_cores()} cores")
    return options


if __name__ == "__main__":
    sys.exit(main())
