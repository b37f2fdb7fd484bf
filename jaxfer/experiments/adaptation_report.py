"""What several adaptation methods on one shift come to: numbers, words and pictures."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxfer import evaluation
from jaxfer.data.label_subsets import UNKNOWN_CLASS
from jaxfer.experiments.adaptation_scores import OPEN_SET, with_classes
from jaxfer.report import (
    AdaptationRow,
    MethodCurve,
    adaptation_summary,
    adaptation_table,
    confusion_picture,
    feature_scatter,
    format_estimate,
    method_bars,
    method_curves,
    table,
)
from jaxfer.transferability import proxy_a_distance
from jaxfer.typing import Classification

SOURCE_ONLY, ON_TARGET = "source-only", "on-target"
PROXY_EXAMPLES = 400  # of each domain, that the domains are told apart by
PROXY_FOLDS = 5  # fewer where there are fewer examples
LEAST_DRAWN = 4  # examples of each domain, below which their features show nothing


class Seen(NamedTuple):
    """What is known of one method when it has been trained.

    Attributes:
      steps: ``[t]``, when it was validated.
      metrics: ``[t, runs]`` by name; ``target_accuracy`` among them where labels are known, and the
        score of every validator.
      outputs: of the picked networks, or source-only's where none was picked, ``[runs, n, ...]``:
        ``source`` and ``target`` of the examples held out, and ``test`` where its labels are known.
    """

    steps: np.ndarray
    metrics: Mapping[str, np.ndarray]
    outputs: Mapping[str, Classification]


def pick(seen: Seen, validator: str) -> evaluation.Choice:
    """Which validation a validator picks in each run, or that it picks none."""
    rejected = seen.metrics.get("rejected")
    return evaluation.choose(
        seen.metrics[validator].T, rejected=None if rejected is None else rejected.T > 0
    )


def picked_accuracy(
    seen: Seen, validator: str, source_only: np.ndarray, *, metric: str = "target_accuracy"
) -> np.ndarray:
    """The target accuracy ``[runs]`` at the pick; source-only's where there is none."""
    places = _places(pick(seen, validator))
    accuracy = seen.metrics[metric][places, np.arange(len(places))]
    # In NumPy's precision: where source-only was kept, the change against it is exactly none.
    return np.where(places < 0, source_only, accuracy)


def distances(outputs: Mapping[str, Classification]) -> np.ndarray:
    """Proxy A-distance ``[runs]`` between the features of the examples held out."""
    source, target = (np.asarray(outputs[side].features) for side in ("source", "target"))
    count = min(PROXY_EXAMPLES, source.shape[1], target.shape[1])
    if count < 2:  # a fold needs a point of either side to learn from, and one to judge by
        return np.full(len(source), np.nan)
    return np.array(
        [
            float(
                proxy_a_distance(
                    jnp.asarray(ours[:count]), jnp.asarray(theirs[:count]),
                    folds=min(PROXY_FOLDS, count), key=jax.random.key(0),
                )[0]
            )
            for ours, theirs in zip(source, target, strict=True)
        ]
    )  # fmt: skip


def told_apart(distance: np.ndarray) -> np.ndarray:
    """The accuracy of the domain classifier that a proxy A-distance is made of."""
    return 0.5 + distance / 4


def make_rows(seen: Mapping[str, Seen], validator: str) -> list[AdaptationRow]:
    """A row for each method beside source-only, their bounds known."""
    # Nothing is adapted there, so nothing is picked: both bounds are what training ends with.
    source_only = seen[SOURCE_ONLY].metrics["target_accuracy"][-1]
    on_target = seen[ON_TARGET].metrics["target_accuracy"][-1]
    before = distances(seen[SOURCE_ONLY].outputs)
    rows = []
    for name, method in seen.items():
        if name in (SOURCE_ONLY, ON_TARGET):
            continue
        after = distances(method.outputs)
        accuracy = method.metrics["target_accuracy"]
        rows.append(
            AdaptationRow(
                name,
                source_only=source_only,
                last=accuracy[-1],
                picked=picked_accuracy(method, validator, source_only),
                oracle=np.nanmax(accuracy, axis=0),
                target_trained=on_target,
                kept_source_only=np.asarray(pick(method, validator).source_only),
                domain_accuracy=told_apart(after),
                proxy_a_before=before,
                proxy_a_after=after,
                validator=validator,
            )
        )
    return rows


def validators_table(seen: Mapping[str, Seen], validators: tuple[str, ...]) -> str:
    """The target accuracy at what each validator picks, without a target label."""
    source_only = seen[SOURCE_ONLY].metrics["target_accuracy"][-1]
    rows = [
        (name, *(_percent(picked_accuracy(method, each, source_only)) for each in validators))
        for name, method in seen.items()
        if name not in (SOURCE_ONLY, ON_TARGET)
    ]
    return table(("picked by", *(each.replace("_", " ") for each in validators)), rows)


def open_set_accuracies(
    seen: Mapping[str, Seen], validator: str
) -> dict[str, dict[str, np.ndarray]]:
    """For each method its accuracies at the pick, ``[runs]`` by name; nothing of closed sets.

    Beside the accuracy over all examples, the unknown ones counted as one class, those in which
    every class counts alike: see `adaptation_scores.open_set_scores`.
    """
    source_only = seen[SOURCE_ONLY].metrics
    if not set(OPEN_SET) <= source_only.keys():
        return {}
    found = {}
    for name, method in seen.items():
        bound = name in (SOURCE_ONLY, ON_TARGET)  # where nothing is picked
        found[name] = {
            metric: method.metrics[metric][-1]
            if bound
            else picked_accuracy(method, validator, source_only[metric][-1], metric=metric)
            for metric in ("target_accuracy", *OPEN_SET)
        }
    return found


def open_set_table(
    accuracies: Mapping[str, Mapping[str, np.ndarray]],
    seen: Mapping[str, Seen],
    test_labels: np.ndarray,
    classes: tuple[str, ...],
) -> str:
    """The accuracies of an open set, and in words who can say unknown at all."""
    header = ("open set", "all (%)", "OS (%)", "OS* (%)", "unknown (%)")
    rows = [(name, *map(_percent, found.values())) for name, found in accuracies.items()]
    unknown = float(np.mean(np.asarray(test_labels) == len(classes) - 1))
    closed = [name for name in seen if seen[name].outputs["test"].logits.shape[-1] < len(classes)]
    return (
        f"{table(header, rows)}\n\n"
        "OS is the mean over the classes, the unknown being one of them; OS* is that over the "
        f"known ones.\nWithout an output for the unknown, which is {100 * unknown:.1f} % of the "
        f"test: {', '.join(closed)}. They can never say it."
    )


def confusion(logits: Any, labels: np.ndarray, classes: int) -> Any:
    """Counts ``[classes, classes]``; a method need not know all of the classes."""
    return evaluation.confusion_matrix(with_classes(jnp.asarray(logits), classes), labels)


def scores_table(seen: Mapping[str, Seen], validators: tuple[str, ...]) -> str:
    """Of a target without labels: the scores of the last step, and no accuracy."""
    rows = [
        (name, *(format_estimate(*_interval(method.metrics[each][-1])) for each in validators))
        for name, method in seen.items()
    ]
    return table(("scores, last step", *(each.replace("_", " ") for each in validators)), rows)


def distances_table(seen: Mapping[str, Seen], validator: str) -> tuple[str, dict[str, Any]]:
    """Of a target without labels: the step that is picked, and how far apart the domains are.

    Returns:
      The table, and by method what ``summary.json`` holds of it.
    """
    found: dict[str, dict[str, Any]] = {}
    rows = []
    for name, method in seen.items():
        distance = distances(method.outputs)
        places = _places(pick(method, validator))
        steps = np.where(places < 0, 0, np.asarray(method.steps)[places])
        picked = "-" if name == SOURCE_ONLY else ", ".join(map(str, steps))
        rows.append(
            (name, picked, _percent(told_apart(distance)), format_estimate(*_interval(distance)))
        )
        found[name] = {"proxy_a_distance": distance, "domain_accuracy": told_apart(distance)}
        if name != SOURCE_ONLY:
            found[name]["picked_steps"] = steps
    header = (
        "method",
        "picked steps, 0 for source-only",
        "domain accuracy (%)",
        "proxy A-distance",
    )
    return table(header, rows), found


def draw_features(
    seen: Mapping[str, Seen],
    best: str,
    path: Path,
    *,
    side: str,
    source_labels: np.ndarray,
    target_labels: np.ndarray | None,
    classes: tuple[str, ...],
    title: str,
) -> list[str]:
    """Features of both domains by source-only and by the best method, where there are enough.

    Returns:
      The name of the picture, or nothing.
    """

    def both(name: str) -> tuple[np.ndarray, np.ndarray]:
        outputs = seen[name].outputs
        return np.asarray(outputs["source"].features[0]), np.asarray(outputs[side].features[0])

    if min(map(len, both(SOURCE_ONLY))) < LEAST_DRAWN:
        return []
    feature_scatter(
        both(SOURCE_ONLY), both(best), path / "features.png", source_labels=source_labels,
        target_labels=target_labels, class_names=classes, names=(SOURCE_ONLY, best), title=title,
    )  # fmt: skip
    return ["features.png"]


def draw(
    seen: Mapping[str, Seen],
    rows: list[AdaptationRow],
    path: Path,
    *,
    source_labels: np.ndarray,
    test_labels: np.ndarray,
    classes: tuple[str, ...],
    validator: str,
    title: str,
) -> list[str]:
    """Methods side by side, their curves, features before and after, and what is confused.

    Returns:
      The names of the pictures.
    """
    method_bars(rows, path / "methods.png", title=title)
    curves = {
        name: MethodCurve(
            method.steps,
            method.metrics["target_accuracy"].T,
            method.metrics[validator].T,
            _places(pick(method, validator)),
        )
        for name, method in seen.items()
        if name not in (SOURCE_ONLY, ON_TARGET)
    }
    source_only = seen[SOURCE_ONLY].metrics["target_accuracy"][-1]
    method_curves(
        curves, path / "learning_curves.png", source_only=float(np.nanmean(source_only)),
        validator=validator.replace("_", " "), title=title,
    )  # fmt: skip
    best = rows[int(np.argmax([np.nanmean(np.asarray(row.picked)) for row in rows]))].method
    features = draw_features(
        seen, best, path, side="test", source_labels=source_labels, target_labels=test_labels,
        classes=classes, title=title,
    )  # fmt: skip
    logits = {name: seen[name].outputs["test"].logits[0] for name in (SOURCE_ONLY, best)}
    # OSBP has a class for the unknown where the data have none, too.
    said = max(each.shape[-1] for each in logits.values())
    names = classes if said <= len(classes) else (*classes, UNKNOWN_CLASS)
    confusion_picture(
        {name: confusion(each, test_labels, len(names)) for name, each in logits.items()},
        path / "confusion.png",
        class_names=names,
        title=title,
    )
    return ["methods.png", "learning_curves.png", *features, "confusion.png"]


def summarise(rows: list[AdaptationRow], seen: Mapping[str, Seen]) -> dict[str, Any]:
    """Means and intervals over seeds, and every seed's number."""
    bounds = {
        name: _estimate(seen[name].metrics["target_accuracy"][-1])
        for name in (SOURCE_ONLY, ON_TARGET)
    }
    return {**bounds, **{row.method: adaptation_summary(row) for row in rows}}


def report(
    seen: Mapping[str, Seen],
    path: Path,
    *,
    validators: tuple[str, ...],
    validator: str,
    source_labels: np.ndarray,
    test_labels: np.ndarray | None,
    classes: tuple[str, ...],
    title: str,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Prints the tables and draws the pictures.

    Returns:
      What ``summary.json`` holds of it.
    """
    if test_labels is None:
        say(scores_table(seen, validators))
        apart, found = distances_table(seen, validator)
        say(f"\n{apart}\n\nThe target has no labels, so no accuracy is claimed.")
        scores = {
            name: {each: method.metrics[each][-1] for each in validators} | found[name]
            for name, method in seen.items()
        }
        best = max(seen, key=lambda name: float(np.mean(scores[name][validator])))
        drawn = draw_features(
            seen, best, path, side="target", source_labels=source_labels, target_labels=None,
            classes=classes, title=title,
        )  # fmt: skip
        say(f"In {path}: {', '.join(['summary.json', *drawn])}")
        return {"scores": scores, "validator": validator}
    rows = make_rows(seen, validator)
    if not rows:
        bounds = [
            (name, _percent(seen[name].metrics["target_accuracy"][-1]))
            for name in (SOURCE_ONLY, ON_TARGET)
        ]
        say(table(("method", "last step (%)"), bounds))
        return {"test": summarise(rows, seen), "validator": validator}
    say(adaptation_table(rows))
    say(f"\n{validators_table(seen, validators)}")
    open_set = open_set_accuracies(seen, validator)
    if open_set:
        say(f"\n{open_set_table(open_set, seen, test_labels, classes)}")
    names = draw(
        seen, rows, path, source_labels=source_labels, test_labels=test_labels, classes=classes,
        validator=validator, title=title,
    )  # fmt: skip
    say(f"In {path}: summary.json, {', '.join(names)}")
    summary = {"test": summarise(rows, seen), "validator": validator}
    if open_set:
        summary["open_set"] = {
            name: {metric: _estimate(values) for metric, values in found.items()}
            for name, found in open_set.items()
        }
    return summary


def _places(choice: evaluation.Choice) -> np.ndarray:
    """Which validation was picked in each run, -1 where source-only was kept."""
    return np.where(np.asarray(choice.source_only), -1, np.asarray(choice.candidate))


def _interval(values: np.ndarray) -> evaluation.Interval:
    return evaluation.seed_interval(values)


def _percent(accuracy: np.ndarray) -> str:
    return format_estimate(*_interval(accuracy), percent=True)


def _estimate(accuracy: Any) -> dict[str, Any]:
    interval = _interval(np.asarray(accuracy))
    return {"accuracy": interval.mean, "ci95": interval.ci95, "runs": accuracy}
