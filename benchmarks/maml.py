"""One outer step of MAML beside its peers: how fast, how much memory, how far from the floor.

    python benchmarks/maml.py                                  every row and every peer
    python benchmarks/maml.py --rows 5way 20way-5steps --repeats 5
    python benchmarks/maml.py --peers jaxfer_maml torch_loop --threads 1
    python benchmarks/maml.py --smoke                          in seconds: does it run at all?

The peers stand in ``peers/``. All get the same weights and episodes, and before anything is timed
they must agree on the loss and the meta-gradient. Then they take turns, each in a process of its
own, on the same cores. The result is printed as a table and written as JSON and as a picture.
"""

import sys
from collections.abc import Sequence
from typing import Any

from comparison import picture_of, table_of
from flags import parse
from problem import NO_EPISODES, ROWS, Problem, Row, initial_weights
from record import circumstances, write
from side_by_side import failures, run_row

JAXFER, FLOOR = "jaxfer_maml", "bare_products"
PEERS = (JAXFER, "textbook_jax", "torch_func", "torch_loop", FLOOR)
SMOKE = Row(way=5, shot=1, queries=2, tasks=2, inner_steps=1, width=8)

TOLERANCE = {"cpu": 1e-3, "gpu": 5e-2}  # on a GPU both frameworks round products to TF32


def main(args: Sequence[str] | None = None) -> int:
    """Runs the benchmark; 1 if a peer failed or disagreed."""
    options = parse(args, description=__doc__, name="maml", rows=ROWS, peers=PEERS)
    rows = {"smoke": SMOKE} if options.smoke else {name: ROWS[name] for name in options.rows}
    result: dict[str, Any] = {**circumstances(options.threads), "rows": {}}
    for name, row in rows.items():
        print(f"{name}: {row}", flush=True)
        result["rows"][name] = run_row(
            Problem(row, initial_weights(row), NO_EPISODES), options.peers,
            tolerance=TOLERANCE, threads=options.threads, repeats=options.repeats, floor=FLOOR,
        )  # fmt: skip
        write(options.out, result)
    picture_of(result["rows"], options.out.with_suffix(".png"), against=JAXFER)
    print(table_of(result["rows"], against=JAXFER, floor=FLOOR))
    print(f"In {options.out} and {options.out.with_suffix('.png')}.")
    return int(bool(failures(result["rows"])))


if __name__ == "__main__":
    sys.exit(main())
