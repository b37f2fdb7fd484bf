"""What online passes over characters came to: a table, a picture, and the numbers of each pass."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxfer.evaluation import Interval, mean_interval
from jaxfer.report import accuracy_curves, format_estimate, table


class Outcome(NamedTuple):
    """What came of one method.

    Attributes:
      accuracy: on held-out images ``[runs, passes, counts]``, at the rates that were chosen.
      trajectory: on the images that were learned from.
      rates: ``[counts]``.
      step: ``[runs]``, which parameters validation chose; -1 for a network that is not trained.
      seconds: how long it trained.
    """

    accuracy: np.ndarray
    trajectory: np.ndarray
    rates: tuple[float, ...]
    step: np.ndarray
    seconds: float


def interval_of(accuracy: np.ndarray, column: int) -> Interval:
    """Mean over runs and passes, with its interval over passes."""
    return mean_interval(accuracy[:, :, column].mean(0))


def results_table(counts: Sequence[int], outcomes: Mapping[str, Outcome], source: str) -> str:
    """A row for each method and kind of image, a column for each number of characters."""
    columns = range(len(counts))

    def row(title: str, found: np.ndarray) -> Sequence[str]:
        cells = (format_estimate(*interval_of(found, i), percent=True) for i in columns)
        return (title, *cells)

    rows = [
        row(f"{name}, {kind}", found)
        for name, outcome in outcomes.items()
        for kind, found in (("held out", outcome.accuracy), ("learned", outcome.trajectory))
    ]
    header = (
        f"accuracy %, {source}, one pass",
        *(f"{count} characters" for count in counts),
    )
    return table(header, rows)


def draw(
    counts: Sequence[int], outcomes: Mapping[str, Outcome], path: Path, *, passes: int
) -> None:
    """Accuracy on held-out images against the number of characters learned."""
    columns = range(len(counts))
    accuracy_curves(
        counts,
        {
            name: [interval_of(found.accuracy, i) for i in columns]
            for name, found in outcomes.items()
        },
        path / "accuracy.png",
        x_label="characters learned, one image at a time",
        title=f"Held-out images after one pass, {passes} passes",
    )
    for name, found in outcomes.items():
        np.savez(
            path / f"test_accuracies_{name}.npz",
            accuracy=found.accuracy, trajectory=found.trajectory,
        )  # fmt: skip


def describe_results(
    counts: Sequence[int], outcomes: Mapping[str, Outcome]
) -> list[dict[str, Any]]:
    """One entry for each method and number of characters."""
    return [
        {
            "method": name,
            "classes": count,
            "rate": found.rates[i],
            "accuracy": interval_of(found.accuracy, i).mean,
            "ci95": interval_of(found.accuracy, i).ci95,
            "trajectory_accuracy": interval_of(found.trajectory, i).mean,
        }
        for name, found in outcomes.items()
        for i, count in enumerate(counts)
    ]
