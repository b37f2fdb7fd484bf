"""Every experiment answers --help with the flags that all of them share."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "jaxfer" / "experiments"
FLAGS = ("--out", "--seed", "--data-dir", "--smoke", "--debug")
TRAINING_FLAGS = ("--runs", "--steps", "--devices", "--resume")
# These compute an answer in one go: there is no step to repeat, split or go on from.
WITHOUT_TRAINING = {"shift"}


def experiments() -> list[str]:
    """Modules that can be run; the others serve them."""
    return sorted(
        path.stem
        for path in FOLDER.glob("*.py")
        if re.search(r'^if __name__ == "__main__":', path.read_text(encoding="utf-8"), re.M)
    )


def answer(module: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "COLUMNS": "200", "NO_COLOR": "1"}
    environment["PYTHONPATH"] = str(FOLDER.parents[1])
    return subprocess.run(
        [sys.executable, "-m", module, "--help"],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        check=False,
    )


def test_there_are_experiments():
    assert {"maml_omniglot", *WITHOUT_TRAINING} <= set(experiments())


HELP = [
    name if name == "maml_omniglot" else pytest.param(name, marks=pytest.mark.thorough)
    for name in experiments()
]


@pytest.mark.parametrize("name", HELP)
def test_an_experiment_explains_its_flags(name):
    result = answer(f"jaxfer.experiments.{name}")
    assert result.returncode == 0, result.stderr[-2000:]
    flags = FLAGS if name in WITHOUT_TRAINING else FLAGS + TRAINING_FLAGS
    missing = [flag for flag in flags if not re.search(rf"(?<![\w-]){flag}\b", result.stdout)]
    assert not missing, f"{name} --help does not have {missing}"


@pytest.mark.parametrize("name", experiments())
def test_an_experiment_begins_with_its_command(name):
    doc = ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8")))
    assert doc
    assert f"python -m jaxfer.experiments.{name}" in doc


def test_the_report_explains_itself():
    result = answer("jaxfer.report")
    assert result.returncode == 0
    assert "--out" in result.stdout
