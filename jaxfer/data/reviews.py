"""Reviews as counts of words, in svmlight's sparse text form, one domain for each product."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import sklearn.datasets

from jaxfer.data.domains import Domain, make_domain
from jaxfer.data.places import look_for
from jaxfer.typing import LabelledBatch, UserError

CLASSES = ("negative", "positive")

_TRAIN, _TEST = "_train.svmlight", "_test.svmlight"
_SOURCE = "DOMAIN_train.svmlight and DOMAIN_test.svmlight, as published with the DANN paper"


class SparseRows(NamedTuple):
    """Rows of a matrix that is mostly zero, each as its indices and values, padded to one length.

    Attributes:
      indices: int32 ``[n, k]``, ascending; the number of columns where a row has ended.
      values: float32 ``[n, k]``; 0 there.

    >>> SparseRows(np.array([[0, 4]]), np.array([[2.0, 0.0]])).values.tolist()
    [[2.0, 0.0]]
    """

    indices: np.ndarray
    values: np.ndarray


def load_reviews(data_dir: str | Path | None = None) -> dict[str, Domain]:
    r"""Loads all domains of reviews that lie in a folder, as counts of words and pairs of words.

    A domain is two files, ``DOMAIN_train.svmlight`` and ``DOMAIN_test.svmlight``: on each line a
    label (0 or -1, and 1) and ``index:count`` with indices from 0. They may lie in the folder
    directly or in ``amazon_reviews/``.

    Args:
      data_dir: the folder; without it the one that ``JAXFER_DATA_DIR`` names, or the cache.

    Returns:
      The domains by name, ascending: ``x`` float32 ``[n, features]`` with as many features as the
      highest index of any file needs, labels 0 (negative) and 1 (positive).

    Raises:
      UserError: there are none, a file is missing, or one that cannot be read.

    Source:
      Chen, Xu, Weinberger, Sha: Marginalized denoising autoencoders for domain adaptation, ICML
      (2012), whose 5000 features are those of the copy published with the DANN paper.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("toys_train.svmlight", "toys_test.svmlight"):
    ...     _ = (folder / name).write_text("1 0:2 3:1\n-1 1:1\n")
    >>> load_reviews(folder)["toys"].test.x.tolist()
    [[2.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0]]
    """
    folder = look_for(_find, title="reviews", data_dir=data_dir)
    if folder is None:
        where = data_dir or "JAXFER_DATA_DIR or the cache"
        raise UserError(
            f"There are no reviews in {where}; put {_SOURCE}, into a folder and name it."
        )
    names = sorted(path.name.removesuffix(_TRAIN) for path in folder.glob(f"*{_TRAIN}"))
    paths = [folder / f"{name}{end}" for name in names for end in (_TRAIN, _TEST)]
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path.parent} holds no {path.name}; put it beside its other half.")
    try:
        # All at once, so that all have the same number of features; and never "auto", which takes
        # indices to begin at 1 where no 0 happens to occur.
        loaded = sklearn.datasets.load_svmlight_files(paths, dtype=np.float32, zero_based=True)
    except (ValueError, OverflowError, OSError) as error:
        raise UserError(
            f"{_unreadable(paths)} cannot be read as svmlight ({error}); replace it."
        ) from error
    batches = [
        LabelledBatch(x.toarray(), _labels(path, y))
        for path, x, y in zip(paths, loaded[::2], loaded[1::2], strict=True)
    ]
    return {
        name: make_domain(
            name, train, test, classes=CLASSES,
            origin=f"Reviews of {name} in {folder}, {train.x.shape[1]} counts each.",
        )
        for name, train, test in zip(names, batches[::2], batches[1::2], strict=True)
    }  # fmt: skip


def sparse_rows(x: np.ndarray, *, width: int | None = None) -> SparseRows:
    """Keeps what is not zero in each row, for a layer that multiplies nothing else.

    Args:
      x: ``[n, features]``.
      width: entries to keep room for, at least as many as the fullest row has; without it exactly
        those.

    Returns:
      The rows; an index of ``features`` is padding.

    Raises:
      ValueError: another number of axes, or a row that does not fit.

    >>> sparse_rows(np.array([[0.0, 3.0, 5.0], [0.0, 0.0, 0.0]])).indices.tolist()
    [[1, 2], [3, 3]]
    """
    x = np.asarray(x)
    if x.ndim != 2:
        raise ValueError(f"x must be [n, features]; got {x.shape}.")
    rows, columns = np.nonzero(x)
    counts = np.bincount(rows, minlength=len(x))
    fullest = int(counts.max(initial=0))
    width = fullest if width is None else width
    if fullest > width:
        raise ValueError(
            f"width must be at least {fullest}, the fullest row's entries; got {width}."
        )
    places = np.arange(len(rows)) - (np.cumsum(counts) - counts)[rows]
    indices = np.full((len(x), width), x.shape[1], np.int32)
    values = np.zeros((len(x), width), np.float32)
    indices[rows, places] = columns
    values[rows, places] = x[rows, columns]
    return SparseRows(indices, values)


def _find(folder: Path) -> Path | None:
    for place in (folder / "amazon_reviews", folder):
        if any(place.glob(f"*{_TRAIN}")):
            return place
    return None


def _labels(path: Path, labels: np.ndarray) -> np.ndarray:
    seen = sorted(set(labels.tolist()))
    if not (set(seen) <= {0, 1} or set(seen) <= {-1, 1}):
        raise UserError(
            f"{path} has labels other than 0 or -1 for negative and 1 for positive: "
            f"{', '.join(f'{label:g}' for label in seen[:5])}; replace them."
        )
    return (labels > 0).astype(np.int32)


def _unreadable(paths: list[Path]) -> Path:
    for path in paths:
        try:
            sklearn.datasets.load_svmlight_file(path, zero_based=True)
        except (ValueError, OverflowError, OSError):
            return path
    return paths[0].parent
