"""The null distribution of a two-sample test, and where the observed statistic stands."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from jaxfer.report.style import GREY, SKY, VERMILION, picture

QUANTILE = 0.95

# Where the observed value lies further out than so many widths of the null distribution, the axis
# is broken: it would squeeze that distribution into a line.
_FAR = 3.0


def null_distribution(
    null: ArrayLike,
    statistic: float,
    p_value: float,
    out_png: str | Path,
    *,
    statistic_name: str = "MMD squared",
    title: str = "",
) -> None:
    """Draws what a statistic would be without a difference, its 95% quantile, and what it is.

    Args:
      null: ``[permutations]``, the statistic of random divisions of the pooled points.
      statistic: as observed.
      p_value: of the test.
      out_png: the picture to write.
      statistic_name: what the statistic is called.
      title: stands above the picture.

    Raises:
      ValueError: the null distribution is not one axis of at least one number.
      UserError: the picture cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     null_distribution(np.linspace(-1, 1, 99), 1.5, 0.01, f"{folder}/null.png")
    ...     Path(folder, "null.png").exists()
    True
    """
    null = np.asarray(null, dtype=float)
    if null.ndim != 1 or not len(null):
        raise ValueError(f"null: expected shape [permutations], got {null.shape}.")
    low, high, quantile = null.min(), null.max(), float(np.quantile(null, QUANTILE))
    width = (high - low) or abs(high) or 1.0
    broken = statistic > high + _FAR * width
    with picture(out_png, width=7.0, height=3.1) as figure:
        figure.suptitle(
            title or "Would it be as large without a shift?",
            fontsize=11,
            fontweight="bold",
            x=0.01,
            ha="left",
        )
        panels = figure.subplots(
            1, 1 + broken, squeeze=False, sharey=True, width_ratios=[3.2, 1][: 1 + broken]
        )[0]
        axes = panels[0]
        bins = min(40, max(8, int(np.sqrt(len(null)))))
        axes.hist(null, bins=bins, range=(low, low + width), color=SKY, alpha=0.75)
        axes.axvline(quantile, color=GREY, linestyle="--", linewidth=1.3)
        # Before the line where the observed value stands close behind it.
        near = not broken and 0 < statistic - quantile < 0.4 * (max(high, statistic) - low)
        axes.set_ylabel("permutations")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        axes.set_ylim(0, axes.get_ylim()[1] * 1.4)
        _tag(axes, quantile, f"{QUANTILE:.0%} below {_number(quantile)}", GREY, 0.78, left=near)
        axes.set_xlabel(f"{statistic_name} after dealing the points to two sides at random")
        end = high if broken else max(high, statistic)
        axes.set_xlim(min(low, statistic) - 0.04 * width, end + 0.3 * (end - low or width))
        if broken:
            beyond = panels[1]
            beyond.set_xlim(0.6 * statistic, 1.4 * statistic)
            beyond.set_xticks([statistic], [_number(statistic)])
            beyond.spines["left"].set_visible(False)
            beyond.tick_params(left=False, labelleft=False)
            _break(panels)
        observed = panels[-1]
        observed.axvline(statistic, color=VERMILION, linewidth=2.2)
        text = f"observed {_number(statistic)}\np = {p_value:.2g}"
        _tag(observed, statistic, text, VERMILION, 0.92, left=broken)


def _tag(axes: Axes, x: float, text: str, colour: str, up: float, *, left: bool = False) -> None:
    axes.annotate(
        text,
        (x, up),
        xycoords=("data", "axes fraction"),
        xytext=(-5 if left else 5, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        va="center",
        fontsize=8.5,
        color=colour,
        fontweight="bold" if colour == VERMILION else "normal",
    )


def _number(value: float) -> str:
    return f"{value:.2g}".replace("-", "\N{MINUS SIGN}", 1 if value < 0 else 0)


def _break(panels: np.ndarray) -> None:
    """Two slanted strokes where the axis leaves something out."""
    for axes, end in zip(panels, (1, 0), strict=True):
        axes.plot(
            [end],
            [0],
            transform=axes.transAxes,
            marker=[(-1, -1.6), (1, 1.6)],
            markersize=9,
            markeredgecolor=GREY,
            linestyle="none",
            clip_on=False,
        )
