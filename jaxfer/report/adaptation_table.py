"""The table of adaptation methods beside source-only, and what it comes to in words."""

import math
from collections.abc import Sequence

from jaxfer.evaluation import Interval
from jaxfer.report.adaptation import AdaptationEstimates, AdaptationRow, checked_rows
from jaxfer.report.table import table


def adaptation_table(rows: Sequence[AdaptationRow], *, markdown: bool = False) -> str:
    """Writes a table of adaptation methods, and below it in words what may be concluded from it.

    Accuracies on the target are means over seeds ± half of the 95% interval by Student's t, in per
    cent; the change is that of the validator's pick against source-only, seed by seed, in points.
    Columns that no method has anything for are left out. The words name negative transfer wherever
    the interval of the change lies below 0, changes whose interval holds 0, seeds that failed, and
    seeds in which the guard left nothing to pick.

    Args:
      rows: one for each method, at least one.
      markdown: a Markdown table instead of plain text.

    Returns:
      The text, without a newline at its end.

    Raises:
      ValueError: there is no row, two rows have one name, arrays differ in their seeds, or an
        accuracy is no fraction.

    >>> row = AdaptationRow("DANN", [0.52, 0.54], [0.74, 0.78], [0.72, 0.76], [0.78, 0.80])
    >>> worse = row._replace(method="MDD", picked=[0.42, 0.45])
    >>> print(adaptation_table([row, worse]))
    method  source-only (%)  last step (%)     picked (%)     oracle (%)  change (points)
    ------  ---------------  -------------  -------------  -------------  ---------------
    DANN      53.00 ± 12.71  76.00 ± 25.41  74.00 ± 25.41  79.00 ± 12.71     +21.0 ± 12.7
    MDD       53.00 ± 12.71  76.00 ± 25.41  43.50 ± 19.06  79.00 ± 12.71       -9.5 ± 6.4
    <BLANKLINE>
    Negative transfer: MDD is 9.5 ± 6.4 points worse than source-only.
    Better than source-only beyond chance: DANN.
    Means over 2 seeds ± half of the 95% interval by Student's t.
    The oracle is the best by the target's labels: nothing chosen without them.
    """
    found = checked_rows(rows)
    columns = [
        ("source-only (%)", [_percent(each, "source_only") for each in found]),
        ("last step (%)", [_percent(each, "last") for each in found]),
        (_picked_by(rows), [_percent(each, "picked") for each in found]),
        ("oracle (%)", [_percent(each, "oracle") for each in found]),
        ("change (points)", [_points(each.change, sign=True) for each in found]),
        ("gap closed (%)", [_percent_of(each.gap_closed, 0) for each in found]),
        ("domain acc. (%)", [_percent(each, "domain_accuracy") for each in found]),
        ("proxy A before", [_distance(each, "proxy_a_before") for each in found]),
        ("proxy A after", [_distance(each, "proxy_a_after") for each in found]),
    ]
    columns = [
        (title, cells) for title, cells in columns if any(cell is not None for cell in cells)
    ]
    header = ["method", *(title for title, _ in columns)]
    cells = [
        [row.method, *(cells[index] for _, cells in columns)] for index, row in enumerate(rows)
    ]
    verdict = adaptation_verdict(rows)
    if markdown:
        verdict = "\n".join(f"- {line}" for line in verdict.splitlines())
    return f"{table(header, cells, markdown=markdown)}\n\n{verdict}"


def adaptation_verdict(rows: Sequence[AdaptationRow]) -> str:
    """Says in words what a comparison of adaptation methods comes to.

    Args:
      rows: one for each method, at least one.

    Returns:
      Sentences, one a line: which methods were better or worse than source-only by more than
      chance, which cannot be told from it, what failed, and how to read the numbers.

    Raises:
      ValueError: as :func:`adaptation_table`.

    >>> row = AdaptationRow("MDD", [0.52, 0.54], [0.4, 0.5], [0.42, 0.45], [0.78, 0.80])
    >>> print(adaptation_verdict([row]).splitlines()[0])
    Negative transfer: MDD is 9.5 ± 6.4 points worse than source-only.
    """
    found = checked_rows(rows)
    pairs = list(zip(rows, found, strict=True))
    lines = [
        f"Negative transfer: {row.method} is {_points(each.change, absolute=True)} points worse "
        "than source-only."
        for row, each in pairs
        if each.negative_transfer
    ]
    better = [row.method for row, each in pairs if each.positive_transfer]
    if better:
        lines.append(f"Better than source-only beyond chance: {', '.join(better)}.")
    unclear = [
        row.method
        for row, each in pairs
        if math.isfinite(each.change.ci95) and not each.negative_transfer | each.positive_transfer
    ]
    if unclear:
        lines.append(f"Not to be told from source-only: {', '.join(unclear)}.")
    for row, each in pairs:
        if each.kept_source_only:
            lines.append(
                f"{row.method}: in {each.kept_source_only} of {each.seeds} seeds the guard left "
                "nothing to pick, and source-only was kept."
            )
        if each.failed:
            lines.append(
                f"{row.method}: {each.failed} of {each.seeds} seeds have numbers that are not "
                "finite; its means leave them out."
            )
    single = [row.method for row, each in pairs if each.seeds == 1]
    if single:
        lines.append(f"One seed has no interval and proves nothing: {', '.join(single)}.")
    lines += _ceiling(found)
    counts = {each.seeds for each in found} - {1}
    if counts:
        seeds = f"{counts.pop()} seeds" if len(counts) == 1 else "seeds"
        lines.append(f"Means over {seeds} ± half of the 95% interval by Student's t.")
    lines.append("The oracle is the best by the target's labels: nothing chosen without them.")
    return "\n".join(lines)


def _picked_by(rows: Sequence[AdaptationRow]) -> str:
    validators = {row.validator for row in rows}
    name = validators.pop() if len(validators) == 1 else ""
    return f"picked by {name} (%)" if name else "picked (%)"


def _ceiling(found: Sequence[AdaptationEstimates]) -> list[str]:
    """What training on the target reaches, where it is the same for all."""
    reached = {each.means["target_trained"] for each in found if "target_trained" in each.means}
    if len(reached) != 1:
        return []
    return [f"Trained on the target with its labels: {_percent_of(reached.pop(), 2)} %."]


def _percent(each: AdaptationEstimates, name: str) -> str | None:
    return _percent_of(each.means[name], 2) if name in each.means else None


def _percent_of(interval: Interval, decimals: int) -> str | None:
    if not math.isfinite(interval.mean):
        return None
    text = f"{100 * interval.mean:.{decimals}f}"
    if not math.isfinite(interval.ci95):
        return text
    return f"{text} ± {100 * interval.ci95:.{decimals}f}"


def _points(interval: Interval, *, sign: bool = False, absolute: bool = False) -> str | None:
    if not math.isfinite(interval.mean):
        return None
    mean = 100 * (abs(interval.mean) if absolute else interval.mean)
    text = f"{mean:+.1f}" if sign else f"{mean:.1f}"
    return text if not math.isfinite(interval.ci95) else f"{text} ± {100 * interval.ci95:.1f}"


def _distance(each: AdaptationEstimates, name: str) -> str | None:
    if name not in each.means or not math.isfinite(each.means[name].mean):
        return None
    mean, ci95 = each.means[name]
    return f"{mean:.2f}" if not math.isfinite(ci95) else f"{mean:.2f} ± {ci95:.2f}"
