"""One look for every picture: colours that colour-blind readers can tell apart, and how to save."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from jaxfer.typing import UserError

# Okabe and Ito's palette, the darker colours first: they stand out on white.
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
)
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
INK, GREY, PALE = "#222222", "#767676", "#DDDDDD"

_STYLE: Any = {
    "figure.dpi": 150,
    "savefig.dpi": 150,
    "figure.facecolor": "white",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": PALE,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",
}


@contextlib.contextmanager
def picture(
    out_png: str | Path,
    *,
    width: float,
    height: float,
    fit: bool = True,
) -> Iterator[Figure]:
    """Opens a figure in the common style and saves it when the block ends.

    The figure is made without pyplot: no window system is asked for, and nothing global changes.

    Args:
      out_png: the file; its folder is created.
      width: in inches.
      height: in inches.
      fit: find room for titles and labels; False where every axis has been given its place.

    Yields:
      The empty figure.

    Raises:
      UserError: the file cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with picture(f"{folder}/empty.png", width=2, height=1) as figure:
    ...         _ = figure.text(0.5, 0.5, "nothing yet")
    ...     Path(folder, "empty.png").stat().st_size > 0
    True
    """
    path = Path(out_png)
    with matplotlib.rc_context(_STYLE):
        layout = ConstrainedLayoutEngine(wspace=0.04) if fit else None
        figure = Figure(figsize=(width, height), layout=layout)
        yield figure
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, format="png")
        except OSError as error:
            raise UserError(
                f"the picture {path} cannot be written ({error.strerror or error}); "
                f"choose a folder that you may write to."
            ) from error
