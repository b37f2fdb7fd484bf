"""Which classes are taken for which, one panel for each method."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import ArrayLike

from jaxfer.report.curves import percent
from jaxfer.report.style import BLUE, GREY, INK, VERMILION, picture

_MOST_NUMBERED = 12
"""With more classes than these a cell is too small for its number."""

_MOST_LETTERS = 14  # of a class's name

_RIGHT = LinearSegmentedColormap.from_list("right", ["#FFFFFF", BLUE])
_WRONG = LinearSegmentedColormap.from_list("wrong", ["#FFFFFF", VERMILION])


def confusion_picture(
    matrices: Mapping[str, ArrayLike],
    out_png: str | Path,
    *,
    class_names: Sequence[str] = (),
    title: str = "",
) -> None:
    """Draws confusion matrices side by side: right answers in blue, wrong ones in orange.

    A cell is the share of its true class, so that rows add up to 100% whatever the classes' sizes;
    a row without any example is empty. Each panel says its accuracy and its most frequent mistake.

    Args:
      matrices: for each method ``[classes, classes]``, counts, a row for each true class and a
        column for each predicted one, as :func:`jaxfer.evaluation.confusion_matrix` gives.
      out_png: the picture to write.
      class_names: as many as there are classes; by default they are numbered from 0.
      title: stands above the picture.

    Raises:
      ValueError: there is no matrix, one is not square or has negative counts or none, they differ
        in their classes, or names do not fit.
      UserError: the picture cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     confusion_picture({"DANN": [[8, 2], [1, 9]]}, f"{folder}/confusion.png")
    ...     Path(folder, "confusion.png").exists()
    True
    """
    arrays = {name: _counts(name, matrix) for name, matrix in matrices.items()}
    sizes = {len(array) for array in arrays.values()}
    if len(sizes) != 1:
        raise ValueError(
            "matrices: expected at least one, all of the same classes; "
            f"got {sorted(sizes)} classes."
        )
    classes = sizes.pop()
    if class_names and len(class_names) != classes:
        raise ValueError(
            f"class_names: expected {classes} of them, one per class, got {len(class_names)}."
        )
    names = [str(name) for name in class_names] or [str(index) for index in range(classes)]
    square = min(4.6, max(2.6, 0.38 * classes))
    letters = 0.075 * max(min(len(name), _MOST_LETTERS) for name in names)
    width, height = square + letters + 0.5, square + letters + (1.3 if title else 1.0)
    with picture(out_png, width=width * len(arrays) + 0.3, height=height) as figure:
        if title:
            figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
        panels = figure.subplots(1, len(arrays), squeeze=False)[0]
        for index, (axes, (name, counts)) in enumerate(zip(panels, arrays.items(), strict=True)):
            _panel(axes, name, counts, names)
            axes.set_ylabel("true class" if index == 0 else "")


def _panel(axes: Axes, name: str, counts: np.ndarray, names: Sequence[str]) -> None:
    total = counts.sum(1, keepdims=True)
    shares = counts / np.where(total > 0, total, 1)
    diagonal = np.eye(len(counts), dtype=bool)
    for colours, part in ((_RIGHT, diagonal), (_WRONG, ~diagonal)):
        masked = np.ma.array(shares, mask=~part)
        # A mistake of a third of a class is a big one.
        axes.imshow(masked, cmap=colours, vmin=0, vmax=1 if part is diagonal else 0.5)
    if len(counts) <= _MOST_NUMBERED:
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.005:
                dark = share > (0.6 if row == column else 0.4)
                axes.text(
                    column,
                    row,
                    f"{100 * share:.0f}",
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="white" if dark else INK,
                )
    axes.set_title(f"{name}: {_accuracy(counts)} right\n", fontsize=10)
    worst = axes.text(0, 1.02, _worst(counts, names), transform=axes.transAxes, fontsize=8)
    worst.set(color=GREY, in_layout=False)
    step = 1 if len(counts) <= 40 else -(-len(counts) // 20)
    ticks = range(0, len(counts), step)
    long = max(map(len, names)) > 2
    labels = [_shorten(name) for name in names][::step]
    axes.set_xticks(ticks, labels, rotation=90 if long else 0, fontsize=8)
    axes.set_yticks(ticks, labels, fontsize=8)
    axes.tick_params(length=0)
    axes.set_xlabel("predicted class")
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(True)


def _accuracy(counts: np.ndarray) -> str:
    return percent(round(np.trace(counts) / counts.sum(), 3))


def _worst(counts: np.ndarray, names: Sequence[str]) -> str:
    """The most frequent mistake, in words."""
    total = counts.sum(1, keepdims=True)
    shares = np.where(total > 0, counts / np.where(total > 0, total, 1), 0)
    np.fill_diagonal(shares, 0)
    true, predicted = divmod(int(shares.argmax()), len(shares))
    share = shares[true, predicted]
    if share == 0:
        return "no mistake"
    return f"{share:.0%} of {_shorten(names[true])} are taken for {_shorten(names[predicted])}"


def _shorten(name: str) -> str:
    return name if len(name) <= _MOST_LETTERS else f"{name[: _MOST_LETTERS - 1]}…"


def _counts(name: str, matrix: ArrayLike) -> np.ndarray:
    counts = np.asarray(matrix, float)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size:
        raise ValueError(
            f"matrices: {name} must be [classes, classes]; its shape is {counts.shape}."
        )
    if not (np.isfinite(counts) & (counts >= 0)).all() or counts.sum() <= 0:
        raise ValueError(f"matrices: {name} must hold counts, not negative, and at least one.")
    return counts
