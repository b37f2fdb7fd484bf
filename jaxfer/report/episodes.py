"""A picture of one test episode: what was shown, what was asked, which answers were right."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from jaxfer.report.style import GREEN, GREY, VERMILION, picture

# More would make the drawings too small to see.
_MOST_QUERIES = 8
_MOST_SHOTS = 5


def episode_picture(
    support_x: ArrayLike,
    support_y: ArrayLike,
    query_x: ArrayLike,
    query_y: ArrayLike,
    predictions: ArrayLike,
    out_png: str | Path,
    *,
    class_names: Sequence[str] | None = None,
    title: str = "",
) -> None:
    """Draws the support images as column heads and the query images below, marked right or wrong.

    Each column is a class. A right answer has a solid frame and a tick; a wrong one a dashed frame,
    a cross and the class that was predicted. At most 5 support and 8 query images of a class are
    drawn, and the heading counts the answers of the whole episode.

    Args:
      support_x: images ``[n, height, width]``, or ``[n, height, width, channels]`` with 1 or 3
        channels; any range: the smallest value of a grey image is white, the largest black.
      support_y: their classes ``[n]``, integers.
      query_x: images like the support's, ``[m, ...]``.
      query_y: their true classes ``[m]``.
      predictions: the predicted classes ``[m]``.
      out_png: the picture to write.
      class_names: a name for each class ``0 .. way - 1``; by default A, B, C, ...
      title: stands above the picture.

    Raises:
      ValueError: shapes or lengths do not fit together.
      UserError: the picture cannot be written.

    >>> import tempfile
    >>> images = np.eye(8)[None].repeat(4, axis=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = f"{folder}/episode.png"
    ...     episode_picture(images[:2], [0, 1], images, [0, 0, 1, 1], [0, 1, 1, 1], file)
    ...     Path(file).exists()
    True
    """
    support, shown = _images("support_x", support_x), _labels("support_y", support_y)
    query, true = _images("query_x", query_x), _labels("query_y", query_y)
    predicted = _labels("predictions", predictions)
    for name, labels, images in (
        ("support_y", shown, support),
        ("query_y", true, query),
        ("predictions", predicted, query),
    ):
        if len(labels) != len(images):
            raise ValueError(
                f"{name}: expected one label per image, {len(images)}; got {len(labels)}."
            )
    classes = np.unique(shown).tolist()
    if not classes or not set(true.tolist()) <= set(classes):
        raise ValueError(
            f"query_y: expected classes of the support {classes}, got {np.unique(true).tolist()}."
        )
    if class_names is not None and len(class_names) <= max(classes):
        raise ValueError(
            f"class_names: expected at least {max(classes) + 1} names, got {len(class_names)}."
        )

    def name_of(label: int) -> str:
        return class_names[label] if class_names is not None else _letter(label)

    shots = min(_MOST_SHOTS, max(int((shown == label).sum()) for label in classes))
    depth = min(_MOST_QUERIES, max((int((true == label).sum()) for label in classes), default=0))
    cell = 0.72 if len(classes) <= 10 else 0.5
    top, gap, strip, left = 0.76, 0.06, 0.2, 0.62
    width = max(3.6, left + len(classes) * (cell + gap) + gap)
    height = top + shots * (cell + gap) + gap + depth * (cell + strip) + gap
    with picture(out_png, width=width, height=height, fit=False) as figure:

        def place(row: int, column: int) -> Axes:
            """The cell in this row and column, in inches from the top left corner."""
            down = top + min(row, shots) * (cell + gap)
            if row >= shots:
                down += 2 * gap + (row - shots) * (cell + strip)
            across = left + column * (cell + gap)
            return figure.add_axes(
                (across / width, 1 - (down + cell) / height, cell / width, cell / height)
            )

        def write(text: str, x: float, down: float, **look: Any) -> None:
            figure.text(x / width, 1 - down / height, text, va="center", **look)

        right = int((predicted == true).sum())
        heading = f"{title}:  " * bool(title) + f"{right} of {len(true)} right"
        write(heading, 0.08, 0.17, fontsize=10, fontweight="bold")
        key = "under each query: the class it was taken for"
        write(key, 0.08, 0.36, fontsize=7.5, color=GREY)
        write("support", 0.08, top + cell / 2, fontsize=9)
        if depth:
            write("query", 0.08, top + shots * (cell + gap) + 2 * gap + cell / 2, fontsize=9)
        for column, label in enumerate(classes):
            middle = left + column * (cell + gap) + cell / 2
            write(name_of(label), middle, top - 0.13, ha="center", fontsize=9, fontweight="bold")
            for row, which in enumerate(np.flatnonzero(shown == label)[:shots]):
                _head(place(row, column), support[which])
            for row, which in enumerate(np.flatnonzero(true == label)[:depth]):
                answer = int(predicted[which])
                _answer(place(shots + row, column), query[which], answer == label, name_of(answer))


def _head(axes: Axes, image: np.ndarray) -> None:
    _show(axes, image)
    for spine in axes.spines.values():
        spine.set(visible=True, color=GREY, linewidth=0.8)


def _answer(axes: Axes, image: np.ndarray, right: bool, answer: str) -> None:
    _show(axes, image)
    colour = GREEN if right else VERMILION
    for spine in axes.spines.values():
        spine.set(
            visible=True,
            color=colour,
            linewidth=1.6 if right else 2.2,
            linestyle="-" if right else (0, (2.2, 1.2)),
        )
    axes.set_xlabel(
        f"✓ {answer}" if right else f"✗ {answer}",
        color=colour,
        fontsize=8,
        fontweight="normal" if right else "bold",
        labelpad=2,
    )


def _show(axes: Axes, image: np.ndarray) -> None:
    axes.imshow(image, cmap="gray_r", aspect="auto")
    axes.set(xticks=[], yticks=[])
    axes.grid(False)


def _images(name: str, images: ArrayLike) -> np.ndarray:
    array = np.asarray(images, dtype=float)
    if array.ndim == 4 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 3 and not (array.ndim == 4 and array.shape[-1] == 3):
        raise ValueError(
            f"{name}: expected images [n, height, width] or [n, height, width, 1 or 3], "
            f"got shape {array.shape}."
        )
    if array.ndim == 4 and array.size:  # imshow takes colours in [0, 1] alone
        array = (array - array.min()) / (np.ptp(array) or 1.0)
    return array


def _labels(name: str, labels: ArrayLike) -> np.ndarray:
    array = np.asarray(labels)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"{name}: expected integer classes [n], got {array.dtype} of shape {array.shape}."
        )
    return array


def _letter(label: int) -> str:
    return chr(ord("A") + label) if 0 <= label < 26 else str(label)
