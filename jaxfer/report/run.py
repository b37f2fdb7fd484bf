"""Reading what an experiment wrote into its folder: config.json, summary.json, metrics.jsonl."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeGuard

import numpy as np

from jaxfer.typing import UserError

Row: TypeAlias = Mapping[str, Any]

# Keys of a line in metrics.jsonl that say where it belongs, not what was measured.
PLACE = ("step", "seconds", "split", "run")
# Numbers beside a mean in summary.json's `test` that are no results of their own.
BESIDE = ("ci95", "seconds", "std_over_runs", "validation")


class Estimate(NamedTuple):
    """A mean over test episodes, with its interval and its value in each run.

    Attributes:
      mean: the mean; an accuracy is a fraction in [0, 1].
      ci95: half the width of its 95% interval.
      runs: the mean of each run (seed); empty where they were not recorded.

    >>> Estimate(mean=0.97, ci95=0.002, runs=(0.96, 0.98)).mean
    0.97
    """

    mean: float
    ci95: float
    runs: tuple[float, ...]


class RunRecord(NamedTuple):
    """What stands in the folder of one run.

    Attributes:
      folder: where it was read.
      config: the configuration, nested ones flattened with dots: ``{"optimizer.rate": 1e-3}``.
      data: ``source``, ``origin`` and ``checksum`` of the data that were really used.
      protocol: how it was tested: ``way``, ``shot``, ``queries``, ...
      test: the test results by name (``"accuracy"``); empty while the run has not finished.
      summary: the whole of ``summary.json``; empty while the run has not finished.
      metrics: the lines of ``metrics.jsonl``.

    >>> from pathlib import Path
    >>> RunRecord(Path("runs/a"), {"way": 5}, {}, {}, {}, {}, ()).config["way"]
    5
    """

    folder: Path
    config: Mapping[str, Any]
    data: Mapping[str, Any]
    protocol: Mapping[str, Any]
    test: Mapping[str, Estimate]
    summary: Mapping[str, Any]
    metrics: Sequence[Row]


def read_run(folder: str | Path) -> RunRecord:
    """Reads the folder of one run, finished or not.

    Args:
      folder: what an experiment was given as ``--out``.

    Returns:
      Its configuration, results and metrics.

    Raises:
      UserError: the folder does not exist, holds no run, or one of its files is damaged.

    >>> read_run("runs/no-such-run")
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: runs/no-such-run is not a folder; give the --out folder of a run.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give the --out folder of a run.")
    config_file, metrics_file = folder / "config.json", folder / "metrics.jsonl"
    if not config_file.is_file():
        raise UserError(
            f"{folder} has no config.json, so no experiment has written there; "
            f"give the --out folder of a run."
        )
    summary_file = folder / "summary.json"
    summary = _read_object(summary_file) if summary_file.is_file() else {}
    test = _as_mapping(summary.get("test"))
    return RunRecord(
        folder=folder,
        config=_flatten(_read_object(config_file)),
        data=_as_mapping(summary.get("data")),
        protocol=_flatten(_as_mapping(test.get("protocol"))),
        test=dict(_estimates(test)),
        summary=summary,
        metrics=read_metrics(metrics_file) if metrics_file.is_file() else (),
    )


def read_metrics(path: str | Path) -> tuple[Row, ...]:
    r"""Reads a ``metrics.jsonl``; a last line that a killed run left unfinished is passed over.

    Args:
      path: the file, one JSON object a line.

    Returns:
      One mapping per line: ``step``, ``seconds``, ``split``, ``run`` and the metrics by name.

    Raises:
      UserError: the file cannot be read, or a line other than the last is not a JSON object.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
    ...     _ = file.write('{"step": 1, "split": "train", "run": 0, "loss": 0.5}\n{"step": 2')
    ...     file.flush()
    ...     [row["loss"] for row in read_metrics(file.name)]
    [0.5]
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} cannot be read ({_reason(error)}); give a metrics.jsonl."
        ) from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines):
                break
            raise UserError(
                f"{path}, line {number} is not JSON; the file is damaged, remove that line."
            ) from error
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            raise UserError(
                f'{path}, line {number} has no "step"; each line is an object like '
                f'{{"step": 1, "split": "train", "run": 0, "loss": 0.5}}.'
            )
        rows.append(row)
    return tuple(rows)


def series(
    rows: Iterable[Row], name: str, *, split: str
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Collects one metric of one split against the step, for each run.

    Args:
      rows: lines of ``metrics.jsonl``.
      name: the metric, for instance ``"accuracy"``.
      split: ``"train"`` or ``"validation"``.

    Returns:
      For each run its steps and values, both ``[points]``, in order of step; values that are not
      finite are left out.

    >>> rows = [
    ...     {"step": 2, "split": "train", "run": 0, "loss": 0.5},
    ...     {"step": 1, "split": "train", "run": 0, "loss": 1.0},
    ... ]
    >>> steps, values = series(rows, "loss", split="train")[0]
    >>> steps.tolist(), values.tolist()
    ([1, 2], [1.0, 0.5])
    """
    points: dict[int, dict[int, float]] = {}
    for row in rows:
        value = row.get(name)
        if row.get("split") == split and _is_number(value) and math.isfinite(value):
            points.setdefault(int(row.get("run", 0)), {})[row["step"]] = float(value)
    return {
        run: (np.array(sorted(values)), np.array([values[step] for step in sorted(values)]))
        for run, values in sorted(points.items())
    }


def measured_names(rows: Iterable[Row], *, split: str | None = None) -> list[str]:
    """Lists the metrics that occur in the rows, in order of first appearance.

    Args:
      rows: lines of ``metrics.jsonl``.
      split: only lines of this split.

    Returns:
      The names, without those that only say where a line belongs.

    >>> measured_names([{"step": 1, "split": "train", "run": 0, "loss": 0.5}])
    ['loss']
    """
    names: dict[str, None] = {}
    for row in rows:
        if split is None or row.get("split") == split:
            names.update(
                (name, None) for name in row if name not in PLACE and _is_number(row[name])
            )
    return list(names)


def _estimates(test: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Estimate]]:
    """Every mean that has an interval, named after the groups that it stands in.

    A group is an object, ``{"K = 5": {"mse": 0.4, "ci95": 0.1}}``, or a list of objects, which
    their whole numbers and words tell apart: ``[{"shot": 5, "mse": 0.4, "ci95": 0.1}]``. Single
    runs and baselines are no groups; they stand in the run's own table.
    """
    runs = test.get("runs")
    runs = runs if isinstance(runs, list) else []
    for name, value in test.items():
        if name in ("runs", "baselines", "protocol"):
            continue
        if isinstance(value, Mapping):
            yield from _estimates(value, f"{prefix}{name} ")
        elif isinstance(value, list):
            for row in value:
                if isinstance(row, Mapping):
                    places = [f"{k} {v}" for k, v in row.items() if isinstance(v, int | str)]
                    yield from _estimates(row, f"{prefix}{', '.join(places)}: ")
        elif isinstance(value, float) and _is_number(test.get("ci95")) and name not in BESIDE:
            each = [run.get(name) if isinstance(run, Mapping) else run for run in runs]
            single = tuple(float(run) for run in each if _is_number(run))
            yield f"{prefix}{name}", Estimate(value, float(test["ci95"]), single)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read ({_reason(error)}); it is damaged, run the experiment again."
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object; it is damaged, run the experiment again.")
    return content


def _flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _as_mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else "not JSON text"
