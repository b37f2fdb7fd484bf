"""Where two samples differ: the examples most unlike the other side, or the features that moved."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from jaxfer.report.style import BLUE, GREY, INK, VERMILION, picture

_MOST_FEATURES = 12
_MOST_LETTERS = 28  # of a feature's name


def witness_images(
    source_images: ArrayLike,
    source_values: ArrayLike,
    target_images: ArrayLike,
    target_values: ArrayLike,
    out_png: str | Path,
    *,
    source_mean: ArrayLike | None = None,
    target_mean: ArrayLike | None = None,
    names: tuple[str, str] = ("source", "target"),
    ink: bool = False,
    title: str = "",
    note: str = "",
) -> None:
    """Draws two rows: the images of each side that are most unlike the other side.

    Below each stands its witness value: how much denser the source is there than the target, as the
    kernel sees it. Where one side lies closer together than the other, it may be the denser one at
    the examples of both.

    Args:
      source_images, target_images: ``[k, height, width]`` or ``[k, height, width, 1 or 3]``, each
        row of one size; uint8, or floating point in [0, 1].
      source_values, target_values: ``[k]``, their witness values.
      out_png: the picture to write.
      source_mean, target_mean: ``[height, width]`` or with channels: the mean of all images of a
        side, drawn before its row.
      names: of the two sides.
      ink: the largest value of a grey image is black instead of white.
      title: stands above the picture.
      note: a line below the title.

    Raises:
      ValueError: shapes or lengths do not fit together.
      UserError: the picture cannot be written.

    >>> import tempfile
    >>> images = np.random.default_rng(0).random((4, 8, 8))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = f"{folder}/witness.png"
    ...     witness_images(images, [0.4, 0.3, 0.2, 0.1], images, [-0.4, -0.3, -0.2, -0.1], file)
    ...     Path(file).exists()
    True
    """
    rows = [
        _row("source", source_images, source_values, source_mean),
        _row("target", target_images, target_values, target_mean),
    ]
    names = _shorten(names[0]), _shorten(names[1])
    with_mean = source_mean is not None or target_mean is not None
    columns = max(len(images) for images, _, _ in rows)
    cell, gap, strip, left, head = 1.0, 0.08, 0.24, 0.16, 0.6
    row_title = 0.3
    first = left + with_mean * (cell + 4 * gap)
    width = max(8.0, first + columns * (cell + gap) + left)
    row_height = row_title + cell + strip
    height = head + 2 * row_height + 0.1
    with picture(out_png, width=width, height=height, fit=False) as figure:

        def place(down: float, across: float) -> Axes:
            return figure.add_axes(
                (across / width, 1 - (down + cell) / height, cell / width, cell / height)
            )

        def write(text: str, across: float, down: float, **look: Any) -> None:
            figure.text(across / width, 1 - down / height, text, va="center", **look)

        signed = _signed(np.concatenate([rows[0][1], rows[1][1]]))
        write(title or "Where they differ", left, 0.2, fontsize=11, fontweight="bold")
        write(note, left, 0.44, fontsize=8, color=GREY)
        for index, ((images, values, mean), name) in enumerate(zip(rows, names, strict=True)):
            colour, other = (BLUE, VERMILION)[index], names[1 - index]
            top = head + index * row_height
            down = top + row_title
            write(name, left, top + 0.14, fontsize=10, fontweight="bold", color=colour)
            if mean is not None:
                _show(place(down, left), mean, ink, GREY)
                write("mean of all", left + cell / 2, down + cell + 0.11, fontsize=8, ha="center")
            beside = max(first, left + 0.095 * len(name) + 0.25)
            write(f"most unlike {other}", beside, top + 0.14, fontsize=8.5, color=GREY)
            for column, (image, value) in enumerate(zip(images, values, strict=True)):
                across = first + column * (cell + gap)
                _show(place(down, across), image, ink, colour)
                middle, below = across + cell / 2, down + cell + 0.11
                write(signed(value), middle, below, fontsize=8, ha="center")


def witness_features(
    source_values: ArrayLike,
    target_values: ArrayLike,
    differences: ArrayLike,
    out_png: str | Path,
    *,
    feature_names: Sequence[str] = (),
    names: tuple[str, str] = ("source", "target"),
    title: str = "",
) -> None:
    """Draws how the witness values of both sides are distributed, and the features that moved most.

    Args:
      source_values, target_values: ``[n]`` and ``[m]``, the witness function at the points; NaN
        where it was not computed.
      differences: ``[d]``, for each feature the target's mean less the source's, in standard
        deviations.
      out_png: the picture to write.
      feature_names: ``d`` of them; by default they are numbered from 1.
      names: of the two sides.
      title: stands above the picture.

    Raises:
      ValueError: there are not as many names as features.
      UserError: the picture cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = f"{folder}/witness.png"
    ...     witness_features([0.1, 0.2], [-0.1, 0.0], [1.5, -0.2], file)
    ...     Path(file).exists()
    True
    """
    names = _shorten(names[0]), _shorten(names[1])
    differences = np.asarray(differences, dtype=float)
    if feature_names and len(feature_names) != len(differences):
        raise ValueError(
            f"feature_names: expected {len(differences)} of them, one per feature, got "
            f"{len(feature_names)}."
        )
    shown = np.argsort(-np.abs(differences), kind="stable")[:_MOST_FEATURES]
    height = max(3.2, 1.3 + 0.23 * len(shown))
    with picture(out_png, width=9.2, height=height) as figure:
        if title:
            figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
        left, right = figure.subplots(1, 2, width_ratios=[1.15, 1])
        _distributions(figure, left, source_values, target_values, names)
        for place, feature in enumerate(shown):
            value = differences[feature]
            right.barh(place, value, height=0.62, color=VERMILION if value > 0 else BLUE)
            beside = 3 if value >= 0 else -3
            right.annotate(
                f"{value:+.2f}".replace("-", "\N{MINUS SIGN}"),
                (value, place),
                xytext=(beside, 0),
                textcoords="offset points",
                ha="left" if value >= 0 else "right",
                va="center",
                fontsize=8,
            )
        labels = feature_names or [f"feature {i + 1}" for i in range(len(differences))]
        right.set_yticks(range(len(shown)), [_shorten(labels[i]) for i in shown])
        right.set_ylim(len(shown) - 0.4, -0.6)
        right.axvline(0, color=GREY, linewidth=0.8)
        right.grid(axis="y", visible=False)
        right.margins(x=0.22)
        right.set_title("features that moved most")
        right.set_xlabel(f"standard deviations\nto the right: higher in {names[1]}")


def _distributions(
    figure: Figure,
    axes: Axes,
    source_values: ArrayLike,
    target_values: ArrayLike,
    names: tuple[str, str],
) -> None:
    sides = [np.asarray(values, dtype=float) for values in (source_values, target_values)]
    sides = [values[np.isfinite(values)] for values in sides]
    both = np.concatenate(sides)
    bins = np.histogram_bin_edges(both, bins=min(40, max(8, int(np.sqrt(len(both)))))).tolist()
    for values, name, colour, line in zip(
        sides, names, (BLUE, VERMILION), ("-", "--"), strict=True
    ):
        share = np.full(len(values), 1 / len(values))
        axes.hist(values, bins=bins, weights=share, color=colour, alpha=0.3)
        axes.hist(
            values,
            bins=bins,
            weights=share,
            histtype="step",
            color=colour,
            linestyle=line,
            linewidth=1.5,
            label=name,
        )
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_title("witness values of the points")
    axes.set_xlabel(f"negative: denser in {names[1]}\npositive: denser in {names[0]}")
    axes.set_ylabel("share of the points")
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.set_ylim(0, axes.get_ylim()[1] * 1.18)
    axes.legend(loc="best")


def _row(
    name: str, images: ArrayLike, values: ArrayLike, mean: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    array, numbers = _images(f"{name}_images", images, rank=3), np.asarray(values, dtype=float)
    if numbers.shape != array.shape[:1]:
        raise ValueError(
            f"{name}_values: expected one for each of {len(array)} images; got shape "
            f"{numbers.shape}."
        )
    return array, numbers, None if mean is None else _images(f"{name}_mean", mean, rank=2)


def _images(name: str, images: ArrayLike, *, rank: int) -> np.ndarray:
    array = np.asarray(images)
    if array.ndim == rank + 1 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != rank and not (array.ndim == rank + 1 and array.shape[-1] == 3):
        raise ValueError(
            f"{name}: expected {'images [k, ' if rank == 3 else '['}height, width] with 1, 3 or no "
            f"channels, got shape {array.shape}."
        )
    return array / 255.0 if array.dtype == np.uint8 else np.clip(array, 0, 1)


def _show(axes: Axes, image: np.ndarray, ink: bool, colour: str) -> None:
    few = max(image.shape[:2]) < 64  # pixels, to be seen as such
    axes.imshow(
        image,
        cmap="gray_r" if ink else "gray",
        vmin=0,
        vmax=1,
        interpolation="nearest" if few else "antialiased",
    )
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set(visible=True, color=colour, linewidth=1.4)


def _signed(values: np.ndarray) -> Callable[[float], str]:
    """How to write these numbers: with a sign, and the decimals that the largest of them needs."""
    largest = float(np.abs(values).max(initial=0))
    decimals = 2 if largest >= 0.1 or largest == 0 else 1 - math.floor(math.log10(largest))
    return lambda value: f"{value:+.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def _shorten(name: str) -> str:
    return name if len(name) <= _MOST_LETTERS else f"{name[: _MOST_LETTERS - 1]}…"
