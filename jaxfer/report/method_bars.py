"""Adaptation methods side by side, with source-only and the spread over seeds."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from jaxfer.evaluation import Interval
from jaxfer.report.adaptation import AdaptationEstimates, AdaptationRow, checked_rows
from jaxfer.report.curves import percent
from jaxfer.report.style import BLUE, GREY, INK, PALE, VERMILION, picture


def method_bars(
    rows: Sequence[AdaptationRow], out_png: str | Path, *, title: str = "", noun: str = "method"
) -> None:
    """Draws a bar from source-only to each method's pick, with its interval and its single seeds.

    Blue bars gain on source-only, orange ones lose; pale ones have an interval of the change that
    holds 0. A hollow diamond is the oracle. The axis does not begin at 0: the bars stand for
    changes.

    Args:
      rows: one for each method, at least one; drawn in their order from the top.
      out_png: the picture to write.
      title: stands above the fact that the picture shows.
      noun: what a row is, in the singular.

    Raises:
      ValueError: as :func:`adaptation_table`.
      UserError: the picture cannot be written.

    >>> import tempfile
    >>> row = AdaptationRow("DANN", [0.52, 0.54], [0.74, 0.78], [0.72, 0.76], [0.78, 0.80])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     method_bars([row], f"{folder}/methods.png")
    ...     Path(folder, "methods.png").exists()
    True
    """
    found = checked_rows(rows)
    with picture(out_png, width=8.6, height=1.75 + 0.42 * len(rows)) as figure:
        if title:
            figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
        axes = figure.subplots()
        for place, (row, each) in enumerate(zip(rows, found, strict=True)):
            _bar(axes, place, row, each)
        _lines(axes, found)
        axes.set_yticks(range(len(rows)), [row.method for row in rows])
        axes.tick_params(axis="y", length=0, labelsize=9)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_formatter(percent)
        axes.margins(x=0.06)
        axes.set_xlabel("accuracy on the target")
        axes.set_title(_fact(found, noun))
        figure.legend(
            handles=_legend(found), loc="outside lower center", ncols=7, columnspacing=1.4
        )


def _bar(axes: Axes, place: int, row: AdaptationRow, each: AdaptationEstimates) -> None:
    source, picked = each.means["source_only"], each.means["picked"]
    clear = each.negative_transfer or each.positive_transfer
    if not math.isfinite(picked.mean):
        axes.annotate("failed in all seeds", (source.mean, place), va="center", color=GREY)
        return
    colour = BLUE if picked.mean >= source.mean else VERMILION
    axes.barh(
        place,
        picked.mean - source.mean,
        left=source.mean,
        height=0.5,
        color=colour,
        alpha=0.85 if clear else 0.3,
        linewidth=0,
    )
    # Their own bounds where methods, or pairs of domains, differ in them.
    ends = [place - 0.36, place + 0.36]
    axes.plot([source.mean] * 2, ends, color=INK, linewidth=1.6)
    if (top := each.means.get("target_trained")) is not None and math.isfinite(top.mean):
        axes.plot([top.mean] * 2, ends, color=INK, linewidth=1.6, linestyle=":")
    seeds = np.asarray(row.picked, float)
    spread = np.linspace(-0.13, 0.13, len(seeds)) if len(seeds) > 1 else np.zeros(1)
    axes.plot(
        seeds,
        place + spread,
        linestyle="",
        marker="o",
        markersize=3,
        markerfacecolor="white",
        markeredgecolor=INK,
        markeredgewidth=0.6,
        zorder=4,
    )
    if math.isfinite(picked.ci95):
        axes.errorbar(
            picked.mean, place, xerr=picked.ci95, color=INK, linewidth=1.4, capsize=3, zorder=3
        )
    oracle = each.means["oracle"].mean
    axes.plot(
        oracle,
        place,
        marker="D",
        markersize=5,
        markerfacecolor="none",
        markeredgecolor=GREY,
        markeredgewidth=1.2,
        zorder=3,
    )


def _lines(axes: Axes, found: Sequence[AdaptationEstimates]) -> None:
    """Source-only and training on the target, where they are the same for all methods."""
    for name, style in (("source_only", "-"), ("target_trained", ":")):
        levels = {each.means.get(name) for each in found}
        level = levels.pop() if len(levels) == 1 else None
        if level is None or not math.isfinite(level.mean):
            continue
        if name == "source_only" and math.isfinite(level.ci95):
            axes.axvspan(*_ends(level), color=PALE, alpha=0.6, linewidth=0, zorder=0)
        axes.axvline(level.mean, color=INK, linestyle=style, linewidth=1.2, zorder=1)


def _ends(interval: Interval) -> tuple[float, float]:
    return interval.mean - interval.ci95, interval.mean + interval.ci95


def _fact(found: Sequence[AdaptationEstimates], noun: str) -> str:
    better = sum(each.positive_transfer for each in found)
    worse = sum(each.negative_transfer for each in found)
    methods = f"{len(found)} {noun}s" if len(found) > 1 else f"1 {noun}"
    if all(each.seeds == 1 for each in found):
        return f"{methods} beside source-only, one seed each: no interval"
    text = f"{better} of {methods} better than source-only beyond chance"
    return f"{text}, {worse} worse" if worse else text


def _legend(found: Sequence[AdaptationEstimates]) -> list[Line2D]:
    dot: dict[str, Any] = {"linestyle": "", "markerfacecolor": "white", "markeredgecolor": INK}
    handles = [
        Line2D([], [], color=INK, linewidth=1.6, label="source-only"),
        Line2D([], [], color=BLUE, linewidth=7, alpha=0.85, label="gain"),
        Line2D([], [], color=VERMILION, linewidth=7, alpha=0.85, label="loss"),
        Line2D([], [], color=GREY, linewidth=7, alpha=0.3, label="within chance"),
        Line2D([], [], marker="o", markersize=3, label="one seed", **dot),
        Line2D(
            [],
            [],
            linestyle="",
            marker="D",
            markersize=5,
            markerfacecolor="none",
            markeredgecolor=GREY,
            label="oracle",
        ),
    ]
    if any("target_trained" in each.means for each in found):
        handles.append(Line2D([], [], color=INK, linestyle=":", label="trained on the target"))
    return handles
