"""Domains with some of their classes: for partial and for open-set adaptation."""

from collections.abc import Callable, Sequence

import numpy as np

from jaxfer.data.domains import Domain, make_domain
from jaxfer.typing import LabelledBatch

UNKNOWN_CLASS = "unknown"


def keep_classes(domain: Domain, kept: Sequence[str]) -> Domain:
    """Keeps the examples of some classes, and the labels as they are: a partial target.

    Args:
      domain: with labels.
      kept: names of the classes to keep.

    Returns:
      A domain of the same ``classes``, of which only those kept occur.

    Raises:
      ValueError: no labels, no class, or a class that there is not.

    Source: Cao et al. 2018 (PADA), where the target has some of the source's classes.

    >>> batch = LabelledBatch(np.arange(4.0), np.array([0, 1, 2, 1]))
    >>> pets = make_domain("pets", batch, batch, classes=("cat", "dog", "owl"), origin="Four.")
    >>> keep_classes(pets, ["dog"]).train.y.tolist()
    [1, 1]
    """
    numbers = _numbers(domain, kept)
    part = _relabelled(domain, lambda y: np.where(np.isin(y, numbers), y, -1))
    origin = f"{domain.origin.rstrip('.')}, the classes {', '.join(kept)} alone."
    return make_domain(domain.name, *part, classes=domain.classes, origin=origin)


def keep_known(domain: Domain, known: Sequence[str]) -> Domain:
    """Keeps the examples of the known classes, numbered from 0: the source of an open set.

    Args:
      domain: with labels.
      known: names of the classes, in the order that they shall have.

    Returns:
      A domain with ``classes`` ``known`` and ``"unknown"``, of which the last does not occur.

    Raises:
      ValueError: no labels, no class, or a class that there is not.

    Source: Saito et al. 2018 (OSBP), whose source has the known classes alone.

    >>> batch = LabelledBatch(np.arange(4.0), np.array([0, 1, 2, 1]))
    >>> pets = make_domain("pets", batch, batch, classes=("cat", "dog", "owl"), origin="Four.")
    >>> keep_known(pets, ["owl", "cat"]).train.y.tolist()
    [1, 0]
    """
    return _known(domain, known, others=-1, said="alone")


def merge_unknown(domain: Domain, known: Sequence[str]) -> Domain:
    """Numbers the known classes from 0 and calls all others unknown: the target of an open set.

    Args:
      domain: with labels.
      known: names of the known classes, in the order that they shall have.

    Returns:
      A domain with ``classes`` ``known`` and ``"unknown"``.

    Raises:
      ValueError: no labels, no class, or a class that there is not.

    Source: Saito et al. 2018 (OSBP).

    >>> batch = LabelledBatch(np.arange(4.0), np.array([0, 1, 2, 1]))
    >>> pets = make_domain("pets", batch, batch, classes=("cat", "dog", "owl"), origin="Four.")
    >>> merge_unknown(pets, ["owl", "cat"]).train.y.tolist()
    [1, 2, 0, 2]
    """
    return _known(domain, known, others=len(known), said="and all others as unknown")


def _known(domain: Domain, known: Sequence[str], *, others: int, said: str) -> Domain:
    table = np.full(len(domain.classes), others)
    table[_numbers(domain, known)] = np.arange(len(known))
    parts = _relabelled(domain, lambda y: table[y])
    origin = f"{domain.origin.rstrip('.')}, the classes {', '.join(known)} {said}."
    return make_domain(domain.name, *parts, classes=(*known, UNKNOWN_CLASS), origin=origin)


def _numbers(domain: Domain, names: Sequence[str]) -> list[int]:
    unknown = [name for name in names if name not in domain.classes]
    if unknown or not names or len(set(names)) < len(names):
        raise ValueError(
            f"the classes must be one or more of {', '.join(domain.classes)}, each once; got "
            f"{', '.join(names) or 'none'}."
        )
    if domain.train.y is None or domain.test.y is None:
        raise ValueError(f"{domain.name} has no labels to choose by; give a domain with labels.")
    return [domain.classes.index(name) for name in names]


def _relabelled(
    domain: Domain, label: Callable[[np.ndarray], np.ndarray]
) -> tuple[LabelledBatch, LabelledBatch]:
    """Without the examples whose new label is negative."""
    parts = []
    for part in (domain.train, domain.test):
        y = label(part.y)
        parts.append(LabelledBatch(part.x[y >= 0], y[y >= 0]))
    return parts[0], parts[1]
