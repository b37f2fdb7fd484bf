"""Features of both domains, before and after adaptation, drawn by PCA and t-SNE."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from jaxfer.report.style import COLOURS, GREY, INK, picture

_MORE_COLOURS = ("#882255", "#999933", "#000000", "#8C6D31")
"""Dark enough and different enough to stand beside the palette's six."""

_PALETTE = (*COLOURS, *_MORE_COLOURS)
_NEIGHBOURS = 10
_PERPLEXITY = 30


def feature_scatter(
    before: tuple[ArrayLike, ArrayLike],
    after: tuple[ArrayLike, ArrayLike],
    out_png: str | Path,
    *,
    source_labels: ArrayLike,
    target_labels: ArrayLike | None = None,
    class_names: Sequence[str] = (),
    names: tuple[str, str] = ("before", "after"),
    max_points: int = 200,
    seed: int = 0,
    title: str = "",
) -> None:
    """Draws the features of source and target before and after adaptation, by PCA and by t-SNE.

    Colour is the class, with its name at the middle of the source's points; a dot is a source
    example, a cross a target one; with more than ten classes colours repeat, without names. Each
    column says how well the domains mix: the share of an example's 10 nearest neighbours, among the
    points that are drawn and in all dimensions, that come from the other domain, against one half
    for domains that cannot be told apart.

    PCA keeps distances as far as two dimensions can; t-SNE keeps neighbours, and its distances
    between groups mean nothing.

    Args:
      before: features ``[n, d]`` of the source and ``[m, d]`` of the target, such as source-only's.
      after: the same examples by the adapted network; ``d`` may differ.
      out_png: the picture to write.
      source_labels: ``[n]``, integers from 0.
      target_labels: ``[m]``, for the reader alone; ``None`` draws the target in grey.
      class_names: by default the classes are numbered from 0.
      names: of the columns.
      max_points: drawn of each domain at most, by chance but the same before and after; as many of
        both. Time grows with the square: some seconds for 200.
      seed: of that choice, and of t-SNE.
      title: stands above the picture.

    Raises:
      ValueError: arrays do not fit together, hold what is not finite, or have fewer than 4 examples
        a side; names do not fit.
      UserError: the picture cannot be written.

    >>> import tempfile
    >>> draw = np.random.default_rng(0)
    >>> source, target = draw.normal(size=(8, 3)), draw.normal(size=(8, 3)) + 1
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = f"{folder}/features.png"
    ...     feature_scatter((source, target), (source, target), file, source_labels=[0, 1] * 4)
    ...     Path(file).exists()
    True
    """
    sides = [_pair(name, pair) for name, pair in (("before", before), ("after", after))]
    sizes = [len(sample) for sample in sides[0]]
    if [len(sample) for sample in sides[1]] != sizes:
        raise ValueError(
            f"before and after must be of the same examples; before has {sizes} of source and "
            f"target, after {[len(sample) for sample in sides[1]]}."
        )
    labels = [_labels("source_labels", source_labels, sizes[0])]
    if target_labels is not None:
        labels.append(_labels("target_labels", target_labels, sizes[1]))
    classes = 1 + max(int(each.max()) for each in labels)
    if class_names and len(class_names) < classes:
        raise ValueError(
            f"class_names: expected at least {classes} of them, got {len(class_names)}."
        )
    words = [str(name) for name in class_names] or [str(index) for index in range(classes)]
    draw = np.random.default_rng(seed)
    count = min(max_points, *sizes)
    drawn = [np.sort(draw.choice(size, count, replace=False)) for size in sizes]
    source_classes = labels[0][drawn[0]]
    target_classes = labels[1][drawn[1]] if len(labels) > 1 else None
    with picture(out_png, width=9.4, height=9.0) as figure:
        if title:
            figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
        grid = figure.subplots(2, 2)
        for column, (pair, name) in enumerate(zip(sides, names, strict=True)):
            points = np.concatenate([pair[side][drawn[side]] for side in (0, 1)])
            mixed = _mixing(points, count)
            for row, (method, places) in enumerate(
                (("PCA", _pca(points)), ("t-SNE", _tsne(points, seed)))
            ):
                axes = grid[row, column]
                _panel(axes, places[:count], places[count:], source_classes, target_classes, words)
                if row == 0:
                    axes.set_title(f"{name}: {mixed:.0%} of neighbours from the other domain")
                if column == 0:
                    axes.set_ylabel(method, fontsize=10, fontweight="bold")
        figure.legend(handles=_legend(target_classes), loc="outside lower center", ncols=3)


def _panel(
    axes: Axes,
    source: np.ndarray,
    target: np.ndarray,
    source_classes: np.ndarray,
    target_classes: np.ndarray | None,
    words: Sequence[str],
) -> None:
    many = len(words) > len(_PALETTE)

    def colours(classes: np.ndarray | None, size: int) -> list[str]:
        if classes is None:
            return [GREY] * size
        return [_PALETTE[label % len(_PALETTE)] for label in classes]

    axes.scatter(
        source[:, 0],
        source[:, 1],
        c=colours(source_classes, len(source)),
        s=20,
        alpha=0.45,
        linewidths=0,
        zorder=2,
    )
    axes.scatter(
        target[:, 0],
        target[:, 1],
        c=colours(target_classes, len(target)),
        s=22,
        marker="x",
        linewidths=1.0,
        zorder=3,
    )
    if not many:
        for label in np.unique(source_classes):
            across, up = np.median(source[source_classes == label], axis=0)
            axes.text(
                across,
                up,
                words[label],
                fontsize=11,
                fontweight="bold",
                color=_PALETTE[label],
                ha="center",
                va="center",
                zorder=5,
                path_effects=[patheffects.withStroke(linewidth=3, foreground="white")],
            )
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(True)


def _legend(target_classes: np.ndarray | None) -> list[Line2D]:
    colour = INK if target_classes is not None else GREY
    dot: dict[str, Any] = {"linestyle": "", "markersize": 6}
    return [
        Line2D([], [], marker="o", color=INK, alpha=0.5, markeredgewidth=0, label="source", **dot),
        Line2D([], [], marker="x", color=colour, label="target", **dot),
        Line2D([], [], linestyle="", label="colour: class"),
    ]


def _mixing(points: np.ndarray, count: int) -> float:
    """The share of nearest neighbours from the other domain, the first ``count`` being one."""
    square = (points**2).sum(1)
    distances = square[:, None] + square - 2 * points @ points.T
    np.fill_diagonal(distances, np.inf)
    near = np.argsort(distances, axis=1, kind="stable")[:, : min(_NEIGHBOURS, len(points) - 1)]
    domain = np.arange(len(points)) >= count
    return float((domain[near] != domain[:, None]).mean())


def _pca(points: np.ndarray) -> np.ndarray:
    from sklearn.decomposition import PCA

    two = PCA(n_components=min(2, points.shape[1]), random_state=0).fit_transform(points)
    return two if two.shape[1] == 2 else np.column_stack([two, np.zeros(len(two))])


def _tsne(points: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE

    # The exact method: the approximate one spins in OpenMP, and takes a minute for a few hundred
    # points wherever another process has the cores.
    model = TSNE(
        perplexity=min(_PERPLEXITY, (len(points) - 1) / 3),
        init="pca" if points.shape[1] > 1 else "random",
        learning_rate="auto",
        method="exact",
        random_state=seed,
    )
    return np.asarray(model.fit_transform(points))


def _pair(name: str, pair: tuple[ArrayLike, ArrayLike]) -> tuple[np.ndarray, np.ndarray]:
    source, target = (np.asarray(sample, float) for sample in pair)
    if source.ndim != 2 or target.ndim != 2 or source.shape[1] != target.shape[1]:
        raise ValueError(
            f"{name} must be features [n, d] of the source and [m, d] of the target; their shapes "
            f"are {source.shape} and {target.shape}."
        )
    if min(len(source), len(target)) < 4:
        raise ValueError(
            f"{name} must hold at least 4 examples of each domain; it has {len(source)} and "
            f"{len(target)}."
        )
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        raise ValueError(f"{name} must be finite; it holds NaN or infinity.")
    return source, target


def _labels(name: str, labels: ArrayLike, size: int) -> np.ndarray:
    array = np.asarray(labels)
    if not np.issubdtype(array.dtype, np.integer) or array.shape != (size,) or array.min() < 0:
        raise ValueError(
            f"{name} must hold {size} integers from 0, one for each example; "
            f"it is {array.dtype} {array.shape}."
        )
    return array
