"""A toy experiment, run as a program of its own: to be killed, split over devices and resumed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOY = Path(__file__).parent / "toy_experiment.py"


def start_toy(*flags, **environment):
    """Starts the toy experiment in another process."""
    clean = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS" and not k.startswith("JAX_")}
    root = str(TOY.parents[2])
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(TOY), *map(str, flags)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=clean | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": root, "NO_COLOR": "1"} | environment,
    )


def finish(process, code=0):
    """Waits for a process, and gives what it printed."""
    output, _ = process.communicate(timeout=500)
    assert process.returncode == code, output
    return output


@pytest.fixture
def start():
    """`start_toy`, whose processes do not outlive the test."""
    started = []

    def start_one(*flags, **environment):
        started.append(start_toy(*flags, **environment))
        return started[-1]

    yield start_one
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
