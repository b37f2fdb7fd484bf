"""What several ways to fine-tune come to: one table, and pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxfer import evaluation
from jaxfer.report import confusion_picture, format_estimate, table


class Judged(NamedTuple):
    """What is known of one method when it has been trained.

    Attributes:
      logits: ``[runs, n, classes]``, of the test, by the network that validated best.
      validation: ``[runs]``, its accuracy there.
      steps: ``[runs]``, when that was.
      trained, parameters: how many numbers train, and how many there are.
      seconds: of the training, all runs together.
      peak_bytes: of memory in training; ``None`` where it cannot be seen.
      elsewhere: ``[runs]``, accuracy on each other domain, by its name.
      rate: learning rate that it was trained with.

    >>> Judged([[[0.0, 1.0]]], [1.0], [10], 5, 50, 1.0, None).trained
    5
    """

    logits: np.ndarray
    validation: np.ndarray
    steps: np.ndarray
    trained: int
    parameters: int
    seconds: float
    peak_bytes: int | None
    elsewhere: Mapping[str, np.ndarray] = MappingProxyType({})
    rate: float | None = None


def report(
    found: Mapping[str, Judged],
    labels: np.ndarray,
    classes: Sequence[str],
    folder: Path,
    *,
    title: str,
) -> dict[str, Any]:
    """Prints the table, draws the confusion matrices, and gives all of it for the summary.

    Args:
      found: of each method.
      labels: ``[n]``, of the test.
      classes: their names.
      folder: for ``confusion.png``.
      title: of the pictures.

    Returns:
      Numbers by name.
    """
    rows, results, matrices = [], {}, {}
    truth = jnp.asarray(labels)
    for name, each in found.items():
        of_runs = [jnp.asarray(logits) for logits in each.logits]
        right = np.array([evaluation.accuracy(logits, truth) for logits in of_runs])
        scores = [evaluation.f_score(logits, truth) for logits in of_runs]
        f1, precision, recall = (
            np.array([getattr(score, f"macro_{part}") for score in scores])
            for part in ("f1", "precision", "recall")
        )
        ece = np.array(
            [evaluation.expected_calibration_error(logits, truth)[0] for logits in of_runs]
        )
        mean, ci95 = evaluation.seed_interval(right)
        memory = None if each.peak_bytes is None else each.peak_bytes / 2**20
        mebibytes = None if memory is None else f"{memory:.0f}"
        results[name] = {
            "test_accuracy": {"mean": mean, "ci95": ci95, "runs": right.tolist()},
            "macro_f1": f1.tolist(),
            "macro_precision": precision.tolist(),
            "macro_recall": recall.tolist(),
            "calibration_error": ece.tolist(),
            "validation_accuracy": each.validation.tolist(),
            "picked_step": each.steps.tolist(),
            "learning_rate": each.rate,
            "trained_parameters": each.trained,
            "parameters": each.parameters,
            "seconds": each.seconds,
            "peak_mib": memory,
        }
        across = []
        if each.elsewhere:
            means = np.mean([*each.elsewhere.values()], axis=0)
            mean_elsewhere, spread = evaluation.seed_interval(means)
            results[name]["elsewhere"] = {
                "mean": mean_elsewhere, "ci95": spread,
                **{place: accuracies.tolist() for place, accuracies in each.elsewhere.items()},
            }  # fmt: skip
            across = [
                format_estimate(mean_elsewhere, spread if len(means) > 1 else None, percent=True)
            ]
        shown = format_estimate(mean, ci95 if len(right) > 1 else None, percent=True)
        rows.append(
            [name, shown, *across, f"{100 * f1.mean():.2f}", f"{100 * ece.mean():.1f}",
             f"{each.trained:,}", f"{each.seconds:.0f}", mebibytes]
        )  # fmt: skip
        matrices[name] = sum(np.asarray(evaluation.confusion_matrix(x, truth)) for x in of_runs)
    across = ["other domains (%)"] if any(each.elsewhere for each in found.values()) else []
    header = ["method", "test accuracy (%)", *across, "macro F1 (%)", "ECE (%)",
              "trained parameters", "seconds", "peak MiB"]  # fmt: skip
    print(f"\n{table(header, rows)}\n")
    confusion_picture(matrices, folder / "confusion.png", class_names=classes, title=title)
    if "scratch" in results and len(results) > 1:
        bottom = results["scratch"]["test_accuracy"]["mean"]
        worse = [
            name for name in results if results[name]["test_accuracy"]["mean"] < bottom
        ]  # fmt: skip
        if worse:
            print(f"Negative transfer: {', '.join(worse)} did worse than from scratch.")
    return {"methods": results}
