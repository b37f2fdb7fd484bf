"""Scores of candidates before training beside their accuracies after it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxfer.report.style import COLOURS, picture


class RankedAccuracies(NamedTuple):
    """Candidates with their scores, and what became of them.

    Attributes:
      title: what the accuracies are of.
      groups: a name for each candidate; those of one name share a colour.
      scores: ``[candidates]`` by the score's name.
      accuracies: ``[candidates]``, fractions in [0, 1].
      errors: ``[candidates]``, half the widths of their intervals; ``None`` for none.
      correlations: rank correlation with the accuracies by the score's name.

    >>> RankedAccuracies("probe", ("a",), {"LogME": [0.1]}, [0.9], None, {}).groups
    ('a',)
    """

    title: str
    groups: Sequence[str]
    scores: Mapping[str, ArrayLike]
    accuracies: ArrayLike
    errors: ArrayLike | None
    correlations: Mapping[str, float]


def ranking_picture(
    rows: Sequence[RankedAccuracies], out_png: str | Path, *, title: str = ""
) -> None:
    """Draws a row of panels for each kind of accuracy, and in it one panel for each score.

    Args:
      rows: at least one, all with the same scores.
      out_png: the picture to write.
      title: stands above.

    Raises:
      ValueError: no rows, or numbers that do not fit the candidates.
      UserError: the picture cannot be written.

    >>> import tempfile
    >>> row = RankedAccuracies("probe", ("a", "b"), {"s": [1, 2]}, [0.8, 0.9], None, {"s": 1.0})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ranking_picture([row], f"{folder}/a.png")
    ...     Path(folder, "a.png").exists()
    True
    """
    if not rows:
        raise ValueError("rows must hold at least one kind of accuracy.")
    for row in rows:
        shapes = {np.shape(x) for x in (row.groups, row.accuracies, *row.scores.values())}
        if len(shapes) != 1 or tuple(row.scores) != tuple(rows[0].scores):
            raise ValueError(
                "rows must have the same scores, and a number for each candidate; "
                f"{row.title!r} has {tuple(row.scores)} of the shapes {sorted(shapes)}."
            )
    names = list(dict.fromkeys(group for row in rows for group in row.groups))
    columns = max(len(rows[0].scores), 1)
    width, height = 2.7 * columns + 1.2, 2.3 * len(rows) + 0.4
    with picture(out_png, width=width, height=height) as figure:
        if title:
            figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
        axes = figure.subplots(len(rows), columns, squeeze=False, sharey="row")
        for line, row in zip(axes, rows, strict=True):
            accuracies = 100 * np.asarray(row.accuracies, float)
            errors = None if row.errors is None else 100 * np.nan_to_num(row.errors)
            for panel, (score, values) in zip(line, row.scores.items(), strict=True):
                for index, name in enumerate(names):
                    at = np.array([group == name for group in row.groups])
                    if not at.any():
                        continue
                    panel.errorbar(
                        np.asarray(values, float)[at], accuracies[at],
                        yerr=None if errors is None else errors[at],
                        color=COLOURS[index % len(COLOURS)], marker="osD^vP"[index % 6],
                        linestyle="", markersize=5, capsize=2, label=name,
                    )  # fmt: skip
                tau = row.correlations.get(score, np.nan)
                said = "" if np.isnan(tau) else f", \N{GREEK SMALL LETTER TAU} = {tau:.2f}"
                panel.set_title(f"{score}{said}", fontsize=9)
            line[0].set_ylabel(f"{row.title} (%)")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper")
