"""Tables of results, as plain text or Markdown, and how a mean with its interval is written."""

import math
from collections.abc import Sequence

MISSING = "-"


def format_estimate(mean: float, ci95: float | None = None, *, percent: bool = False) -> str:
    """Writes a mean and the half-width of its 95% interval with as many digits as they carry.

    Args:
      mean: the mean; a fraction in [0, 1] where ``percent`` is set.
      ci95: half of the interval's width, in the mean's unit; None where there is none.
      percent: write per cent, with two decimals; otherwise the interval gets two significant digits
        and the mean as many decimals.

    Returns:
      ``"mean ± ci95"``, without a unit: that belongs in the column's head.

    >>> format_estimate(0.98312, 0.0022, percent=True)
    '98.31 ± 0.22'
    >>> format_estimate(0.34567, 0.0123)
    '0.346 ± 0.012'
    >>> format_estimate(12.5)
    '12.5'
    """
    if percent:
        mean, ci95 = 100 * mean, None if ci95 is None else 100 * ci95
        decimals = 2
    elif ci95 is not None and math.isfinite(ci95) and ci95 > 0:
        decimals = max(0, 1 - math.floor(math.log10(ci95)))
    elif ci95 is None:
        return f"{mean:.4g}"
    else:
        decimals = 4
    return f"{mean:.{decimals}f}" + ("" if ci95 is None else f" ± {ci95:.{decimals}f}")


def table(
    header: Sequence[str], rows: Sequence[Sequence[object]], *, markdown: bool = False
) -> str:
    """Lays rows out under a header, numbers to the right, everything else to the left.

    Args:
      header: one title per column.
      rows: the cells, as many per row as there are titles; ``None`` is shown as a dash.
      markdown: a Markdown table instead of aligned plain text.

    Returns:
      The table, without a newline at its end.

    Raises:
      ValueError: a row has another number of cells than the header.

    >>> print(table(["method", "accuracy (%)"], [["MAML", "98.31 ± 0.22"], ["FOMAML", None]]))
    method  accuracy (%)
    ------  ------------
    MAML    98.31 ± 0.22
    FOMAML             -
    """
    cells = [[MISSING if cell is None else str(cell) for cell in row] for row in rows]
    for row in cells:
        if len(row) != len(header):
            raise ValueError(
                f"rows: a row has {len(row)} cells under {len(header)} titles; "
                f"give one cell per title: {row}."
            )
    if markdown:
        cells = [[cell.replace("|", r"\|") for cell in row] for row in cells]
    right = [
        bool(cells) and all(_is_number(row[column]) for row in cells)
        for column in range(len(header))
    ]
    widths = [max(len(row[column]) for row in [header, *cells]) for column in range(len(header))]
    aligned = [
        [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ]
        for row in [header, *cells]
    ]
    if not markdown:
        rule = ["-" * width for width in widths]
        return "\n".join("  ".join(row).rstrip() for row in [aligned[0], rule, *aligned[1:]])
    rule = [
        "-" * (width - 1) + ":" if to_right else "-" * width
        for width, to_right in zip(widths, right, strict=True)
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in [aligned[0], rule, *aligned[1:]])


def _is_number(cell: str) -> bool:
    first = cell.split()[0].rstrip("!%s") if cell.split() else ""
    try:
        float(first.replace(",", ""))
    except ValueError:
        return cell == MISSING
    return True
