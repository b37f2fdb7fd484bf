"""Learning curves: loss and accuracy against the outer step, one thin line a run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from jaxfer.report.run import Row, measured_names, read_metrics, series
from jaxfer.report.style import BLUE, GREY, VERMILION, picture
from jaxfer.typing import UserError

# One logged step is one batch of tasks: beyond so many of them a line is noise, and is averaged.
_POINTS = 60

Series = dict[int, tuple[np.ndarray, np.ndarray]]


def learning_curve(
    metrics: str | Path | Sequence[Row],
    out_png: str | Path,
    *,
    names: Sequence[str] | None = None,
    title: str = "",
    chance: float | None = None,
    step_name: str = "outer step",
) -> None:
    """Draws training and validation metrics against the step, each run thin and their mean thick.

    Long noisy training series are drawn as means over consecutive logged steps, and the legend says
    over how many. A mean over runs is drawn where every run has a value. An accuracy's axis ends
    at 100%; a positive loss that falls by more than a factor of 20 gets a logarithmic axis.

    Args:
      metrics: a ``metrics.jsonl`` or its rows.
      out_png: the picture to write.
      names: the metrics, one panel each; by default the loss and the accuracy, or the first two.
      title: stands above the picture.
      chance: accuracy of a guess, ``1 / way``; drawn as a dotted line.
      step_name: what the axis counts.

    Raises:
      UserError: the file cannot be read or written, or holds none of the metrics.

    >>> import tempfile
    >>> rows = [{"step": t, "split": "train", "run": 0, "loss": 1 / (1 + t)} for t in range(5)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     learning_curve(rows, f"{folder}/curve.png")
    ...     Path(folder, "curve.png").exists()
    True
    """
    rows = read_metrics(metrics) if isinstance(metrics, str | Path) else metrics
    where = str(metrics) if isinstance(metrics, str | Path) else "the rows"
    present = measured_names(rows)
    if names is None:
        names = [name for name in ("loss", "accuracy") if name in present]
        names = names or [name for name in present if name != "ci95"][:2]
    missing = [name for name in names if name not in present]
    if missing or not names:
        raise UserError(
            f"{where} has no {', '.join(missing) or 'metrics'} to draw"
            f"{'; it has ' + ', '.join(present) if present else ' yet'}."
        )
    with picture(out_png, width=1.2 + 4.2 * len(names), height=3.6) as figure:
        panels = figure.subplots(1, len(names), squeeze=False)[0]
        if title:
            figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
        for axes, name in zip(panels, names, strict=True):
            _panel(axes, rows, name, chance, step_name)


def _panel(
    axes: Axes,
    rows: Sequence[Row],
    name: str,
    chance: float | None,
    step_name: str = "outer step",
) -> None:
    train = series(rows, name, split="train")
    validation = series(rows, name, split="validation")
    drawn = [*train.values(), *validation.values()]
    values = np.concatenate([values for _, values in drawn] or [np.array([0.0, 1.0])])
    last = max((steps[-1] for steps, _ in drawn), default=1)
    axes.set_title(name.replace("_", " "))
    scale_axes(axes, name, values, last, chance=chance)
    axes.set_xlabel(step_name)
    _lines(axes, train, VERMILION, "train", marker="")
    _lines(axes, validation, BLUE, "validation", marker="o", best=is_fraction(name))
    axes.legend(loc="center right" if is_fraction(name) else "upper right")


def _lines(
    axes: Axes, runs: Series, colour: str, label: str, *, marker: str, best: bool = False
) -> None:
    """One split in one panel; a marker says that its points are evaluations, not single batches."""
    if not runs:
        return
    window = 1 if marker else max(-(-len(steps) // _POINTS) for steps, _ in runs.values())
    smooth = _window_means(runs, window)
    if len(runs) == 1 and window > 1:
        axes.plot(*runs[next(iter(runs))], color=colour, alpha=0.18, linewidth=0.6)
    if len(runs) > 1:
        for steps, values in smooth.values():
            axes.plot(steps, values, color=colour, alpha=0.35, linewidth=0.8)
    steps, values = mean_over_runs(smooth)
    means = [f"{len(runs)} runs"] * (len(runs) > 1) + [f"{window} logged steps"] * (window > 1)
    notes = ["mean over " + " and ".join(means)] if means else []
    if best and len(values):
        top = int(values.argmax())
        notes.append(f"best {percent(values[top])} at step {steps[top]}")
    axes.plot(
        steps,
        values,
        color=colour,
        linewidth=1.8,
        marker=marker if len(steps) <= 40 else "",
        markersize=3.5,
        label=", ".join([label, *notes]),
    )


def mean_over_runs(runs: Series) -> tuple[np.ndarray, np.ndarray]:
    """Averages the runs at the steps where all of them have a value.

    Args:
      runs: for each run its steps and values, ``[points]``.

    Returns:
      The common steps, and the mean there.

    >>> one, two = np.array([1, 2]), np.array([1])
    >>> steps, values = mean_over_runs({0: (one, one * 1.0), 1: (two, two * 3.0)})
    >>> steps.tolist(), values.tolist()
    ([1], [2.0])
    """
    first, *others = (steps for steps, _ in runs.values())
    common = first
    for steps in others:
        common = np.intersect1d(common, steps)
    rows = [values[np.isin(steps, common)] for steps, values in runs.values()]
    return common, np.mean(rows, axis=0)


def scale_axes(
    axes: Axes, name: str, values: np.ndarray, last: float, *, chance: float | None = None
) -> None:
    """Gives a panel of a metric against the step its limits, ticks and scale.

    An accuracy's axis ends at 100%. Another metric's begins at zero, unless all its values are
    positive and span more than a factor of 20: then it is logarithmic, and says so.

    Args:
      axes: the panel.
      name: of the metric.
      values: everything drawn in it.
      last: the last step.
      chance: accuracy of a guess; drawn as a dotted line where given.

    >>> from matplotlib.figure import Figure
    >>> axes = Figure().subplots()
    >>> scale_axes(axes, "accuracy", np.array([0.5, 0.9]), last=100)
    >>> bool(axes.get_ylim()[1] < 1.02)
    True
    """
    axes.set_xlabel("outer step")
    axes.set_xlim(0, last * 1.01 or 1)
    axes.xaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True, steps=[1, 2, 5, 10]))
    if is_fraction(name):
        _accuracy_axis(axes, values, chance)
    elif values.min() > 0 and values.max() / values.min() > 20:
        axes.set_yscale("log")
        axes.set_ylabel("logarithmic scale", color=GREY)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    else:
        axes.set_ylim(min(0.0, values.min()), 1.05 * values.max() if values.max() > 0 else None)


def _accuracy_axis(axes: Axes, values: np.ndarray, chance: float | None) -> None:
    low = float(values.min() if chance is None else min(values.min(), chance))
    # A little over 100%, so that a line which reaches it is not cut in half.
    margin = 0.03 * (1 - low) if low < 1 else 0.01
    axes.set_ylim(max(0.0, low - 3 * margin), 1 + margin / 2)
    axes.yaxis.set_major_formatter(percent)
    if chance is not None:
        axes.axhline(chance, color=GREY, linestyle=":", linewidth=1.2)
        axes.annotate(
            "chance",
            (1, chance),
            xycoords=("axes fraction", "data"),
            xytext=(-2, 3),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            color=GREY,
        )


def is_fraction(name: str) -> bool:
    """Says whether a metric of this name is a fraction in [0, 1].

    Args:
      name: of the metric.

    Returns:
      True for accuracies.

    >>> is_fraction("query_accuracy"), is_fraction("loss")
    (True, False)
    """
    return "accuracy" in name


def percent(fraction: float, _: object = None) -> str:
    """Writes a fraction per cent, with as many decimals as it needs and two at most.

    Args:
      fraction: the number, 1 for 100%.

    Returns:
      For instance ``"97.5%"``. As a tick's formatter it is given a position too, and needs none.

    >>> percent(0.975)
    '97.5%'
    """
    return f"{round(100 * fraction, 2):g}%"


def _window_means(runs: Series, window: int) -> Series:
    """Means over windows of the steps that any run logged, each placed at the window's last step.

    The windows are common to all runs, so that their means can be averaged, and the last takes the
    rest in; a run that ended early has no value in a window that it did not fill.
    """
    if window == 1:
        return runs
    logged = np.unique(np.concatenate([steps for steps, _ in runs.values()]))
    count = max(1, len(logged) // window)
    windows = [
        logged[i * window : (i + 1) * window if i + 1 < count else None] for i in range(count)
    ]
    means = {}
    for run, (steps, values) in runs.items():
        full = [part for part in windows if np.isin(part, steps).all()]
        means[run] = (
            np.array([part[-1] for part in full], dtype=int),
            np.array([values[np.isin(steps, part)].mean() for part in full]),
        )
    return means
