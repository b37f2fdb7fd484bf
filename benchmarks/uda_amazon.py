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

import sys
from collections.abc import Sequence
from typing import Any

from amazon_problem import ROWS, SMOKE, make_problem
from comparison import table_of
from flags import parse
from record import circumstances, write
from side_by_side import failures, run_row

JAXFER = "jaxfer_amazon"
PEERS = (JAXFER, "torch_networks", "torch_strengths", "torch_span")
# Of the risks, Euclidean. Labels of the target that lie on the fence may differ by rounding, and
# with them the reverse risks.
TOLERANCE = 5e-3


def main(args: Sequence[str] | None = None) -> int:
    """Runs the benchmark; 1 if a peer failed or disagreed."""
    options = parse(
        args, description=__doc__, name="uda_amazon", rows=ROWS,
        peers=PEERS, default_rows=["4-passes"], repeats=3,
    )  # fmt: skip
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
    return int(bool(failures(result["rows"])))


if __name__ == "__main__":
    sys.exit(main())
