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

import sys
from collections.abc import Sequence
from typing import Any

from comparison import table_of
from few_shot_problem import ROWS, SMOKE, OnlineRow, make_problem
from flags import parse
from record import circumstances, write
from side_by_side import failures, run_row

PROTOTYPES = ("jaxfer_prototypes", "torch_prototypes")
ONLINE = ("jaxfer_online", "online_scan", "jitted_loop")
TOLERANCE = 1e-3


def main(args: Sequence[str] | None = None) -> int:
    """Runs the benchmark; 1 if a peer failed or disagreed."""
    options = parse(args, description=__doc__, name="few_shot", rows=ROWS)
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
    return int(bool(failures(result["rows"])))


if __name__ == "__main__":
    sys.exit(main())
