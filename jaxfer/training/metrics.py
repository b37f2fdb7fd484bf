"""Metrics of a run: one JSON line per run and moment, and the same curves for TensorBoard."""

import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tensorboardX import SummaryWriter

FILE_NAME = "metrics.jsonl"
_PLACE = {"step", "seconds", "split", "run"}


class MetricsWriter:
    """Writes ``metrics.jsonl`` and TensorBoard events into a run folder.

    A line is ``{"step", "seconds", "split", "run", name: value}``; not finite is ``null``.

    Args:
      folder: the run folder.
      seeds: one per run; TensorBoard shows each run under its seed.
      resume_step: None starts afresh; a step keeps the lines up to it and cuts off the rest.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     writer = MetricsWriter(pathlib.Path(name), seeds=[0])
    ...     writer.write(10, "train", {"loss": np.array([0.5])}, seconds=1.0)
    ...     writer.close()
    ...     read_metrics(pathlib.Path(name))
    [{'step': 10, 'seconds': 1.0, 'split': 'train', 'run': 0, 'loss': 0.5}]
    """

    def __init__(
        self, folder: pathlib.Path, *, seeds: Sequence[int], resume_step: int | None = None
    ):
        path = folder / FILE_NAME
        kept = [] if resume_step is None else _lines_up_to(path, resume_step)
        draft = path.with_suffix(".tmp")
        draft.write_text("".join(json.dumps(line) + "\n" for line in kept))
        os.replace(draft, path)
        self.seconds = max((line["seconds"] for line in kept), default=0.0)
        """How long the run had taken at its last kept line."""
        self._file = path.open("a")
        purge = None if resume_step is None else resume_step + 1
        boards = folder / "tensorboard"
        self._boards = [
            SummaryWriter(str(boards / f"seed_{seed}"), purge_step=purge, flush_secs=30)
            for seed in seeds
        ]

    def write(
        self,
        step: int,
        split: str,
        values: Mapping[str, Any],
        *,
        seconds: float,
        alive: np.ndarray | None = None,
    ) -> None:
        """Writes one line for each run that is alive.

        Args:
          step: how many steps have been taken.
          split: ``"train"`` or ``"validation"``.
          values: arrays ``[runs]`` by name.
          seconds: how long the run has taken so far.
          alive: ``[runs]``; None for all.

        Raises:
          ValueError: if a value has a name that the line needs itself.
        """
        if taken := values.keys() & _PLACE:
            raise ValueError(f"metrics cannot be named {sorted(taken)}: each line has its own.")
        for run, board in enumerate(self._boards):
            if alive is not None and not alive[run]:
                continue
            line: dict[str, Any] = {
                "step": step,
                "seconds": round(seconds, 3),
                "split": split,
                "run": run,
            }
            for name, value in values.items():
                number = _shortest(np.asarray(value)[run])
                finite = math.isfinite(number)
                line[name] = number if finite else None
                if finite:
                    board.add_scalar(f"{split}/{name}", number, step)
            self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Writes out what is pending."""
        self._file.close()
        for board in self._boards:
            board.close()


def read_metrics(folder: pathlib.Path) -> list[dict[str, Any]]:
    """Reads ``metrics.jsonl``; what was not finite comes back as NaN, a line cut short is left out.

    Args:
      folder: the run folder.

    Returns:
      The lines, in the order in which they were written; none when there is no such file.

    >>> read_metrics(pathlib.Path("no/such/folder"))
    []
    """
    lines = _lines_up_to(folder / FILE_NAME, math.inf)
    return [
        {name: math.nan if value is None else value for name, value in line.items()}
        for line in lines
    ]


def _lines_up_to(path: pathlib.Path, step: float) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    lines = []
    for text in path.read_text().splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:  # the process was killed while it wrote
            continue
        if line["step"] <= step:
            lines.append(line)
    return lines


def _shortest(value: Any) -> float:
    """The number as a person would write it: float32 0.1 is 0.1."""
    return float(f"{float(value):.7g}")
