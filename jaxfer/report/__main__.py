"""``python -m jaxfer.report RUN_A RUN_B``: compare the runs in these folders."""

import argparse
import sys
from collections.abc import Sequence

from jaxfer.report.compare import compare_runs, comparison_picture
from jaxfer.report.run import read_run
from jaxfer.typing import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the comparison of the run folders given on the command line.

    Args:
      arguments: the command line without the program's name; by default this process's own.

    Returns:
      The exit status: 0, or 2 after a message about a folder that is not a run.

    >>> main(["runs/no-such-run"])
    2
    """
    parser = argparse.ArgumentParser(
        prog="python -m jaxfer.report",
        description="Compare finished or running experiments: test results, what differs in their "
        "configurations, and whether they may be compared at all.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the --out folder of a run")
    parser.add_argument("--out", metavar="PNG", help="also draw their validation curves, overlaid")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    options = parser.parse_args(arguments)
    try:
        runs = [read_run(folder) for folder in options.runs]
        print(compare_runs(runs, markdown=options.markdown))
        if options.out:
            comparison_picture(runs, options.out)
            print(f"\nPicture: {options.out}")
    except UserError as error:
        if options.debug:
            raise
        print(f"jaxfer.report: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
