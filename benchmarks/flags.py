"""The flags that benchmarks of steps have in common."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from jaxfer.training.devices import available_cores


def parse(
    args: Sequence[str] | None,
    *,
    description: str | None,
    name: str,
    rows: Iterable[str],
    default_rows: Sequence[str] | None = None,
    peers: Sequence[str] = (),
    repeats: int = 11,
) -> argparse.Namespace:
    """``rows``, ``threads``, ``repeats``, ``out``, ``smoke``; ``peers`` where there is a choice.

    Args:
      args: what was typed; None: the process's own arguments.
      description: the benchmark's docstring.
      name: of the file that the result is written to.
      rows: what ``--rows`` may name.
      default_rows: those taken when it is not given; None: all.
      peers: what ``--peers`` may name; the first, jaxfer, always takes part.
      repeats: turns of each peer when it is not given; a smoke run takes 2.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = list(rows)
    default = names if default_rows is None else list(default_rows)
    parser.add_argument("--rows", nargs="+", choices=names, default=default, help="which of them")
    if peers:
        parser.add_argument(
            "--peers", nargs="+", choices=peers, default=peers, help=f"beside {peers[0]}"
        )
    parser.add_argument("--threads", type=int, default=available_cores(), help="default: all cores")
    parser.add_argument("--repeats", type=int, default=repeats, help="turns of each peer")
    parser.add_argument("--out", type=Path, default=Path(f"runs/benchmarks/{name}.json"))
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: does everything run?")
    options = parser.parse_args(args)
    if options.threads < 1 or options.repeats < 1:
        parser.error("--threads and --repeats must be at least 1")
    if options.threads > available_cores():
        parser.error(f"--threads is {options.threads}, but there are {available_cores()} cores")
    if options.smoke:
        options.repeats = min(options.repeats, 2)
    if peers:
        options.peers = [peer for peer in peers if peer == peers[0] or peer in options.peers]
    return options
