"""Accuracy of several methods against how much there was to learn, with intervals."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from jaxfer.report.style import COLOURS, picture


def accuracy_curves(
    x: ArrayLike,
    curves: Mapping[str, Sequence[tuple[float, float]]],
    out_png: str | Path,
    *,
    x_label: str,
    title: str = "",
) -> None:
    """Draws one line a method, its 95% interval as a band, and its name at its end.

    Args:
      x: ``[points]``, ascending.
      curves: for each method a mean and half of its interval's width at every point; fractions in
        [0, 1], and NaN for an interval that is not known.
      out_png: the picture to write.
      x_label: what ``x`` counts.
      title: stands above the picture.

    Raises:
      ValueError: a curve has not as many points as ``x``.
      UserError: the picture cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = f"{folder}/curves.png"
    ...     accuracy_curves([1, 2], {"a": [(0.9, 0.01), (0.8, 0.02)]}, file, x_label="classes")
    ...     Path(file).exists()
    True
    """
    places = np.asarray(x, float)
    for name, curve in curves.items():
        if len(curve) != len(places):
            raise ValueError(
                f"curves[{name!r}]: expected {len(places)} points, as x has; got {len(curve)}."
            )
    with picture(out_png, width=6.4, height=3.8) as figure:
        axes = figure.add_subplot()
        for index, (name, curve) in enumerate(curves.items()):
            mean, half = 100 * np.asarray(curve, float).T
            colour, marker = COLOURS[index % len(COLOURS)], "osD^vP"[index % 6]
            axes.plot(places, mean, color=colour, marker=marker, markersize=4, label=name)
            half = np.nan_to_num(half)
            axes.fill_between(places, mean - half, mean + half, color=colour, alpha=0.2, lw=0)
        axes.set(xlabel=x_label, ylabel="accuracy %", ylim=(0, 100), title=title)
        axes.legend()
