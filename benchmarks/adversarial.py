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

import sys
from collections.abc import Sequence
from typing import Any

from adversarial_problem import ROWS, SMOKE, make_problem
from comparison import table_of
from flags import parse
from record import circumstances, write
from side_by_side import failures, run_row

JAXFER = "jaxfer_adversarial"
PEERS = (JAXFER, "torch_adversarial")
TOLERANCE = 1e-3


def main(args: Sequence[str] | None = None) -> int:
    """Runs the benchmark; 1 if a peer failed or disagreed."""
    options = parse(args, description=__doc__, name="adversarial", rows=ROWS)
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
    return int(bool(failures(result["rows"])))


if __name__ == "__main__":
    sys.exit(main())
