"""What two tasks on one encoder, or on two, come to: one table, pictures, models that predict."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxfer import evaluation
from jaxfer.experiments.finetune_speech import speech_settings
from jaxfer.inference import save_model
from jaxfer.report import confusion_picture, format_estimate, method_dots, read_metrics, table
from jaxfer.typing import PyTree


class Trained(NamedTuple):
    """What is known of one network when it has been trained.

    Attributes:
      logits: by task ``[runs, n, classes]``, of the test, at the step that validation picked.
      params, state: of that step, ``[runs, ...]``.
      validation: ``[runs]``, its mean accuracy over tasks there.
      steps: ``[runs]``, when that was.
      parameters: how many numbers were trained.
      seconds: of the training, all runs together.
      metrics: the file of what was measured on the way.

    >>> Trained({}, {}, {}, [0.9], [50], 10, 1.5, Path("metrics.jsonl")).parameters
    10
    """

    logits: Mapping[str, np.ndarray]
    params: PyTree
    state: PyTree
    validation: np.ndarray
    steps: np.ndarray
    parameters: int
    seconds: float
    metrics: Path


def mean_over_steps(rows: Sequence[Mapping[str, Any]], name: str, *, run: int) -> float:
    """The mean of a metric over all steps of training, of lines that are means since the last one.

    Args:
      rows: of a ``metrics.jsonl``.
      name: of the metric.
      run: of which run.

    Returns:
      The mean; NaN without a line of it.

    >>> line = {"split": "train", "run": 0}
    >>> mean_over_steps([{**line, "step": 10, "c": 1}, {**line, "step": 40, "c": 0}], "c", run=0)
    0.25
    """
    total = last = 0.0
    for row in rows:
        if row["split"] == "train" and row["run"] == run and row.get(name) is not None:
            total += (row["step"] - last) * row[name]
            last = row["step"]
    return total / last if last else float("nan")


def _learned(network: Trained) -> tuple[dict[str, list[float]], str | None]:
    """What a method found out on its way, of each run by name, and in words."""
    runs = range(len(network.steps))
    if "log_variances" in network.params:
        variances = np.exp(np.asarray(network.params["log_variances"], float))  # [runs, tasks]
        found = {
            f"{task}_variance": column.tolist()
            for task, column in zip(network.logits, variances.T, strict=True)
        }
        means = (f"{task} {np.mean(found[f'{task}_variance']):.2g}" for task in network.logits)
        return found, f"variances: {', '.join(means)}"
    rows = read_metrics(network.metrics)
    if not any("conflict" in row for row in rows):
        return {}, None
    found = {
        name: [mean_over_steps(rows, name, run=run) for run in runs]
        for name in ("conflict", "cosine")
    }
    shares, cosines = (float(np.mean(values)) for values in found.values())
    return found, f"conflicts in {100 * shares:.0f}% of steps, mean cosine {cosines:.2f}"


def report(
    found: Mapping[str, Sequence[Trained]],
    truth: Mapping[str, np.ndarray],
    classes: Mapping[str, Sequence[str]],
    folder: Path,
) -> dict[str, Any]:
    """Prints the table, draws the pictures, and gives all of it for the summary.

    Args:
      found: the networks of each method.
      truth: of each task the labels of the test, ``[n]``.
      classes: of each task their names.
      folder: for the pictures.

    Returns:
      Numbers by name.
    """
    results: dict[str, Any] = {}
    rows: list[list[object]] = []
    dots: dict[str, dict[str, tuple[float, float]]] = {}
    matrices: dict[str, dict[str, np.ndarray]] = {task: {} for task in truth}
    for method, networks in found.items():
        logits = {task: each for network in networks for task, each in network.logits.items()}
        learned, words = _learned(networks[0])
        results[method] = {
            "validation_accuracy": [network.validation.tolist() for network in networks],
            "picked_step": [network.steps.tolist() for network in networks],
            "trained_parameters": sum(network.parameters for network in networks),
            "seconds": sum(network.seconds for network in networks),
            **learned,
        }
        dots[method], cells = {}, []
        for task, labels in truth.items():
            right = np.mean(logits[task].argmax(-1) == labels, axis=1)
            mean, ci95 = evaluation.seed_interval(right)
            results[method][task] = {"mean": mean, "ci95": ci95, "runs": right.tolist()}
            dots[method][task] = mean, ci95
            shown = None if len(right) == 1 else ci95
            cells.append(format_estimate(mean, shown, percent=True))
            of_runs = [
                evaluation.confusion_matrix(jnp.asarray(of_run), jnp.asarray(labels))
                for of_run in logits[task]
            ]
            matrices[task][method] = np.sum(np.asarray(of_runs), axis=0)
        one = results[method]
        rows.append(
            [method, *cells, f"{one['trained_parameters']:,}", f"{one['seconds']:.0f}", words]
        )
    header = ["method", *(f"{task} accuracy (%)" for task in truth), "trained parameters",
              "seconds", "on the way"]  # fmt: skip
    print(f"\n{table(header, rows)}\n")
    for method in [name for name in results if name != "alone" and "alone" in results]:
        changes = {
            task: evaluation.seed_difference(
                results[method][task]["runs"], results["alone"][task]["runs"]
            )
            for task in truth
        }
        results[method]["change"] = {
            task: {"mean": change.mean, "ci95": change.ci95} for task, change in changes.items()
        }
        words = ", ".join(
            f"{task} {100 * change.mean:+.2f}"
            + (f" ± {100 * change.ci95:.2f}" if np.isfinite(change.ci95) else "")
            for task, change in changes.items()
        )
        print(f"{method} beside alone, in points: {words}.")
    if jax.process_index() == 0:
        method_dots(dots, folder / "methods.png")
        for task, of_methods in matrices.items():
            confusion_picture(
                of_methods, folder / f"confusion_{task}.png", class_names=classes[task], title=task
            )
    return {"methods": results}


def save(
    found: Mapping[str, Sequence[Trained]],
    classes: Mapping[str, Sequence[str]],
    folder: Path,
    *,
    mels: int,
    features: int,
    samples: int,
) -> str:
    """Writes a model for each task, of the method and the seed that validated best.

    Args:
      found: the networks of each method.
      classes: of each task their names.
      folder: a folder in it for each task is made.
      mels, features: of the encoder.
      samples: of each recording that was trained on.

    Returns:
      The method.
    """

    def validated(method: str) -> float:
        return float(np.mean([network.validation for network in found[method]]))

    chosen = max(found, key=validated)
    for network in found[chosen]:
        best = int(np.argmax(network.validation))
        params, state = jax.tree.map(
            lambda leaf: np.asarray(leaf[best]),  # noqa: B023
            (network.params["network"], network.state),
        )
        for task in network.logits:
            save_model(
                folder / task, kind="speech", classes=classes[task], state=state,
                params={"encoder": params["encoder"], "head": params[task]},
                settings=speech_settings(
                    "conv", mels=mels, frames=None, features=features, samples=samples
                ),
            )  # fmt: skip
    return chosen
