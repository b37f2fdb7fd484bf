"""Black boxes on sinusoids: they learn to read points, and what is refused."""

import dataclasses
import json

import jax
import pytest

from jaxfer.data import sample_sinusoid_task
from jaxfer.experiments import fewshot_sinusoid
from jaxfer.experiments.command_line import parse
from jaxfer.experiments.fewshot_sinusoid import PRESETS, Config, make_method, run

from .conftest import commands, do, fail

pytestmark = pytest.mark.usefixtures("compiled_quickly")

SMALL = Config(
    steps=400, width=24, outer_rate=3e-3, tasks=16, validate_every=200, checkpoint_every=200,
    validation_episodes=50, test_episodes=50, devices=1,
)  # fmt: skip


@pytest.mark.slow
def test_it_learns_to_read_points(tmp_path):
    done = do(run, dataclasses.replace(SMALL, out=tmp_path / "out"))
    errors = json.loads((done.folder / "summary.json").read_text())["test"]["mean_squared_error"]
    assert [each["shot"] for each in errors] == [5, 10, 20]
    assert errors[1]["mse"] < 3.2  # the best constant's is 4.2
    assert (done.folder / "curves.png").stat().st_size > 1000
    assert "neural-process" in done.out and "untrained network" in done.out


def test_snail_takes_the_most_points_that_are_asked_about():
    begin, answer, loss_fn = make_method(dataclasses.replace(SMALL, method="snail"))

    def loss(key):
        task = sample_sinusoid_task(key, shot=20, queries=3)
        outputs, _ = answer(*begin(key), task.support, task.query.x, train=False)
        return outputs, loss_fn(outputs, task.query.y)

    outputs, (value, metrics) = jax.eval_shape(loss, jax.random.key(0))
    assert outputs.shape == (3, 1) and value.shape == metrics["mse"].shape == ()


def test_presets_and_commands_are_configurations():
    for flags in commands(fewshot_sinusoid):
        assert parse(Config, flags, presets=PRESETS).shot == 10


@pytest.mark.parametrize(
    ("flags", "said"),
    [(["--shot", "0"], "--shot is 0; give at least 1"), (["--data", "omniglot"], "--data is omni")],
)
def test_what_is_refused(flags, said, tmp_path):
    error = fail(fewshot_sinusoid, "--out", tmp_path / "out", *flags)
    assert error.startswith(f"error: {said}"), error
