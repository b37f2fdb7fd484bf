"""The folder of a run: who writes there, with which configuration, and what came out."""

import contextlib
import dataclasses
import importlib.metadata
import json
import math
import os
import pathlib
import platform
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import filelock
import jax
import numpy as np

from jaxfer.training.devices import Devices, available_cores
from jaxfer.training.processes import on_first_process
from jaxfer.typing import UserError

MAY_DIFFER = frozenset({"out", "resume", "debug", "devices", "data_dir", "preset", "multihost"})
"""Fields that a resumed run may give differently: they do not change what is computed."""


class RunFolder(NamedTuple):
    """An open run folder.

    Attributes:
      path: the folder.
      resume: go on from what stands there.

    >>> RunFolder(pathlib.Path("runs/maml"), resume=False).path.name
    'maml'
    """

    path: pathlib.Path
    resume: bool


@contextlib.contextmanager
def open_run_folder(
    out: pathlib.Path | str,
    config: Any,
    *,
    resume: bool = False,
    may_differ: Collection[str] = (),
    resumable: bool = True,
) -> Iterator[RunFolder]:
    """Opens the folder of a run for this process alone and records the configuration in it.

    Args:
      out: the folder; it is made if need be. Only process 0 touches it.
      config: a dataclass, or a mapping, of settings.
      resume: the folder must hold a run of the same configuration, and this one goes on from it.
      may_differ: further fields, beside `MAY_DIFFER`, that may change on resuming (such as
        ``steps``, where a longer run is the same run).
      resumable: False for what cannot be resumed: a run that did not finish is then no obstacle.

    Yields:
      The open folder; it is free for others when the block ends.

    Raises:
      UserError: if it cannot be written, another process writes there, it holds a run and
        ``resume`` is False, it holds none and ``resume`` is True, or it holds one of other
        settings.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     with open_run_folder(name, {"seed": 3}) as folder:
    ...         print((folder.path / "config.json").read_text())
    {
      "seed": 3
    }
    """
    path = pathlib.Path(out)
    settings = _plain(config)
    differ = MAY_DIFFER | set(may_differ)
    lock = on_first_process(lambda: _open(path, settings, resume, differ, resumable))
    try:
        yield RunFolder(path, resume)
    finally:
        if lock is not None:
            lock.release()


def _open(
    path: pathlib.Path, settings: Any, resume: bool, may_differ: Collection[str], resumable: bool
) -> filelock.BaseFileLock:
    lock = filelock.FileLock(path / ".lock", timeout=0)
    if resume and not _holds_run(path):
        raise UserError(
            f"There is no run in {path} to resume; check --out, or leave out --resume to start "
            f"one there."
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout:
        raise UserError(
            f"Another process is writing to {path}; wait for it, or give another --out."
        ) from None
    except OSError as error:
        raise UserError(
            f"The run folder {path} cannot be written ({error.strerror or error}); give another "
            f"--out."
        ) from error
    try:
        if resume:
            _compare(path / "config.json", settings, may_differ)
        elif _holds_run(path, finished=not resumable):
            remedy = "add --resume to go on with it, or give" if resumable else "give"
            raise UserError(f"{path} already holds a run; {remedy} another --out.")
        write_json(path / "config.json", settings)
    except BaseException:
        lock.release()
        raise
    return lock


def _holds_run(path: pathlib.Path, *, finished: bool = False) -> bool:
    """Whether anything of a run stands there; with ``finished``, more than how one began."""
    names = ("summary.json" if finished else "config.json", "metrics.jsonl", "checkpoints")
    return any((path / name).exists() for name in names)


def _compare(path: pathlib.Path, settings: Mapping[str, Any], may_differ: Collection[str]) -> None:
    try:
        recorded = dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read ({error}), so the run there cannot be resumed; give another "
            f"--out."
        ) from error
    names = [*recorded, *(name for name in settings if name not in recorded)]
    absent = "absent"
    differences = [
        f"{name} is {recorded.get(name, absent)} there and {settings.get(name, absent)} here"
        for name in names
        if name not in may_differ and recorded.get(name, absent) != settings.get(name, absent)
    ]
    if differences:
        raise UserError(
            f"The run in {path.parent} has other settings: {'; '.join(differences)}. Give the "
            f"same ones to resume it, or another --out."
        )


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a JSON file whole or not at all; arrays become lists, what is not finite null.

    Args:
      path: the file.
      value: nested mappings, sequences, NamedTuples, numbers, arrays.

    Raises:
      UserError: if it cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     write_json(pathlib.Path(name) / "a.json", {"x": np.float32(0.5), "y": float("nan")})
    ...     json.loads((pathlib.Path(name) / "a.json").read_text())
    {'x': 0.5, 'y': None}
    """
    draft = path.with_name(f".{path.name}.tmp")
    try:
        draft.write_text(json.dumps(_plain(value), indent=2, allow_nan=False) + "\n")
        os.replace(draft, path)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror or error}).") from error


def write_summary(folder: RunFolder, summary: Mapping[str, Any]) -> None:
    """Writes ``summary.json`` into a run folder, on process 0.

    Args:
      folder: from `open_run_folder`.
      summary: anything that `write_json` can write.

    Raises:
      UserError: if it cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     write_summary(RunFolder(pathlib.Path(name), False), {"seconds": 3})
    ...     (pathlib.Path(name) / "summary.json").exists()
    True
    """
    on_first_process(lambda: write_json(folder.path / "summary.json", summary))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return _plain(np.asarray(value).tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | bool | int | None) else str(value)


def versions() -> dict[str, str]:
    """Names the versions that a result depends on.

    Returns:
      Version by package, ``python`` among them; a package that is not installed is left out.

    >>> "jax" in versions()
    True
    """
    found = {"python": platform.python_version()}
    packages = (
        "jaxfer", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "pillow",
        "scikit-learn",
    )  # fmt: skip
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def hardware(devices: Devices | None = None) -> dict[str, Any]:
    """Describes what a result was computed on.

    Args:
      devices: those in use; None for all.

    Returns:
      The backend, the kind and number of devices, cores per process, and processes.

    >>> sorted(hardware())
    ['backend', 'cores', 'device_kind', 'devices', 'processes']
    """
    devices = jax.devices() if devices is None else devices
    return {
        "backend": devices[0].platform,
        "device_kind": devices[0].device_kind,
        "devices": len(devices),
        "cores": available_cores(),
        "processes": jax.process_count(),
    }
