"""A step of fine-tuning MiniLM or ResNet-18, beside the same in PyTorch.

    python benchmarks/finetune.py                        every row
    python benchmarks/finetune.py --rows minilm-full --repeats 15
    python benchmarks/finetune.py --smoke                in seconds: does it run at all?

A step is everything: texts of 128 tokens or images of 64 pixels through the network, backwards
where something trains, AdamW on that alone. In full, by LoRA, and of the head alone, with the
memory of each. The peers stand in ``peers/``; they begin with the same weights, and before anything
is timed they must agree on the loss and on the gradient of all that trains. Then they take turns,
each in a process of its own, on the same cores. The result is printed as a table and written as
JSON.
"""

import sys
from collections.abc import Sequence
from typing import Any

from comparison import table_of
from finetune_problem import ROWS, SMOKE, make_problem
from flags import parse
from record import circumstances, write
from side_by_side import failures, run_row

JAXFER = "jaxfer_finetune"
PEERS = (JAXFER, "torch_finetune")
TOLERANCE = 1e-3


def main(args: Sequence[str] | None = None) -> int:
    """Runs the benchmark; 1 if a peer failed or disagreed."""
    options = parse(args, description=__doc__, name="finetune", rows=ROWS)
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
