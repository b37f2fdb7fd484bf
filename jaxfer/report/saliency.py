"""Pictures of what single predictions turned on: words of a text, and places of an image."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import ArrayLike

from jaxfer.report.style import BLUE, GREEN, INK, VERMILION, picture

_FOR_AND_AGAINST = LinearSegmentedColormap.from_list("saliency", [VERMILION, "white", BLUE])
_SHARE = LinearSegmentedColormap.from_list("share", ["white", GREEN])
_OVERLAY = LinearSegmentedColormap.from_list("overlay", [f"{GREEN}00", f"{GREEN}CC"])
_LETTERS = 105  # of a line
_LINES = 5  # of a text at most


class TextSaliency(NamedTuple):
    """A text and what its prediction turned on.

    Attributes:
      title: what was predicted, and what is true.
      tokens: as they are to be read.
      scores: ``[tokens]``, above 0 what spoke for the prediction; or shares of the tokens.

    >>> TextSaliency("good, right", ("fine",), [1.0]).tokens
    ('fine',)
    """

    title: str
    tokens: Sequence[str]
    scores: ArrayLike


class ImageSaliency(NamedTuple):
    """An image and what its prediction turned on.

    Attributes:
      title: what was predicted, and what is true.
      image: ``[height, width]`` of any numbers, or ``[height, width, channels]`` of uint8.
      scores: ``[height, width]``, above 0 what spoke for the prediction; or shares, of pixels or of
        larger patches ``[rows, columns]``.

    >>> ImageSaliency("3, right", np.zeros((2, 2)), np.zeros((2, 2))).title
    '3, right'
    """

    title: str
    image: ArrayLike
    scores: ArrayLike


def text_saliency(
    rows: Sequence[TextSaliency], out_png: str | Path, *, title: str = "", signed: bool = True
) -> None:
    """Draws texts, each token on a ground as blue as it spoke for the prediction, orange against.

    Shares, which speak neither for nor against, are drawn from white, the least of a text, to
    green, the greatest.

    Args:
      rows: at least one. Of a long text the beginning is drawn.
      out_png: the picture to write.
      title: stands above.
      signed: whether scores speak for and against; False for shares.

    Raises:
      ValueError: no rows, or scores that do not fit the tokens.
      UserError: the picture cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     text_saliency([TextSaliency("good", ("fine", "day"), [1.0, -0.1])], f"{folder}/a.png")
    ...     Path(folder, "a.png").exists()
    True
    """
    if not rows:
        raise ValueError("rows must hold at least one text.")
    laid = [_lines(row, signed) for row in rows]
    heights = [1.6 + len(lines) for lines in laid]
    total = sum(heights) + (1.5 if title else 0.3)
    with picture(out_png, width=9, height=0.24 * total, fit=False) as figure:
        top = 1 - (1.2 if title else 0.2) / total
        if title:
            figure.text(0.01, 1 - 0.7 / total, title, fontsize=11, fontweight="bold", va="center")
        for row, lines, height in zip(rows, laid, heights, strict=True):
            figure.text(0.01, top - 0.5 / total, row.title, fontweight="bold", va="center")
            for number, line in enumerate(lines, 1):
                x = 0.01
                for token, score in line:
                    colour = _FOR_AND_AGAINST(0.5 + 0.4 * score) if signed else _SHARE(0.8 * score)
                    box = {"facecolor": colour, "edgecolor": "none", "pad": 0.8}
                    figure.text(
                        x, top - (0.5 + number) / total, token, family="monospace", fontsize=7.5,
                        color=INK, va="center", bbox=box,
                    )  # fmt: skip
                    x += 0.98 * (len(token) + 1) / _LETTERS
            top -= height / total


def image_saliency(
    rows: Sequence[ImageSaliency], out_png: str | Path, *, title: str = "", signed: bool = True
) -> None:
    """Draws images, and below each the places that spoke for its prediction, blue, or against it.

    Shares, which speak neither for nor against, are laid over the image in grey, from clear, the
    least of an image, to green, the greatest.

    Args:
      rows: at least one.
      out_png: the picture to write.
      title: stands above.
      signed: whether scores speak for and against; False for shares.

    Raises:
      ValueError: no rows.
      UserError: the picture cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     row = ImageSaliency("3", np.zeros((4, 4), np.uint8), np.ones((4, 4)))
    ...     image_saliency([row], f"{folder}/a.png")
    ...     Path(folder, "a.png").exists()
    True
    """
    if not rows:
        raise ValueError("rows must hold at least one image.")
    with picture(out_png, width=max(3.0, 1.3 * len(rows)), height=3.2) as figure:
        if title:
            figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
        axes = figure.subplots(2, len(rows), squeeze=False)
        for column, row in enumerate(rows):
            image, scores = np.squeeze(np.asarray(row.image)), np.asarray(row.scores, float)
            above, below = axes[:, column]
            above.imshow(image, cmap="gray" if image.ndim == 2 else None)
            above.set_title(row.title, fontsize=7)
            if signed:
                most = float(np.abs(scores).max()) or 1.0
                below.imshow(scores, cmap=_FOR_AND_AGAINST, vmin=-most, vmax=most)
            else:
                height, width = image.shape[:2]
                light = image if image.ndim == 2 else image.mean(-1)
                below.imshow(light, cmap="gray", vmin=0, vmax=255)
                extent = (-0.5, width - 0.5, height - 0.5, -0.5)
                below.imshow(_shares(scores), cmap=_OVERLAY, vmin=0, vmax=1, extent=extent)
            for axis in (above, below):
                axis.set_axis_off()


def _shares(scores: np.ndarray) -> np.ndarray:
    """From 0, the least, to 1, the greatest; 0 where all are equal but for rounding."""
    least, most = scores.min(initial=np.inf), scores.max(initial=-np.inf)
    uneven = most - least > 1e-5 * abs(most)
    return (scores - least) / (most - least) if uneven else 0 * scores


def _lines(row: TextSaliency, signed: bool) -> list[list[tuple[str, float]]]:
    """Tokens with how strongly they are drawn, broken into lines."""
    scores = np.asarray(row.scores, float)
    if scores.shape != (len(row.tokens),):
        raise ValueError(
            f"scores must hold one number for each of {len(row.tokens)} tokens; their shape is "
            f"{scores.shape}."
        )
    most = float(np.abs(scores).max(initial=0)) or 1.0
    scores = scores / most if signed else _shares(scores)
    lines: list[list[tuple[str, float]]] = [[]]
    used = 0
    for token, score in zip(row.tokens, scores, strict=True):
        token = str(token).replace("$", r"\$") or " "
        if used + len(token) + 1 > _LETTERS:
            if len(lines) == _LINES:
                break
            lines.append([])
            used = 0
        lines[-1].append((token, float(score)))
        used += len(token) + 1
    return lines
