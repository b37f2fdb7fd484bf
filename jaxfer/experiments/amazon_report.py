"""What DANN with several strengths comes to on pairs of domains: numbers and pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxfer import evaluation
from jaxfer.experiments.adaptation_report import LEAST_DRAWN, SOURCE_ONLY, told_apart
from jaxfer.report import (
    AdaptationRow,
    MethodCurve,
    confusion_picture,
    feature_scatter,
    method_curves,
)
from jaxfer.typing import Classification

ADAPTED = "DANN"
VALIDATOR = "reverse validation"
PICTURES = ("learning_curves.png", "features.png", "confusion.png")


class Curves(NamedTuple):
    """How one direction of training went; the first strength is 0, source-only's.

    Attributes:
      steps: ``[t]``, when it was looked at.
      risk: ``[t, seeds, strengths]``, on the held-out labelled examples.
      accuracy: ``[t, seeds, strengths]``, of the test.
    """

    steps: np.ndarray
    risk: np.ndarray
    accuracy: np.ndarray


class Shown(NamedTuple):
    """What the first seed's networks make of examples, for the pictures.

    Attributes:
      source: held-out examples of the source, ``[n, 2, ...]``, by source-only and by the pick.
      test: the target's test, ``[m, 2, ...]``.
      source_labels: ``[n]``.
      test_labels: ``[m]``.
    """

    source: Classification
    test: Classification
    source_labels: np.ndarray
    test_labels: np.ndarray


def pick(result: Mapping[str, Any]) -> evaluation.Choice:
    """Which strength above 0 reverse validation picks for each seed, or that it picks none."""
    return evaluation.choose(
        np.asarray(result["reverse_score"], float)[:, 1:],
        rejected=np.asarray(result["rejected"], bool)[:, 1:],
    )


def picked_strengths(choice: evaluation.Choice) -> np.ndarray:
    """Its place among all strengths, ``[seeds]``; 0 where source-only is kept.

    >>> scores, rejected = np.array([[0.1, 0.2, 0.3]] * 2), np.array([[False] * 3, [True] * 3])
    >>> choice = evaluation.choose(scores, rejected=rejected)
    >>> picked_strengths(choice).tolist()
    [3, 0]
    """
    return np.where(np.asarray(choice.source_only), 0, np.asarray(choice.candidate) + 1)


def row_of(name: str, result: Mapping[str, Any]) -> AdaptationRow:
    """What a pair comes to: for each seed the bounds, the pick of reverse validation, the best."""
    accuracy, last, best, distance, on_target = (
        np.asarray(result[field], float)
        for field in (
            "test_accuracy", "last_accuracy", "best_accuracy", "proxy_a", "target_trained",
        )
    )  # fmt: skip
    choice = pick(result)
    places = picked_strengths(choice)
    picked, last, after = (
        np.take_along_axis(values, places[:, None], 1)[:, 0]
        for values in (accuracy, last, distance)
    )
    return AdaptationRow(
        name, accuracy[:, 0], last, picked, best[:, 1:].max(1), on_target,
        kept_source_only=np.asarray(choice.source_only), domain_accuracy=told_apart(after),
        proxy_a_before=distance[:, 0], proxy_a_after=after, validator=VALIDATOR,
    )  # fmt: skip


def mean_row(rows: Sequence[AdaptationRow]) -> AdaptationRow:
    """The mean over pairs, for each seed."""
    names = ("source_only", "last", "picked", "oracle", "target_trained", "domain_accuracy",
             "proxy_a_before", "proxy_a_after")  # fmt: skip
    means = {name: np.mean([getattr(row, name) for row in rows], axis=0) for name in names}
    return AdaptationRow("mean of the pairs", **means, validator=rows[0].validator)


def draw(
    result: Mapping[str, Any],
    curves: Curves,
    shown: Shown,
    path: Path,
    *,
    classes: tuple[str, ...],
    title: str,
) -> None:
    """Learning curves of all seeds, and of the first one features of both domains and mistakes.

    Args:
      result: of the pair.
      curves: of the training forward.
      shown: what the first seed's picked networks make of source and target.
      path: the folder that gets the `PICTURES`.
      classes: their names.
      title: stands above each picture.
    """
    steps, accuracy = np.asarray(result["step"]), np.asarray(result["test_accuracy"])
    strengths = picked_strengths(pick(result))
    method_curves(
        {
            name: _curve(curves, steps, places, kept=kept)
            for name, places, kept in (
                (SOURCE_ONLY, np.zeros_like(strengths), np.zeros(len(strengths), bool)),
                (f"{ADAPTED}, the picked strengths", strengths, strengths == 0),
            )
        },
        path / "learning_curves.png",
        source_only=float(accuracy[:, 0].mean()),
        validator="minus risk on the source",
        title=title,
    )
    names = (SOURCE_ONLY, ADAPTED)
    before, after = (
        (np.asarray(shown.source.features[:, place]), np.asarray(shown.test.features[:, place]))
        for place in range(2)
    )
    if min(map(len, before)) >= LEAST_DRAWN:
        feature_scatter(
            before, after, path / "features.png", source_labels=shown.source_labels,
            target_labels=shown.test_labels, class_names=classes, names=names, title=title,
        )  # fmt: skip
    confusion_picture(
        {
            name: evaluation.confusion_matrix(shown.test.logits[:, place], shown.test_labels)
            for place, name in enumerate(names)
        },
        path / "confusion.png",
        class_names=classes,
        title=title,
    )


def _curve(
    curves: Curves, steps: np.ndarray, places: np.ndarray, *, kept: np.ndarray
) -> MethodCurve:
    """Of each seed's network at its place among the strengths; a circle where ``steps`` has it."""
    seeds = np.arange(len(places))
    picked = np.searchsorted(curves.steps, steps[seeds, places])
    return MethodCurve(
        curves.steps,
        curves.accuracy[:, seeds, places].T,
        -curves.risk[:, seeds, places].T,
        np.where(kept, -1, picked),
    )
