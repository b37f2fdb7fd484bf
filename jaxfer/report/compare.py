"""Comparing runs: one row each, what differs in their configurations, and their curves overlaid."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jaxfer.report.curves import is_fraction, mean_over_runs, percent, scale_axes
from jaxfer.report.paired import paired_with_first
from jaxfer.report.run import Estimate, RunRecord, measured_names, series
from jaxfer.report.style import COLOURS, picture
from jaxfer.report.table import MISSING, format_estimate, table
from jaxfer.typing import UserError

# With more results than these a run gets too long a row: they become rows themselves.
_MOST_COLUMNS = 2
# Fields that say where a run was written or how it was started, not what it did.
_NOT_THE_METHOD = frozenset(
    {"out", "resume", "debug", "devices", "multihost", "deterministic", "data", "data_dir", "chunk"}
)
# Fields that say which question was asked of the learner: answers to others are not comparable.
_THE_QUESTION = frozenset({"way", "shot", "queries", "rotations", "statistics"})


def compare_runs(runs: Sequence[RunRecord], *, markdown: bool = False) -> str:
    """Writes a table of test results, one of the fields that differ, and warnings.

    Args:
      runs: what ``read_run`` gave, at least one.
      markdown: Markdown tables instead of plain text.

    Returns:
      The text, without a newline at its end. A test result is the mean ± half its 95% interval;
      an accuracy is in per cent. ``!`` marks data that differ between the runs.

    Raises:
      UserError: there is no run.

    >>> from pathlib import Path
    >>> from jaxfer.report.run import Estimate
    >>> test = {"accuracy": Estimate(0.983, 0.002, ())}
    >>> data, done = {"source": "omniglot"}, {"seconds": 12}
    >>> run = RunRecord(Path("runs/a"), {"way": 5}, data, {}, test, done, ())
    >>> print(compare_runs([run]))
    run  test accuracy (%)  runs  steps  seconds  data
    ---  -----------------  ----  -----  -------  --------
    a         98.30 ± 0.20     -      -       12  omniglot
    """
    if not runs:
        raise UserError("no run to compare; give the --out folder of at least one.")
    labels = _labels(runs)
    if all("verdict" in run.summary for run in runs):
        return "\n\n".join(_shifts(runs, labels, markdown=markdown))
    measured = list(dict.fromkeys(name for run in runs for name in run.test)) or ["accuracy"]
    columns = measured if len(measured) <= _MOST_COLUMNS else []
    data_differ = _differ([_data(run) for run in runs])
    header = ["run", *map(_heading, columns), "runs", "steps", "seconds", "data"]
    rows = [
        [
            label,
            *(_result(run, name) for name in columns),
            _spread(run, measured[0]),
            _steps(run),
            _seconds(run),
            str(run.data.get("source", MISSING)) + " !" * data_differ,
        ]
        for label, run in zip(labels, runs, strict=True)
    ]
    parts = [table(header, rows, markdown=markdown)]
    if not columns:
        rows = [[_heading(name), *(_result(run, name) for run in runs)] for name in measured]
        parts.append(table(["result", *labels], rows, markdown=markdown))
    paired = [
        (label, format_estimate(difference.mean, difference.ci95, percent=True))
        for label, difference in zip(labels[1:], paired_with_first(runs), strict=True)
        if difference is not None
    ]
    if paired:
        heading = f"accuracy minus that of {labels[0]}, paired by episode (%)"
        parts.append(table(["run", heading], paired, markdown=markdown))
    parts += _configurations(runs, labels, markdown=markdown)
    warnings = [f"Warning: {line}" for line in _warnings(runs, labels)]
    if warnings:
        parts.append(("\n\n" if markdown else "\n").join(warnings))
    return "\n\n".join(parts)


def _shifts(runs: Sequence[RunRecord], labels: Sequence[str], *, markdown: bool) -> list[str]:
    """Runs that each compared two sets of data: their verdicts, whatever the data were."""
    names = ("p_value", "mmd_squared", "proxy_a_distance")
    rows = []
    for label, run in zip(labels, runs, strict=True):
        test = run.summary.get("test", {})
        numbers = [f"{test[name]:.3g}" if test.get(name) is not None else None for name in names]
        rows.append([label, *numbers, _seconds(run), run.data.get("source")])
    header = ["run", "p-value", "MMD squared", "proxy A-distance", "seconds", "data"]
    verdicts = [
        f"{label}: {run.summary['verdict']}" for label, run in zip(labels, runs, strict=True)
    ]
    return [
        table(header, rows, markdown=markdown),
        ("\n\n" if markdown else "\n").join(verdicts),
        *_configurations(runs, labels, markdown=markdown),
    ]


def _configurations(
    runs: Sequence[RunRecord], labels: Sequence[str], *, markdown: bool
) -> list[str]:
    fields = _differing_fields(runs)
    lines = [[field, *(_show(_settings(run).get(field)) for run in runs)] for field in fields]
    return [table(["configuration", *labels], lines, markdown=markdown)] if fields else []


def comparison_picture(runs: Sequence[RunRecord], out_png: str | Path) -> None:
    """Overlays the validation curves of several runs and sets their test results beside them.

    Each folder has one colour: the mean over its runs (seeds), and in a band their range.

    Args:
      runs: what ``read_run`` gave.
      out_png: the picture to write.

    Raises:
      UserError: no run has validation metrics, or the picture cannot be written.

    >>> comparison_picture([], "overlay.png")
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: no run has validation metrics to draw yet.
    """
    name = _curve_name(runs)
    labels = _labels(runs)
    tested = [run.test.get(name) for run in runs]
    with_test = any(tested)
    height = max(3.4, 1.6 + 0.3 * len(runs))
    with picture(out_png, width=9.2 if with_test else 6.0, height=height) as figure:
        panels = figure.subplots(
            1, 1 + with_test, squeeze=False, width_ratios=[1.7, 1][: 1 + with_test]
        )[0]
        _overlay(panels[0], runs, labels, name)
        if with_test:
            _dots(panels[1], tested, labels, name)
        figure.legend(
            *panels[0].get_legend_handles_labels(),
            loc="outside lower center",
            ncols=min(len(runs), 4),
        )


def _overlay(axes: Axes, runs: Sequence[RunRecord], labels: list[str], name: str) -> None:
    everything = [np.zeros(0)]
    last = 1
    for index, (run, label) in enumerate(zip(runs, labels, strict=True)):
        colour, dash = _look(index)
        points = series(run.metrics, name, split="validation")
        if not points:
            axes.plot([], [], color=colour, linestyle=dash, label=f"{label} (no validation)")
            continue
        steps, mean = mean_over_runs(points)
        axes.plot(steps, mean, color=colour, linestyle=dash, linewidth=1.7, label=label)
        if len(points) > 1:
            rows = [values[np.isin(at, steps)] for at, values in points.values()]
            axes.fill_between(
                steps, np.min(rows, 0), np.max(rows, 0), color=colour, alpha=0.15, linewidth=0
            )
        everything += [values for _, values in points.values()]
        last = max(last, *(int(at[-1]) for at, _ in points.values()))
    values = np.concatenate(everything)
    axes.set_title(f"validation {name.replace('_', ' ')}")
    scale_axes(axes, name, values, last)


def _dots(axes: Axes, tested: Sequence[Estimate | None], labels: list[str], name: str) -> None:
    """Test results as points with their intervals, first run on top; the axis need not hold 0."""
    for index, (estimate, label) in enumerate(zip(tested, labels, strict=True)):
        if estimate is None:
            continue
        colour, _ = _look(index)
        axes.errorbar(estimate.mean, index, xerr=estimate.ci95, color=colour, marker="o", capsize=3)
        if len(estimate.runs) > 1:
            below = [index + 0.2] * len(estimate.runs)
            axes.plot(estimate.runs, below, ".", color=colour, markersize=4, alpha=0.7)
            axes.set_xlabel("small dots: single runs")
        text = format_estimate(estimate.mean, estimate.ci95, percent=is_fraction(name))
        axes.annotate(
            f"{label}  {text}",
            (estimate.mean, index),
            xytext=(0, 8),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    axes.set_title(f"test {name.replace('_', ' ')} ± 95% interval")
    axes.set_ylim(len(tested) - 0.5, -0.7)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.4)
    axes.locator_params(axis="x", nbins=4)
    if is_fraction(name):
        left, right = axes.get_xlim()
        axes.set_xlim(max(left, 0.0), min(right, 1.0))
        axes.xaxis.set_major_formatter(percent)


def _curve_name(runs: Sequence[RunRecord]) -> str:
    names = [name for run in runs for name in measured_names(run.metrics, split="validation")]
    names = [name for name in names if name != "ci95"]
    if not names:
        raise UserError("no run has validation metrics to draw yet.")
    return "accuracy" if "accuracy" in names else names[0]


def _look(index: int) -> tuple[str, str]:
    return COLOURS[index % len(COLOURS)], ("-", "--", ":")[index // len(COLOURS) % 3]


def _labels(runs: Sequence[RunRecord]) -> list[str]:
    """The shortest ends of the folders' paths that tell them apart."""
    paths = [run.folder.resolve().parts for run in runs]
    longest = max((len(parts) for parts in paths), default=1)
    labels = ["/".join(parts[-1:]) for parts in paths]
    for length in range(2, longest + 1):
        if len(set(labels)) == len(set(paths)):
            break
        labels = ["/".join(parts[-length:]) for parts in paths]
    return labels


def _heading(name: str) -> str:
    return f"test {name}{' (%)' * is_fraction(name)}"


def _result(run: RunRecord, name: str) -> str | None:
    estimate = run.test.get(name)
    if estimate is None:
        return None
    return format_estimate(estimate.mean, estimate.ci95, percent=is_fraction(name))


def _spread(run: RunRecord, name: str) -> str | None:
    """How many seeds, and how far apart they ended."""
    values = run.test[name].runs if name in run.test else ()
    if len(values) < 2:
        listed = run.summary.get("test", {}).get("runs")
        return str(len(listed)) if isinstance(listed, list) and listed else None
    deviation = format_estimate(statistics.stdev(values), percent=is_fraction(name))
    return f"{len(values)} (sd {deviation})"


def _steps(run: RunRecord) -> str | None:
    return str(max(row["step"] for row in run.metrics)) if run.metrics else None


def _seconds(run: RunRecord) -> str | None:
    seconds = run.summary.get("seconds")
    return f"{seconds:.0f}" if isinstance(seconds, int | float) else None


def _data(run: RunRecord) -> tuple[str, str]:
    return str(run.data.get("source")), str(run.data.get("checksum"))


def _differ(values: Sequence[Any]) -> bool:
    return any(value != values[0] for value in values)


def _settings(run: RunRecord) -> dict[str, Any]:
    """The configuration, with what the test was really asked in place of what it would have been.

    A finished run may be tested again with other episodes than those it was trained on.
    """
    asked = {name: value for name, value in run.protocol.items() if name in _THE_QUESTION}
    return {**run.config, **{f"test {name}": value for name, value in asked.items()}}


def _differing_fields(runs: Sequence[RunRecord]) -> list[str]:
    settings = [_settings(run) for run in runs]
    fields = dict.fromkeys(field for of_run in settings for field in of_run)
    return [
        field
        for field in fields
        if field not in _NOT_THE_METHOD and _differ([of_run.get(field) for of_run in settings])
    ]


def _asked_differently(runs: Sequence[RunRecord]) -> list[str]:
    """Parts of the question that differ: of the recorded protocol, else of the training."""
    questions = [
        {name: {**run.config, **run.protocol}.get(name) for name in sorted(_THE_QUESTION)}
        for run in runs
    ]
    return [name for name in sorted(_THE_QUESTION) if _differ([q[name] for q in questions])]


def _show(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(_show(item) for item in value)
    return MISSING if value is None else str(value)


def _warnings(runs: Sequence[RunRecord], labels: Sequence[str]) -> list[str]:
    unfinished = [label for label, run in zip(labels, runs, strict=True) if not run.summary]
    finished = [run for run in runs if run.summary]
    names = [label for label, run in zip(labels, runs, strict=True) if run.summary]
    warnings = [f"{label} has no summary.json: it has not finished." for label in unfinished]
    if _differ([run.data.get("source") for run in finished]):
        sources = (
            f"{run.data.get('source')} in {name}" for run, name in zip(finished, names, strict=True)
        )
        warnings.append(f"the data differ ({', '.join(sources)}); do not compare their results.")
    elif _differ([_data(run) for run in finished]):
        warnings.append("the data have one name but different checksums; their contents differ.")
    fields = _differing_fields(runs)
    if splits := [field for field in fields if "split" in field]:
        warnings.append(
            f"the classes are split differently ({', '.join(splits)}); "
            f"the results are of other test classes."
        )
    if asked := _asked_differently(finished):
        warnings.append(
            f"the test tasks differ ({', '.join(asked)}); their results answer other questions."
        )
    return warnings
