"""Adapted functions of a regression: the truth, the support points, the fit after each step."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from jaxfer.report.style import BLUE, GREY, INK, SKY, VERMILION, picture


def adaptation_curves(
    x: ArrayLike,
    truth: ArrayLike,
    support_x: ArrayLike,
    support_y: ArrayLike,
    predictions: Mapping[int, ArrayLike],
    out_png: str | Path,
    *,
    titles: Sequence[str] = (),
    labels: Mapping[int, str] | None = None,
    title: str = "",
) -> None:
    """Draws each task's true function, its support points and what the learner makes of them.

    Args:
      x: where the functions are evaluated, ``[points]`` or ``[tasks, points]``.
      truth: the true functions there, ``[tasks, points]``.
      support_x: inputs of the support points, ``[tasks, shot]``.
      support_y: their targets, ``[tasks, shot]``.
      predictions: for a number of inner steps, the prediction after them, ``[tasks, points]``.
      out_png: the picture to write.
      titles: one per task; empty for none.
      labels: what the legend says of a number of inner steps, where it is not to speak of steps.
      title: stands above the picture.

    Raises:
      ValueError: an array does not have the shape said above.
      UserError: the picture cannot be written.

    >>> import tempfile
    >>> x = np.linspace(-5, 5, 50)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     adaptation_curves(
    ...         x, [np.sin(x)], [x[::10]], [np.sin(x[::10])], {0: [0 * x]}, f"{folder}/sine.png"
    ...     )
    ...     Path(folder, "sine.png").exists()
    True
    """
    truth = np.asarray(truth, dtype=float)
    if truth.ndim != 2:
        raise ValueError(f"truth: expected shape [tasks, points], got {truth.shape}.")
    tasks = len(truth)
    x = np.broadcast_to(np.asarray(x, dtype=float), truth.shape)
    support_x, support_y = np.asarray(support_x, dtype=float), np.asarray(support_y, dtype=float)
    if support_x.shape != support_y.shape or support_x.shape[:1] != (tasks,):
        raise ValueError(
            f"support_x and support_y: expected shape [{tasks}, shot] both, "
            f"got {support_x.shape} and {support_y.shape}."
        )
    if titles and len(titles) != tasks:
        raise ValueError(f"titles: expected {tasks} of them, one per task, got {len(titles)}.")
    fits = {steps: np.asarray(values, dtype=float) for steps, values in sorted(predictions.items())}
    for steps, values in fits.items():
        if values.shape != truth.shape:
            raise ValueError(
                f"predictions[{steps}]: expected truth's shape {truth.shape}, got {values.shape}."
            )
    columns = 2 if tasks == 4 else min(tasks, 3)
    rows = -(-tasks // columns)
    # The fit before any step is where adaptation starts, the last one where it ends: between them
    # colour and width grow, so that the order can be read without the legend.
    looks = _looks(len(fits))
    with picture(out_png, width=0.8 + 3.1 * columns, height=0.9 + 2.4 * rows) as figure:
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
        if title:
            figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
        for task, axes in enumerate(panels):
            if task >= tasks:
                axes.set_visible(False)
                continue
            order = np.argsort(x[task])
            axes.plot(
                x[task][order], truth[task][order], color=INK, linewidth=1.2, label="true function"
            )
            for (steps, values), (colour, dash, width) in zip(fits.items(), looks, strict=True):
                label = f"after {steps} step{'s' * (steps != 1)}" if steps else "before adapting"
                label = (labels or {}).get(steps, label)
                axes.plot(
                    x[task][order],
                    values[task][order],
                    color=colour,
                    linestyle=dash,
                    linewidth=width,
                    label=label,
                )
            axes.plot(
                support_x[task],
                support_y[task],
                "^",
                color=INK,
                markerfacecolor="white",
                markersize=6,
                zorder=5,
                label="support points",
            )
            if titles:
                axes.set_title(titles[task])
        for axes in panels[max(0, tasks - columns) : tasks]:
            axes.set_xlabel("x")
            axes.tick_params(labelbottom=True)
        for axes in panels[::columns]:
            axes.set_ylabel("y")
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2 + len(fits)
        )


def _looks(count: int) -> list[tuple[str, str, float]]:
    if count == 1:
        return [(VERMILION, "--", 1.8)]
    middle: list[tuple[str, str, float]] = [
        ((SKY, BLUE)[i % 2], "-.", 1.4) for i in range(count - 2)
    ]
    return [(GREY, ":", 1.6), *middle, (VERMILION, "--", 1.8)]
