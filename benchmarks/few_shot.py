"""A step of prototypical networks beside PyTorch, and an online pass beside a loop of jitted steps.

    python benchmarks/few_shot.py                              every row
    python benchmarks/few_shot.py --rows prototypes-60way --repeats 15
    python benchmarks/few_shot.py --smoke                      in seconds: does it run at all?

A step is everything: the images of an episode through Conv4, prototypes, loss, backwards, Adam. A
pass is the 20 examples of a trajectory, a step of gradient descent on each, and the meta-gradient
through all of them. The peers stand in
``peers/``; they begin with the same weights and see the same inputs, and before anything is timed
they must agree on the loss and on the gradient of all weights. Then they take turns, each in a
process of its own, on the same cores. The result is printed as a table and written as JSON.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from comparison import table_of
from few_shot_problem import ROWS, SMOKE, OnlineRow, make_problem
from record import circumstances, write
from side_by_side import run_row

from jaxfer.training.devices import available_cores

PROTOTYPES = ("jaxfer_prototypes", "torch_prototypes")
ONLINE = ("jaxfer_online", "jitted_loop")
TOLERANCE = 1e-3


def main(args: Sequence[str] | None = None) -> int:
    """Runs the benchmark; 1 if a peer failed or disagreed."""
    options = parse(args)
    result: dict[str, Any] = {**circumstances(options.threads), "rows": {}}
    groups: dict[str, dict[str, Any]] = {peers[0]: {} for peers in (PROTOTYPES, ONLINE)}
    for name in options.rows:
        row = (SMOKE if options.smoke else ROWS)[name]
        print(f"{name}: {row}", flush=True)
        peers = ONLINE if isinstance(row, OnlineRow) else PROTOTYPES
        found = run_row(
            make_problem(row), peers,
            tolerance=TOLERANCE, threads=options.threads, repeats=options.repeats,
        )  # fmt: skip
        result["rows"][name] = groups[peers[0]][name] = found
        write(options.out, result)
    for against, rows in groups.items():
        if rows:
            print(table_of(rows, against=against, floor=""))
    print(f"In {options.out}.")
    failed = [p for row in result["rows"].values() for p in row["peers"].values() if "error" in p]
    return int(bool(failed))


def parse(args: Sequence[str] | None) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="which rows")
    parser.add_argument("--threads", type=int, default=available_cores(), help="default: all cores")
    parser.add_argument("--repeats", type=int, default=11, help="turns of each peer")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/few_shot.json"))
    parser.add_argument("--smoke", action="store_true", help="tiny rows: does everything run?")
    options = parser.parse_args(args)
    if options.threads < 1 or options.repeats < 1:
        parser.error("--threads and --repeats must be at least 1")
    if options.threads > available_cores():
        parser.error(f"--threads is {options.threads}, but there are {available_cores()} cores")
    return options


if __name__ == "__main__":
    sys.exit(main())
