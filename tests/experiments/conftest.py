"""Experiments as a user runs them: as programs, or in this process on little data."""

import contextlib
import functools
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

from jaxfer.data import draw_glyphs
from jaxfer.experiments.command_line import main
from jaxfer.training.metrics import read_metrics

ROOT = Path(__file__).parents[2]


class Run(NamedTuple):
    """A run that has ended: what it returned, its folder, what it printed."""

    summary: dict[str, Any]
    folder: Path
    out: str
    err: str


def do(run, config) -> Run:
    """Runs an experiment in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        summary = run(config)
    return Run(summary, config.out, out.getvalue(), err.getvalue())


def fail(experiment, *flags, **options) -> str:
    """Runs an experiment from its command line; returns stderr, which must be one sentence."""
    smoke = options.pop("smoke", None) or experiment.episodic.SMOKE
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        with pytest.raises(SystemExit) as ended:
            main(
                experiment.Config,
                experiment.run,
                experiment.PRESETS,
                smoke=smoke,
                args=list(map(str, flags)),
                **options,
            )
    assert ended.value.code == 2, err.getvalue()
    return err.getvalue()


def commands(experiment) -> list[list[str]]:
    """The flags of each command that an experiment's docstring shows."""
    name = experiment.__name__.rpartition(".")[2]
    doc = experiment.__doc__.replace("\\\n", " ")
    found = re.findall(rf"^ +python -m jaxfer\.experiments\.{name}(.*)$", doc, re.M)
    assert len(found) == doc.count("python -m") > 1
    return [flags.split() for flags in found]


def arrays(folder: Path, step: int, part: str | None = None) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint by their paths, read without anything of jaxfer."""
    tree = ocp.load((folder / "checkpoints" / str(step)).resolve())
    leaves = jax.tree_util.tree_leaves_with_path(tree if part is None else tree[part])
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def assert_identical(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    assert ours.keys() == theirs.keys()
    for name, leaf in ours.items():
        assert leaf.dtype == theirs[name].dtype and leaf.shape == theirs[name].shape, name
        assert leaf.tobytes() == theirs[name].tobytes(), name


def distance(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> float:
    """The largest difference between two trees of the same structure."""
    assert ours.keys() == theirs.keys()
    return max(
        float(np.abs(np.subtract(leaf, theirs[name], dtype=np.float64)).max())
        for name, leaf in ours.items()
    )


def measured(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, without the time."""
    return [{n: v for n, v in line.items() if n != "seconds"} for line in read_metrics(folder)]


@pytest.fixture(scope="module")
def compiled_quickly():
    """In this process, programs are compiled quickly rather than well."""
    jax.devices()  # the backend starts with what it has: experiments cannot make more of it
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="module")
def few_glyphs():
    """Glyphs that are drawn in no time: 10 alphabets of 10 characters."""
    few = functools.lru_cache(functools.partial(draw_glyphs, alphabets=10, characters=10))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxfer.data.omniglot.draw_glyphs", few)
        yield few


@pytest.fixture(autouse=True)
def nobodys_data(monkeypatch, tmp_path):
    """No data of this machine and no network."""
    monkeypatch.delenv("JAXFER_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tensorflow_datasets"))
    monkeypatch.setattr("jaxfer.data.omniglot.URL", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "*")


class Program:
    """An experiment as a program of its own, in an empty folder and with nobody's settings."""

    def __init__(self, name: str, *flags: object, home: Path, **environment: str):
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("JAX", "XLA", "TFDS")) and name != "COLUMNS"
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"jaxfer.experiments.{name}", *map(str, flags)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=home,
            env=clean
            | {
                "JAX_PLATFORMS": "cpu",
                "PYTHONPATH": str(ROOT),
                "HOME": str(home),
                "XDG_CACHE_HOME": str(home / ".cache"),
                "no_proxy": "*",
            }
            | environment,
        )

    def end(self, code: int = 0) -> tuple[str, str]:
        """Waits for it and gives what it printed to stdout and stderr."""
        out, err = self.process.communicate(timeout=900)
        assert self.process.returncode == code, err
        return out, err


@pytest.fixture
def start(tmp_path):
    """Starts a `Program`, quickly compiled; it does not outlive the test."""
    started = []
    quick = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}

    def start_one(name, *flags, plain=False, **environment):
        settings = environment if plain else quick | environment
        started.append(Program(name, *flags, home=tmp_path, **settings))
        return started[-1]

    yield start_one
    for program in started:
        if program.process.poll() is None:
            program.process.kill()
            program.process.communicate()
