"""The command line that every experiment shares: common flags, presets, errors in one sentence."""

import argparse
import dataclasses
import math
import pathlib
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NoReturn, TypeVar

import tyro

from jaxfer.training.loop import Stopped
from jaxfer.typing import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class CommonOptions:
    """The flags that every experiment has; its own configuration derives from this.

    >>> CommonOptions(seed=3).seed
    3
    """

    out: Annotated[pathlib.Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The folder of this run: all that it writes goes there. By default runs/NAME under the current
    folder. It must not hold a finished run yet."""

    preset: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """A named set of settings to start from; every other flag given beside it wins."""

    seed: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """The seed of all that is random."""

    data_dir: Annotated[pathlib.Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Where data sets lie or are to be kept. By default the environment variable JAXFER_DATA_DIR,
    then the cache of the user."""

    smoke: bool = False
    """Only check that everything works: a few steps on little data, in seconds. The numbers that
    come out mean nothing."""

    debug: bool = False
    """Show the whole traceback of an error instead of one sentence."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingOptions(CommonOptions):
    """The flags that every experiment has that trains.

    >>> TrainingOptions(seed=3, runs=2).steps
    1000
    """

    out: Annotated[pathlib.Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The folder of this run: configuration, metrics, checkpoints, plots and summary go there. By
    default runs/NAME under the current folder. It must not hold a run yet, unless --resume is
    given."""

    seed: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """The seed of the first run: initial weights and the order of the data follow from it."""

    runs: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """How many runs to train side by side, with seeds SEED, SEED + 1, ...; results are then given
    with their mean and spread."""

    steps: Annotated[int, tyro.conf.arg(metavar="N")] = 1000
    """How many optimiser steps to train in all, those before a --resume included."""

    data: Annotated[str, tyro.conf.arg(metavar="SOURCE")] = "auto"
    """Which data to use; auto takes the real data set where it can be reached, else a built-in
    stand-in, and says which."""

    devices: Annotated[int | None, tyro.conf.arg(metavar="N")] = 1
    """How many devices to split each step over: accelerators, or on CPU that many cores. Batch
    statistics are then of each device's share; all else stays, up to rounding."""

    resume: bool = False
    """Go on from the last checkpoint in --out, with the same settings as before."""

    deterministic: bool = False
    """On a GPU: add in a fixed order, so that the same command gives the same bits; slower. A CPU
    always does."""

    multihost: bool = False
    """Be one of several processes of a cluster that JAX knows (TPU pod, Slurm, Open MPI). Elsewhere
    give each process JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID instead."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """One seed per run.

        >>> TrainingOptions(seed=5, runs=2).seeds
        (5, 6)
        """
        return tuple(range(self.seed, self.seed + self.runs))


Config = TypeVar("Config", bound=CommonOptions)


def parse(
    config_class: type[Config],
    args: Sequence[str],
    *,
    presets: Mapping[str, Config] | None = None,
    smoke: Mapping[str, Any] | None = None,
    description: str | None = None,
    name: str = "experiment",
) -> Config:
    """Reads a configuration: the class's defaults, then preset, then ``--smoke``, then flags.

    Args:
      config_class: a frozen dataclass deriving from `CommonOptions`; its fields are the flags.
      args: the flags, without the program's name.
      presets: configurations by name, for ``--preset``.
      smoke: what ``--smoke`` sets.
      description: what ``--help`` says first.
      name: of the experiment, for ``--help`` and the default of ``--out``.

    Returns:
      The configuration, ``out`` filled in.

    Raises:
      UserError: if there is no such preset, or a common flag makes no sense.
      SystemExit: after ``--help`` (code 0) or a flag that cannot be read (code 2).

    >>> small = {"small": TrainingOptions(steps=10, runs=2)}
    >>> config = parse(TrainingOptions, ["--preset", "small", "--runs", "3"], presets=small)
    >>> config.steps, config.runs, config.seeds
    (10, 3, (0, 1, 2))
    """
    presets = presets or {}
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--preset", nargs="?")
    early.add_argument("--smoke", action="store_true")
    chosen, _ = early.parse_known_args(args)
    default = config_class()
    if chosen.preset is not None:
        if chosen.preset not in presets:
            known = ", ".join(presets) or "none"
            raise UserError(f"There is no preset {chosen.preset!r}; the presets are: {known}.")
        default = presets[chosen.preset]
    if chosen.smoke:
        default = dataclasses.replace(default, **(smoke or {}))
    if presets:
        description = f"{description or ''}\n\nPresets: {', '.join(presets)}"
    config = tyro.cli(
        config_class,
        args=list(args),
        default=default,
        prog=f"python -m jaxfer.experiments.{name}",
        description=description,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    for field, least in (("runs", 1), ("steps", 1), ("seed", 0)):
        if hasattr(config, field) and getattr(config, field) < least:
            raise UserError(f"--{field} is {getattr(config, field)}; give at least {least}.")
    if config.out is None:
        config = dataclasses.replace(config, out=pathlib.Path("runs") / name)
    return config


def check_at_least(config: Any, **least: float) -> None:
    """Checks numbers of a configuration.

    Args:
      config: the settings.
      **least: for each field the smallest number that makes sense; None stands for a default.

    Raises:
      UserError: if one is smaller, or not finite.

    >>> check_at_least(TrainingOptions(steps=0), steps=1)
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: --steps is 0; give at least 1.
    """
    for name, smallest in least.items():
        value = getattr(config, name)
        if value is None:
            continue
        if not value >= smallest:
            raise UserError(f"--{name.replace('_', '-')} is {value}; give at least {smallest}.")
        if not math.isfinite(value):
            raise UserError(f"--{name.replace('_', '-')} is {value}; give a finite number.")


def check_shares(config: Any, *names: str) -> None:
    """Checks shares of a configuration, such as dropout.

    Args:
      config: the settings.
      *names: fields that must be at least 0 and less than 1.

    Raises:
      UserError: if one is not.

    >>> check_shares(TrainingOptions(steps=1), "steps")
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: --steps is 1; give less than 1.
    """
    check_at_least(config, **dict.fromkeys(names, 0))
    for name in names:
        if getattr(config, name) >= 1:
            flag = f"--{name.replace('_', '-')}"
            raise UserError(f"{flag} is {getattr(config, name)}; give less than 1.")


def main(
    config_class: type[Config],
    run: Callable[[Config], object],
    presets: Mapping[str, Config] | None = None,
    *,
    smoke: Mapping[str, Any] | None = None,
    args: Sequence[str] | None = None,
) -> NoReturn:
    """Runs an experiment from the command line and exits.

    A `UserError` becomes ``error: SENTENCE`` and exit code 2; a run that was stopped says how to go
    on, where it can, and exits with 128 + the signal's number.

    Args:
      config_class: see `parse`; the docstring of its module is the description.
      run: does it.
      presets: see `parse`.
      smoke: see `parse`.
      args: the flags; those of the process unless given.

    Raises:
      SystemExit: always.

    >>> main(CommonOptions, lambda config: print(config.seed), args=["--seed", "3"])
    Traceback (most recent call last):
        ...
    SystemExit: 0
    """
    args = list(sys.argv[1:] if args is None else args)
    module = sys.modules[config_class.__module__]
    # As a program the module is called __main__; its file still has its name.
    name = pathlib.Path(module.__file__ or "experiment").stem
    settings = [argument for argument in args if argument != "--resume"]
    again = shlex.join(["python", "-m", f"jaxfer.experiments.{name}", *settings, "--resume"])
    try:
        config = parse(
            config_class,
            args,
            presets=presets,
            smoke=smoke,
            description=module.__doc__,
            name=name,
        )
        run(config)
    except UserError as error:
        if "--debug" in args:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except Stopped as stopped:
        print(f"Saved at step {stopped.step}; go on with: {again}", file=sys.stderr)
        sys.exit(128 + stopped.signal_number)
    except KeyboardInterrupt:
        if "--debug" in args:
            traceback.print_exc()
        trains = issubclass(config_class, TrainingOptions)
        how = f"; from what it had saved, go on with: {again}" if trains else "."
        print(f"Stopped{how}", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    sys.exit(0)
