"""The loop that all experiments share: dispatch, log, validate, save, stop, resume."""

import contextlib
import io
import os
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxfer.training.checkpoints import checkpoint_steps, restore_checkpoint, save_checkpoint
from jaxfer.training.devices import Devices, Step, compile_step, first, replicate
from jaxfer.training.metrics import MetricsWriter
from jaxfer.training.processes import any_process, on_first_process
from jaxfer.training.progress import Progress, readable
from jaxfer.training.run_folder import RunFolder
from jaxfer.training.state import TrainState, remember_best
from jaxfer.typing import Metrics, UserError


class Stopped(Exception):
    """A run was asked to stop, and has saved.

    Attributes:
      step: the step it stands at.
      signal_number: what asked.

    >>> Stopped(10, signal.SIGINT).step
    10
    """

    def __init__(self, step: int, signal_number: int):
        super().__init__(f"stopped at step {step}")
        self.step, self.signal_number = step, signal_number


class Schedule(NamedTuple):
    """When things happen in `fit`, counted in steps from 0.

    What is due every n steps happens at the first end of a dispatch at or after each multiple of n,
    and at the last step.

    Attributes:
      steps: how many steps the whole run has.
      steps_per_dispatch: how many steps one call to the devices takes.
      log_every: steps between lines of training metrics.
      validate_every: steps between validations.
      checkpoint_every: steps between checkpoints.
      patience: after how many validations without a better score a run ends; ``None`` for never.

    >>> Schedule(steps=1000).checkpoint_every
    500
    """

    steps: int
    steps_per_dispatch: int = 10
    log_every: int = 100
    validate_every: int = 500
    checkpoint_every: int = 500
    patience: int | None = None

    def dispatch_end(self, step: int) -> int:
        """Where the dispatch that starts at a step ends.

        >>> Schedule(steps=25).dispatch_end(7), Schedule(steps=25).dispatch_end(20)
        (10, 25)
        """
        return min(self.steps, (step // self.steps_per_dispatch + 1) * self.steps_per_dispatch)

    def due(self, every: int, start: int, end: int) -> bool:
        """Says whether something that happens every so many steps does at the end of this dispatch.

        >>> Schedule(steps=40).due(15, 10, 20), Schedule(steps=40).due(15, 20, 30 - 1)
        (True, False)
        """
        return end // every > start // every or end == self.steps

    def out_of_patience(self, best: np.ndarray, at: int) -> np.ndarray:
        """Says which runs have gone on for too long without a better score.

        Args:
          best: ``[runs]``, the step of each run's best validation, below 0 for none.
          at: the step they stand at.

        Returns:
          Booleans ``[runs]``, by steps alone, so that a run that is resumed ends where it would
          have ended.

        >>> Schedule(steps=100, validate_every=10, patience=2).out_of_patience([20, 30, -1], 40)
        array([ True, False,  True])
        """
        if self.patience is None:
            return np.zeros(len(best), bool)
        every = max(self.validate_every, self.steps_per_dispatch)
        return at // every - np.maximum(best, 0) // every >= self.patience


class Fitted(NamedTuple):
    """What training leaves.

    Attributes:
      train_state: the last state, arrays ``[runs, ...]``; ``best`` in it is what validation chose.
      seconds: how long training took, all resumptions together.

    >>> Fitted(None, 3.0).seconds
    3.0
    """

    train_state: TrainState
    seconds: float


def fit(
    step: Step,
    train_state: TrainState,
    data: Any,
    *,
    folder: RunFolder,
    schedule: Schedule,
    seeds: Sequence[int],
    tasks_per_step: int,
    unit: str = "tasks",
    devices: Devices | None = None,
    runs_in_turn: bool = False,
    validate: Callable[[TrainState], Metrics] | None = None,
    score: str = "accuracy",
    progress: Progress | None = None,
) -> Fitted:
    """Trains from where the folder stands up to ``schedule.steps``, or as long as patience lasts.

    A run whose patience ends keeps what it had, as if it had been alone; training ends with the
    last of them.

    Dispatches end at multiples of ``steps_per_dispatch``, counted from step 0, so that a run that
    was stopped repeats the very programs of one that was not.

    Args:
      step: as for `compile_step`.
      train_state: the state at step 0, ``[runs, ...]``; resuming replaces it by the checkpoint.
      data: what ``step`` gets, already replicated.
      folder: from `open_run_folder`.
      schedule: when to log, validate, save and end.
      seeds: one per run, for names in messages.
      tasks_per_step: how many tasks (or examples) a step sees over all devices, for the speed.
      unit: what they are called.
      devices: as given by `configure_devices`.
      runs_in_turn: as for `compile_step`.
      validate: ``train_state [runs, ...] -> {name: [runs]}``.
      score: which of the validation's values, higher is better, picks the parameters to remember.
      progress: where to show it; a bar on stderr unless given.

    Returns:
      The final state and how long it took.

    Raises:
      UserError: if no run is alive any more, or a checkpoint cannot be read or written.
      Stopped: after SIGINT or SIGTERM, once the dispatch has ended and the state is saved.
      ValueError: if a number of the schedule is below 1, or patience has no validation to count.

    >>> import tempfile, jax.numpy as jnp, optax
    >>> from jaxfer.training.run_folder import open_run_folder
    >>> from jaxfer.training.state import init_train_state
    >>> def step(run, data):
    ...     error = run.params - jnp.mean(data)
    ...     return run._replace(params=run.params - 0.5 * error), {"loss": error**2}
    >>> one = jax.local_devices()[:1]
    >>> state = init_train_state(lambda key: (jnp.zeros(()), {}), optax.sgd(0.5), seeds=[0])
    >>> with tempfile.TemporaryDirectory() as name, open_run_folder(name, {}) as folder:
    ...     fitted = fit(
    ...         step,
    ...         state,
    ...         replicate(jnp.ones(4), one),
    ...         folder=folder,
    ...         schedule=Schedule(steps=4, steps_per_dispatch=2),
    ...         seeds=[0],
    ...         tasks_per_step=4,
    ...         devices=one,
    ...     )
    >>> fitted.train_state.params.tolist()
    [0.9375]
    """
    if any(number is not None and number < 1 for number in schedule):
        raise ValueError(f"each number of a schedule is at least 1; got {schedule}.")
    if schedule.patience is not None and validate is None:
        raise ValueError("patience counts validations; give validate, or leave patience out.")
    checkpoints = folder.path / "checkpoints"
    found = restore_checkpoint(checkpoints, train_state) if folder.resume else None
    at, train_state = found or (0, train_state)  # none: it was killed before its first checkpoint
    if at > schedule.steps:
        raise UserError(
            f"The run in {folder.path} is at step {at} already, past --steps {schedule.steps}; "
            f"give at least {at}."
        )
    first_process = jax.process_index() == 0
    writer = on_first_process(
        lambda: MetricsWriter(folder.path, seeds=seeds, resume_step=at if folder.resume else None)
    )
    progress = progress or Progress(
        steps=schedule.steps,
        start=at,
        tasks_per_step=tasks_per_step,
        unit=unit,
        stream=None if first_process else io.StringIO(),
    )
    if at:
        progress.note(f"Going on from step {at}.")
    earlier = writer.seconds if writer else 0.0
    started = time.monotonic()
    compiled: dict[int, Step] = {}
    window: list[dict[str, np.ndarray]] = []
    dead: set[int] = set()
    replicated = replicate(train_state, devices)

    with contextlib.ExitStack() as stack:
        stack.callback(progress.close)
        if writer:
            stack.callback(writer.close)
        asked = stack.enter_context(_stop_signals())

        def write(split: str, values: Mapping[str, Any], alive: np.ndarray) -> None:
            if writer:
                seconds = earlier + time.monotonic() - started
                writer.write(at, split, values, seconds=seconds, alive=alive)

        died, best = np.asarray(train_state.died), np.asarray(train_state.best.step)
        done = schedule.out_of_patience(best, at) & (died < 0)
        while at < schedule.steps and not (done.any() and (done | (died >= 0)).all()):
            start, at = at, schedule.dispatch_end(at)
            if at - start not in compiled:
                compiled[at - start] = compile_step(
                    step, devices=devices, scan_length=at - start, runs_in_turn=runs_in_turn
                )
            replicated, metrics = jax.block_until_ready(compiled[at - start](replicated, data))
            window.append(jax.device_get(first(metrics)))

            died = np.asarray(first(replicated.died))
            alive = (died < 0) & ~done
            for run in set(map(int, np.flatnonzero(~alive & ~done))) - dead:
                dead.add(run)
                if alive.any():
                    progress.note(
                        f"Run {run} (seed {seeds[run]}) was not finite at step {died[run]}: it "
                        f"stays as it was before, the others go on."
                    )
            if not alive.any():
                if not done.any():
                    raise _all_dead(died, seeds, checkpoints)
                save_checkpoint(checkpoints, at, first(replicated))
                break
            shown = _means(window[-1:])
            progress.update(
                at, {n: float(shown[n][alive].mean()) for n in ("loss", score) if n in shown}
            )

            stop = any_process(bool(asked))
            saves = stop or schedule.due(schedule.checkpoint_every, start, at)
            if saves or schedule.due(schedule.log_every, start, at):
                write("train", _means(window), alive)
                window.clear()
            if validate and schedule.due(schedule.validate_every, start, at):
                current = first(replicated)
                values = {name: np.asarray(value) for name, value in validate(current).items()}
                if score not in values:
                    raise ValueError(f"score is {score!r}; validation gives only {set(values)}.")
                write("validation", values, alive)
                progress.note(f"step {at}  validation  {readable(_over(values, alive))}")
                # What a run scores after its end is not its own: alone it would not have gone on.
                current = remember_best(current, np.where(alive, values[score], np.nan))
                replicated = replicate(current, devices)
                best = np.asarray(current.best.step)
                late = schedule.out_of_patience(best, at) & alive
                for run in map(int, np.flatnonzero(late)):
                    since = f"since step {best[run]}" if best[run] > 0 else "at all"
                    progress.note(f"Run {run} (seed {seeds[run]}) ends: no better {since}.")
                done |= late
                if not (alive & ~late).any():
                    saves = True
                    if window:
                        write("train", _means(window), alive)
            if saves:
                save_checkpoint(checkpoints, at, first(replicated))
            if stop:
                raise Stopped(at, asked[0] if asked else signal.SIGTERM)
        return Fitted(first(replicated), earlier + time.monotonic() - started)


def _means(window: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The mean over steps of metrics ``[steps, runs]``."""
    return {
        name: np.concatenate([part[name] for part in window]).mean(axis=0) for name in window[0]
    }


def _over(values: Mapping[str, np.ndarray], alive: np.ndarray) -> dict[str, float]:
    return {name: float(value[alive].mean()) for name, value in values.items()}


def _all_dead(died: np.ndarray, seeds: Sequence[int], checkpoints: pathlib.Path) -> UserError:
    where = ", ".join(f"seed {seed} at step {step}" for seed, step in zip(seeds, died, strict=True))
    saved = checkpoint_steps(checkpoints)
    kept = (
        f"the last good checkpoint is {checkpoints / str(saved[-1])}" if saved else "none was saved"
    )
    return UserError(
        f"Parameters or loss were not finite ({where}); {kept}. Lower the learning rate, or clip "
        f"the gradient, and start again with another --out."
    )


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM in a list; a second one acts as it always does."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number: int, _: Any) -> None:
        asked.append(number)
        restore()
        os.write(2, b"\nStopping after these steps, then saving; once more stops at once.\n")

    for number in before:
        signal.signal(number, ask)
    try:
        yield asked
    finally:
        restore()
