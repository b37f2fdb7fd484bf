"""Learning curves of adaptation methods: accuracy on the target, and what a validator saw."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from jaxfer.report.curves import percent
from jaxfer.report.style import BLUE, GREEN, GREY, INK, VERMILION, picture

_MOST_COLUMNS = 4


class MethodCurve(NamedTuple):
    """How a method went, for each seed.

    Attributes:
      steps: ``[points]``, when it was looked at, in ascending order.
      target_accuracy: ``[seeds, points]``, accuracy on the target.
      score: ``[seeds, points]``, the validator's score, higher is better.
      picked: ``[seeds]``, the points that were picked; below 0 where source-only was kept.

    >>> MethodCurve([0, 100], [[0.5, 0.7]], [[0.1, 0.2]], [1]).picked
    [1]
    """

    steps: ArrayLike
    target_accuracy: ArrayLike
    score: ArrayLike
    picked: ArrayLike | None = None


class _Curve(NamedTuple):
    steps: np.ndarray
    accuracy: np.ndarray
    score: np.ndarray
    picked: np.ndarray


def method_curves(
    curves: Mapping[str, MethodCurve],
    out_png: str | Path,
    *,
    source_only: float | None = None,
    validator: str = "validator",
    title: str = "",
) -> None:
    """Draws two panels for each method: accuracy on the target, and below it the validator's score.

    The upper one is for the reader alone, and says so: it had no part in the choice. The choice was
    made by the lower one; a green circle stands at the pick of each seed in both, so that one sees
    what the validator gave away.

    Args:
      curves: by the name of the method.
      out_png: the picture to write.
      source_only: the accuracy of source-only, a dashed line.
      validator: its name.
      title: stands above the picture.

    Raises:
      ValueError: there is no curve, or arrays do not fit together.
      UserError: the picture cannot be written.

    >>> import tempfile
    >>> curve = MethodCurve([0, 100, 200], [[0.5, 0.7, 0.6]], [[0.1, 0.2, 0.3]], [2])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     method_curves({"DANN": curve}, f"{folder}/curves.png", source_only=0.5)
    ...     Path(folder, "curves.png").exists()
    True
    """
    if not curves:
        raise ValueError("curves: expected at least one method, got none.")
    checked = {name: _checked(name, curve) for name, curve in curves.items()}
    blocks = -(-len(checked) // _MOST_COLUMNS)
    columns = -(-len(checked) // blocks)
    with picture(out_png, width=1.0 + 2.7 * max(2, columns), height=0.9 + 3.9 * blocks) as figure:
        figure.suptitle(
            title or "Accuracy on the target, and the score that chose",
            fontsize=11,
            fontweight="bold",
            x=0.01,
            ha="left",
        )
        grid = _grid(figure, blocks, columns)
        limits = _limits([curve.accuracy for curve in checked.values()], source_only)
        for index, (name, curve) in enumerate(checked.items()):
            block, column = divmod(index, columns)
            upper, lower = grid[2 * block, column], grid[2 * block + 1, column]
            _accuracy_panel(upper, name, curve, source_only, limits)
            _lines(lower, curve.steps, curve.score, curve.picked, VERMILION)
            lower.set_xlabel("step")
            lower.yaxis.set_major_locator(MaxNLocator(4))
            lower.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            if column == 0:
                upper.set_ylabel("target accuracy\n(not used for choosing)", color=BLUE)
                lower.set_ylabel(f"{validator}\n(no target labels)", color=VERMILION)
        for index in range(len(checked), blocks * columns):
            block, column = divmod(index, columns)
            for axes in grid[2 * block : 2 * block + 2, column]:
                axes.set_visible(False)
        handles = _legend(checked, source_only)
        figure.legend(handles=handles, loc="outside lower center", ncols=max(1, len(handles)))


def _grid(figure: Figure, blocks: int, columns: int) -> np.ndarray:
    axes: np.ndarray = figure.subplots(
        2 * blocks, columns, squeeze=False, height_ratios=[1.5, 1] * blocks
    )
    return axes


def _accuracy_panel(
    axes: Axes,
    name: str,
    curve: _Curve,
    source_only: float | None,
    limits: tuple[float, float],
) -> None:
    _lines(axes, curve.steps, curve.accuracy, curve.picked, BLUE)
    axes.set_ylim(*limits)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(percent)
    axes.tick_params(labelbottom=False)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    if source_only is not None:
        axes.axhline(source_only, color=INK, linestyle="--", linewidth=1.1)
    fact = _fact(curve, source_only)
    axes.set_title(name + "\n" * len(fact), fontsize=10)
    below = axes.text(0, 1.03, "\n".join(fact), transform=axes.transAxes, fontsize=8, color=GREY)
    below.set_in_layout(False)


def _lines(
    axes: Axes, steps: np.ndarray, values: np.ndarray, picked: np.ndarray, colour: str
) -> None:
    """Each seed thin and their mean thick, where all of them have a value; the picks as circles."""
    for row in values:
        axes.plot(steps, row, color=colour, alpha=0.35, linewidth=0.8)
    axes.plot(steps, values.mean(0), color=colour, linewidth=1.8)
    for row, index in zip(values, picked, strict=True):
        if index >= 0:
            axes.plot(
                steps[index],
                row[index],
                marker="o",
                markersize=6,
                markerfacecolor="none",
                markeredgecolor=GREEN,
                markeredgewidth=1.6,
                zorder=4,
            )


def _fact(curve: _Curve, source_only: float | None) -> list[str]:
    """What the picks reach, beside the best that any step had."""
    best = [row[np.isfinite(row)].max(initial=0.0) for row in curve.accuracy]
    oracle = f"oracle {percent(round(float(np.mean(best)), 3))}"
    kept = curve.picked < 0
    if kept.all():
        return [oracle]
    picked = curve.accuracy[np.arange(len(kept)), curve.picked]
    picked = np.where(kept, np.nan if source_only is None else source_only, picked)
    lines = [f"picked {percent(round(float(np.mean(picked)), 3))}, {oracle}"]
    if np.isnan(picked).any():
        lines = [oracle]
    if kept.any():
        lines.append(f"source-only was kept in {kept.sum()} of {len(kept)} seeds")
    return lines


def _legend(checked: Mapping[str, _Curve], source_only: float | None) -> list[Line2D]:
    handles = []
    if any(len(curve.accuracy) > 1 for curve in checked.values()):
        handles += [
            Line2D([], [], color=INK, linewidth=1.8, label="mean"),
            Line2D([], [], color=INK, linewidth=0.8, alpha=0.35, label="one seed"),
        ]
    if any((curve.picked >= 0).any() for curve in checked.values()):
        circle: dict[str, Any] = {
            "linestyle": "",
            "markerfacecolor": "none",
            "markeredgecolor": GREEN,
        }
        handles.append(
            Line2D([], [], marker="o", markeredgewidth=1.6, label="validator's pick", **circle)
        )
    if source_only is not None:
        handles.append(Line2D([], [], color=INK, linestyle="--", label="source-only"))
    return handles


def _limits(accuracies: list[np.ndarray], source_only: float | None) -> tuple[float, float]:
    """Of all panels alike, so that methods can be compared by eye."""
    values = np.concatenate([array.ravel() for array in accuracies])
    values = values[np.isfinite(values)]
    ends = [*values, *([] if source_only is None else [source_only])] or [0.0, 1.0]
    low, high = min(ends), max(ends)
    margin = max(0.02, 0.08 * (high - low))
    return max(0.0, low - margin), min(1.0 + margin / 2, high + margin)


def _checked(name: str, curve: MethodCurve) -> _Curve:
    steps = np.asarray(curve.steps)
    accuracy, score = (np.asarray(x, float) for x in (curve.target_accuracy, curve.score))
    if accuracy.ndim != 2 or accuracy.shape[1:] != steps.shape or not accuracy.size:
        raise ValueError(
            f"{name}: target_accuracy must be [seeds, points] and steps [points]; their shapes are "
            f"{accuracy.shape} and {steps.shape}."
        )
    if score.shape != accuracy.shape:
        raise ValueError(
            f"{name}: score must have the shape of target_accuracy, {accuracy.shape}; "
            f"its shape is {score.shape}."
        )
    picked = np.full(len(accuracy), -1) if curve.picked is None else np.asarray(curve.picked)
    if picked.shape != accuracy.shape[:1] or not np.issubdtype(picked.dtype, np.integer):
        raise ValueError(
            f"{name}: picked must hold one integer for each of {len(accuracy)} seeds; "
            f"it is {picked.dtype} {picked.shape}."
        )
    if picked.max() >= len(steps):
        raise ValueError(
            f"{name}: picked must be places among the {len(steps)} points, not steps; "
            f"the largest is {picked.max()}."
        )
    return _Curve(steps, accuracy, score, picked)
