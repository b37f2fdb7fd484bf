"""Which classes to train on, to choose by and to be judged on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxfer.data.characters import CharacterSet
from jaxfer.typing import UserError


class ClassSplit(NamedTuple):
    """Indices of disjoint sets of classes.

    Attributes:
      train: int32 ``[n]``, ascending; to learn from.
      validation: int32 ``[m]``, ascending; to choose checkpoints and hyper-parameters by.
      test: int32 ``[k]``, ascending; to report.

    >>> ClassSplit(train=np.arange(3), validation=np.array([3]), test=np.array([4])).test.tolist()
    [4]
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def random_class_split(
    num_classes: int, *, sizes: tuple[int, int, int] = (1100, 100, 423), seed: int
) -> ClassSplit:
    """Splits all classes at random, whatever their alphabet: MAML's split of Omniglot.

    A set with another number of classes than ``sizes`` add up to is split in their proportion, each
    part rounded to at least one class.

    Args:
      num_classes: at least 3.
      sizes: of train, validation and test; all positive.
      seed: of NumPy's generator, on its own: not the seed of the run.

    Returns:
      The split.

    Raises:
      ValueError: fewer than 3 classes, or a size that is not positive.

    >>> [len(part) for part in random_class_split(1623, seed=0)]
    [1100, 100, 423]
    >>> [len(part) for part in random_class_split(400, seed=0)]
    [271, 25, 104]
    """
    if num_classes < 3:
        raise ValueError(f"num_classes must be at least 3 to be split in three; got {num_classes}.")
    if len(sizes) != 3 or min(sizes) < 1:
        raise ValueError(f"sizes must be three positive numbers; got {sizes}.")
    if sum(sizes) != num_classes:
        share = num_classes / sum(sizes)
        validation, test = (max(1, round(size * share)) for size in sizes[1:])
        sizes = (num_classes - validation - test, validation, test)
        if sizes[0] < 1:
            raise ValueError(
                f"{num_classes} classes in the proportion asked for leave none to train on; "
                "give sizes that add up to them."
            )
    order = np.random.default_rng(seed).permutation(num_classes)
    return _split(np.split(order, np.cumsum(sizes)[:2]))


def alphabet_split(
    characters: CharacterSet, *, validation_alphabets: int = 5, seed: int
) -> ClassSplit:
    """Splits by alphabet: evaluation alphabets for the test, some of the background for validation.

    This is Omniglot's own split, harder than ``random_class_split``: every character of the test
    belongs to an alphabet never seen.

    Args:
      characters: with both background and evaluation alphabets.
      validation_alphabets: how many background alphabets to validate on, at least 1; at least one
        remains to train on.
      seed: of NumPy's generator, which chooses them.

    Returns:
      The split; no two parts share an alphabet.

    Raises:
      UserError: the characters do not have enough alphabets.

    >>> names = ("Greek", "Greek", "Latin", "Angelic")
    >>> characters = CharacterSet(
    ...     np.zeros((4, 20, 8, 8), np.uint8),
    ...     names,
    ...     names,
    ...     np.array([True, True, True, False]),
    ...     "",
    ...     "glyphs",
    ...     "",
    ... )
    >>> alphabet_split(characters, validation_alphabets=1, seed=0).test.tolist()
    [3]
    """
    alphabets = np.array(characters.alphabets)
    background = np.unique(alphabets[characters.background])
    if not 1 <= validation_alphabets < len(background) or characters.background.all():
        raise UserError(
            f"A split by alphabet needs 1 to {len(background) - 1} of the {len(background)} "
            f"background alphabets for validation, and evaluation alphabets beside them; got "
            f"{validation_alphabets} and {len(set(alphabets[~characters.background]))}; "
            "give other characters or split at random."
        )
    chosen = np.random.default_rng(seed).choice(background, validation_alphabets, replace=False)
    validation = np.isin(alphabets, chosen)
    masks = (characters.background & ~validation, validation, ~characters.background)
    return _split([np.flatnonzero(mask) for mask in masks])


def background_split(
    characters: CharacterSet, *, validation_classes: int = 100, seed: int
) -> ClassSplit:
    """Splits as Omniglot comes: trains on background characters, tests on those of evaluation.

    Unlike in ``alphabet_split`` the characters to validate on are any of the background, whose
    alphabets have others to train on.

    Args:
      characters: with both background and evaluation alphabets.
      validation_classes: how many background characters to validate on, at least 1; at least one
        remains to train on.
      seed: of NumPy's generator, which chooses them.

    Returns:
      The split.

    Raises:
      UserError: the characters have no evaluation alphabets, or too few of the background.

    >>> names = ("Greek", "Greek", "Latin", "Angelic")
    >>> characters = CharacterSet(
    ...     np.zeros((4, 20, 8, 8), np.uint8),
    ...     names,
    ...     names,
    ...     np.array([True, True, True, False]),
    ...     "",
    ...     "glyphs",
    ...     "",
    ... )
    >>> split = background_split(characters, validation_classes=1, seed=0)
    >>> len(split.train), len(split.validation), split.test.tolist()
    (2, 1, [3])
    """
    background = np.flatnonzero(characters.background)
    if not 1 <= validation_classes < len(background) or characters.background.all():
        raise UserError(
            f"A split of the background needs 1 to {len(background) - 1} of its "
            f"{len(background)} characters for validation, and evaluation characters beside them; "
            f"got {validation_classes} and {int((~characters.background).sum())}."
        )
    order = np.random.default_rng(seed).permutation(background)
    validation, train = np.split(order, [validation_classes])
    return _split([train, validation, np.flatnonzero(~characters.background)])


def _split(parts: Sequence[np.ndarray]) -> ClassSplit:
    return ClassSplit(*(np.sort(part).astype(np.int32) for part in parts))
