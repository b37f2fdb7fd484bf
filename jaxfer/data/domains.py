"""A domain: examples to train on and examples to be judged by, from one distribution."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxfer.typing import LabelledBatch, UserError


class Domain(NamedTuple):
    """Examples of one distribution, with labels or without, as NumPy arrays.

    Attributes:
      name: such as ``"mnist"``.
      train: ``x [n, ...]`` with labels ``y`` int32 ``[n]``; images are uint8
        ``[n, height, width, channels]``. Without labels ``y`` is ``None``, and no accuracy can be
        claimed.
      test: the same of examples that are not in ``train``.
      classes: name of each label.
      origin: one sentence: what it is, and what was done to it.
      checksum: sha256 of the examples and labels.

    >>> x, y = np.zeros((3, 8, 8, 1), np.uint8), np.array([0, 1, 1], np.int32)
    >>> parts = LabelledBatch(x[:2], y[:2]), LabelledBatch(x[2:], y[2:])
    >>> Domain("shapes", *parts, ("a", "b"), "Three.", "").test.y.tolist()
    [1]
    """

    name: str
    train: LabelledBatch
    test: LabelledBatch
    classes: tuple[str, ...]
    origin: str
    checksum: str


def make_domain(
    name: str,
    train: LabelledBatch,
    test: LabelledBatch,
    *,
    classes: Sequence[str],
    origin: str,
) -> Domain:
    """Puts a domain together, checked: examples of one shape, labels within the classes.

    Args:
      name: of the domain.
      train: ``x [n, ...]`` and ``y [n]``, or ``y`` ``None``.
      test: the same.
      classes: name of each label.
      origin: one sentence: what it is.

    Returns:
      The domain, its labels as int32.

    Raises:
      UserError: no example, or a label that is none of the classes.
      ValueError: shapes that do not fit.

    >>> batch = LabelledBatch(np.zeros((2, 4)), np.array([0, 7]))
    >>> make_domain("pets", batch, batch, classes=("cat", "dog"), origin="")
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: pets, train: label 7 is outside of 0 to 1, its 2 classes.
    """
    parts = []
    for part, (x, y) in (("train", train), ("test", test)):
        x = np.asarray(x)
        if not len(x):
            raise UserError(f"{name}, {part}: holds no example; at least 1 is needed.")
        if y is not None:
            y = np.asarray(y)
            if y.shape != (len(x),) or y.dtype.kind not in "iu":
                raise ValueError(
                    f"{name}, {part}: y must be integers of shape ({len(x)},), a label for each "
                    f"example; got {y.dtype} of shape {y.shape}."
                )
            wrong = y[(y < 0) | (y >= len(classes))]
            if len(wrong):
                raise UserError(
                    f"{name}, {part}: label {wrong[0]} is outside of 0 to {len(classes) - 1}, its "
                    f"{len(classes)} classes."
                )
            y = y.astype(np.int32)
        parts.append(LabelledBatch(x, y))
    if parts[0].x.shape[1:] != parts[1].x.shape[1:]:
        raise ValueError(
            f"{name}: examples of train and test must have one shape; got {parts[0].x.shape[1:]} "
            f"and {parts[1].x.shape[1:]}."
        )
    return Domain(name, parts[0], parts[1], tuple(classes), origin, _checksum(parts))


def join_domains(domains: Sequence[Domain], *, name: str) -> Domain:
    """Puts several domains of the same classes together, one after another.

    Args:
      domains: at least one; their examples of one shape.
      name: of the result.

    Returns:
      The domain; without labels if one of them has none.

    Raises:
      ValueError: no domain, or classes that differ.

    >>> batch = LabelledBatch(np.zeros((2, 4)), np.array([0, 1]))
    >>> one = make_domain("one", batch, batch, classes=("a", "b"), origin="Zeros.")
    >>> join_domains([one, one], name="both").train.y.tolist()
    [0, 1, 0, 1]
    """
    if not domains or len({domain.classes for domain in domains}) > 1:
        raise ValueError(
            f"domains must be one or more of the same classes; got "
            f"{[domain.classes for domain in domains]}."
        )
    parts = []
    for batches in ([d.train for d in domains], [d.test for d in domains]):
        labels = [batch.y for batch in batches]
        bare = any(y is None for y in labels)
        x = np.concatenate([batch.x for batch in batches])
        parts.append(LabelledBatch(x, None if bare else np.concatenate(labels)))
    origin = " ".join(domain.origin for domain in domains)
    return make_domain(name, parts[0], parts[1], classes=domains[0].classes, origin=origin)


def train_test_indices(
    labels: np.ndarray | int, *, test_share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Deals examples into training and test at random, of each class the same share.

    Args:
      labels: ``[n]``, or the number of examples where there are no labels.
      test_share: part of every class that goes to the test, rounded; in (0, 1). A class of two or
        more has at least one example in either.
      seed: of NumPy's generator.

    Returns:
      Indices of both parts, ascending.

    Raises:
      UserError: fewer than 2 examples.
      ValueError: a share outside of (0, 1).

    >>> train, test = train_test_indices(np.repeat([0, 1], 10), test_share=0.2, seed=0)
    >>> len(train), np.bincount(np.repeat([0, 1], 10)[test]).tolist()
    (16, [2, 2])
    """
    if not 0 < test_share < 1:
        raise ValueError(f"test_share must lie between 0 and 1; got {test_share}.")
    labels = np.zeros(labels, np.int32) if isinstance(labels, int) else labels
    if len(labels) < 2:
        raise UserError(
            f"{len(labels)} examples cannot be dealt into training and test; give at least 2."
        )
    generator = np.random.default_rng(seed)
    chosen = []
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        number = min(max(1, round(test_share * len(members))), len(members) - 1)
        chosen.append(members[:number])
    test = np.sort(np.concatenate(chosen))
    if not len(test):  # every class is of one example
        test = generator.integers(len(labels), size=1)
    return np.setdiff1d(np.arange(len(labels)), test), test


def _checksum(parts: Sequence[LabelledBatch]) -> str:
    digest = hashlib.sha256()
    for array in (array for part in parts for array in part if array is not None):
        digest.update(f"{array.dtype.str} {array.shape}\0".encode())
        if array.dtype == object:  # texts
            digest.update("\0".join(array.tolist()).encode("utf-8", "surrogatepass"))
        else:
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
