"""What a folder of the user's own allows: shares of its classes, and settings capped by it."""

import dataclasses
from typing import TypeVar

from jaxfer.experiments.few_shot import FewShotOptions
from jaxfer.typing import UserError

Options = TypeVar("Options", bound=FewShotOptions)


def split_sizes(classes: int, *, least: int, flag: str | None = None) -> tuple[int, int, int]:
    """How many classes of a folder to train on, to validate by and to test on: 60, 20 and 20%.

    Omniglot's 1100, 100 and 423 would leave an ordinary folder hardly a class to validate by.

    Args:
      classes: how many there are.
      least: fewest of each part, such as the classes of an episode.
      flag: what asks for so many, such as ``"--way"``.

    Returns:
      Three numbers that add up to ``classes``, for ``random_class_split``.

    Raises:
      UserError: there are fewer than three times as many.

    >>> split_sizes(60, least=5), split_sizes(20, least=5)
    ((36, 12, 12), (10, 5, 5))
    >>> split_sizes(14, least=5, flag="--way")
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: --way 5 needs at least 15 classes, 5 each to train on, to validate by \
and to test on; the folder has 14: add some, or give --way 4.
    """
    if classes < 3 * least:
        asked = "This experiment" if flag is None else f"{flag} {least}"
        less = f", or give {flag} {classes // 3}" if flag is not None and classes >= 6 else ""
        raise UserError(
            f"{asked} needs at least {3 * least} classes, {least} each to train on, to validate by "
            f"and to test on; the folder has {classes}: add some{less}."
        )
    held_out = max(least, round(0.2 * classes))
    return classes - 2 * held_out, held_out, held_out


def at_most(flag: str, value: int, most: int, why: str) -> int:
    """A setting, or the most that there is, saying so.

    >>> at_most("--train-way", 60, 12, "there are 12 classes to train on")
    --train-way is 60, but there are 12 classes to train on: 12 it is.
    12
    """
    return all_at_most(flag, (value,), most, why)[0]


def all_at_most(flag: str, values: tuple[int, ...], most: int, why: str) -> tuple[int, ...]:
    """Settings, those beyond the most that there is replaced by it, each once.

    >>> all_at_most("--test-way", (5, 20), 12, "there are 12 classes to test on")
    --test-way is 5 20, but there are 12 classes to test on: 5 12 it is.
    (5, 12)
    """
    capped = tuple(dict.fromkeys(min(value, most) for value in values))
    if max(values) > most:
        before, after = (" ".join(map(str, each)) for each in (values, capped))
        print(f"{flag} is {before}, but {why}: {after} it is.")
    return capped


def cap_training(config: Options, *, classes: int, examples: int) -> Options:
    """Episodes to train on of as many classes and images as there are, saying so.

    Args:
      config: the settings.
      classes: how many there are to train on.
      examples: images of each class.

    Returns:
      The settings, with ``train_way``, ``shot`` and ``train_queries`` capped.

    Raises:
      UserError: there are fewer than 2 classes.

    >>> cap_training(FewShotOptions(), classes=12, examples=20).train_way
    --train-way is 60, but there are 12 classes to train on: 12 it is.
    12
    """
    if classes < 2:
        raise UserError("There is only one class of the folder to train on; add some.")
    shot = at_most("--shot", config.shot, examples - 1, of_each(examples))
    return dataclasses.replace(
        config,
        train_way=at_most(
            "--train-way", config.train_way, classes, f"there are {classes} classes to train on"
        ),
        shot=shot,
        train_queries=at_most(
            "--train-queries", config.train_queries, examples - shot, beside(shot, examples)
        ),
    )


def of_each(examples: int) -> str:
    """Why there are no more images than that.

    >>> of_each(8)
    'there are 8 images of each class, not all to learn from'
    """
    return f"there are {examples} images of each class, not all to learn from"


def beside(shot: int, examples: int) -> str:
    """Why there are no more queries than that.

    >>> beside(5, 8)
    'there are 8 images of each class, 5 of them to learn from'
    """
    return f"there are {examples} images of each class, {shot} of them to learn from"
