"""Methods beneath each other, a dot with its interval for each kind of test."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxfer.report.style import COLOURS, picture


def method_dots(
    results: Mapping[str, Mapping[str, tuple[float, float]]],
    out_png: str | Path,
    *,
    x_label: str = "accuracy %",
    title: str = "",
) -> None:
    """Draws a line of dots for each method, in a colour for each kind of test.

    Args:
      results: for each method, from the top, and each kind of test a mean and half of its 95%
        interval's width, fractions in [0, 1]; a kind that a method lacks is left out, and NaN
        stands for an interval that is not known.
      out_png: the picture to write.
      x_label: what is shown.
      title: stands above the picture.

    Raises:
      ValueError: there are no methods.
      UserError: the picture cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = f"{folder}/dots.png"
    ...     method_dots({"a": {"5-way": (0.9, 0.01)}, "b": {"5-way": (0.8, 0.02)}}, file)
    ...     Path(file).exists()
    True
    """
    if not results:
        raise ValueError("results must hold at least one method; it is empty.")
    kinds = list(dict.fromkeys(kind for row in results.values() for kind in row))
    with picture(out_png, width=6.4, height=1.2 + 0.28 * len(results)) as figure:
        axes = figure.add_subplot()
        for index, kind in enumerate(kinds):
            shift = 0.12 * (index - (len(kinds) - 1) / 2)
            places = [i + shift for i, row in enumerate(results.values()) if kind in row]
            found = 100 * np.array([row[kind] for row in results.values() if kind in row])
            axes.errorbar(
                found[:, 0],
                places,
                xerr=np.nan_to_num(found[:, 1]),
                color=COLOURS[index % len(COLOURS)],
                linestyle="",
                marker="osD^vP"[index % 6],
                markersize=4,
                capsize=2,
                label=kind,
            )
        axes.set_yticks(range(len(results)), list(results))
        axes.set(xlabel=x_label, title=title, ylim=(len(results) - 0.5, -0.5))
        # Not among the dots: there a sample of a kind reads as one more result.
        figure.legend(loc="outside lower center", ncols=len(kinds))
