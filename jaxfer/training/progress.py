"""Progress of a run: a bar with live values on a terminal, plain lines anywhere else."""

import math
import sys
import time
from collections.abc import Mapping
from typing import TextIO

from tqdm import tqdm


class Progress:
    """Shows how far a run is, its values, its speed and the time left.

    Args:
      steps: how many steps the whole run has.
      start: the step it goes on from.
      tasks_per_step: how many tasks (or examples) one step sees, for the speed.
      unit: what they are called.
      stream: where to show it; stderr unless given.
      every: seconds between plain lines; the first comes at the first update.

    >>> progress = Progress(steps=100, start=0, tasks_per_step=4, stream=sys.stdout)
    >>> progress.update(10, {"loss": 0.25})
    step 10/100  loss 0.2500
    """

    def __init__(
        self,
        *,
        steps: int,
        start: int,
        tasks_per_step: int,
        unit: str = "tasks",
        stream: TextIO | None = None,
        every: float = 15.0,
    ):
        self._stream = stream or sys.stderr
        self._steps, self._tasks, self._unit, self._every = steps, tasks_per_step, unit, every
        # The first dispatch compiles: speed is counted from its end.
        self._since: tuple[int, float] | None = None
        self._next_line = -math.inf
        self._bar = None
        if self._stream.isatty():
            self._bar = tqdm(
                total=steps,
                initial=start,
                unit="step",
                file=self._stream,
                dynamic_ncols=True,
                bar_format="{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}",
            )
            self._bar.set_postfix_str("compiling")

    def update(self, step: int, values: Mapping[str, float]) -> None:
        """Shows the values at a step; off a terminal only every few seconds."""
        now = time.monotonic()
        if self._bar is None and now < self._next_line and step < self._steps:
            return
        parts = [readable(values)]
        if self._since is None:
            self._since = (step, now)
        elif step > self._since[0]:
            rate = (step - self._since[0]) / max(now - self._since[1], 1e-9)
            speed = rate * self._tasks
            parts.append(f"{speed:,.0f}" if speed >= 100 else f"{speed:.3g}")
            parts[-1] += f" {self._unit}/s"
            parts.append(f"{_clock((self._steps - step) / rate)} left")
        if self._bar is not None:
            self._bar.n = step
            self._bar.set_postfix_str("  ".join(parts))
        else:
            print(f"step {step}/{self._steps}  " + "  ".join(parts), file=self._stream, flush=True)
            self._next_line = now + self._every

    def note(self, text: str) -> None:
        """Prints a sentence above the bar, or as a line."""
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Leaves the bar as it stands."""
        if self._bar is not None:
            self._bar.close()


def readable(values: Mapping[str, float]) -> str:
    """Writes named values for a person: four digits, accuracies in percent.

    Args:
      values: numbers by name; an accuracy, a fraction, has "accuracy" in its name.

    Returns:
      One line.

    >>> readable({"loss": 0.25, "accuracy": 0.5})
    'loss 0.2500  accuracy 50.0%'
    """
    parts = []
    for name, value in values.items():
        if "accuracy" in name and math.isfinite(value):
            text = f"{100 * value:.1f}%"
        else:
            text = f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.3g}"
        parts.append(f"{name} {text}")
    return "  ".join(parts)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
