"""MAML on sinusoids, tried as a user would."""

import dataclasses
import json
import math
import re

import jax
import numpy as np
import pytest
from PIL import Image

from jaxfer.experiments import maml_sinusoid
from jaxfer.experiments.command_line import parse
from jaxfer.experiments.maml_sinusoid import PRESETS, Config, run
from jaxfer.training.checkpoints import checkpoint_steps
from jaxfer.typing import UserError

from .conftest import arrays, assert_identical, distance, do, fail, measured

pytestmark = pytest.mark.usefixtures("compiled_quickly")

SMALL = Config(
    steps=600,
    width=20,
    tasks=8,
    outer_rate=0.01,
    validate_every=200,
    checkpoint_every=200,
    validation_episodes=50,
    test_episodes=100,
    devices=1,
)


@pytest.fixture
def fewer(monkeypatch):
    """A test that is compiled sooner."""
    monkeypatch.setattr(maml_sinusoid, "SHOTS", (10,))
    monkeypatch.setattr(maml_sinusoid, "STEPS", (0, 1))


@pytest.fixture(scope="module")
def finished(compiled_quickly, tmp_path_factory):
    """A short run that learns something, tested at fewer numbers of points and steps."""
    config = dataclasses.replace(SMALL, out=tmp_path_factory.mktemp("runs") / "finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maml_sinusoid, "SHOTS", (5, 10))
        patch.setattr(maml_sinusoid, "STEPS", (0, 1, 2))
        return do(run, config)


def test_the_run_folder(finished):
    names = {path.name for path in finished.folder.iterdir() if not path.name.startswith(".")}
    assert names == {
        "config.json",
        "metrics.jsonl",
        "tensorboard",
        "checkpoints",
        "summary.json",
        "learning_curve.png",
        "adapted_curves.png",
    }
    assert checkpoint_steps(finished.folder / "checkpoints") == [400, 600]


def test_the_summary(finished):
    summary = json.loads((finished.folder / "summary.json").read_text())
    assert summary.keys() == {"test", "data", "config", "versions", "hardware", "seconds"}
    test = summary["test"]
    assert test["episodes"] == 100
    cells = {(cell["shot"], cell["inner_steps"]): cell for cell in test["mean_squared_error"]}
    assert cells.keys() == {(shot, steps) for shot in (5, 10) for steps in (0, 1, 2)}
    assert all(cell["mse"] > cell["ci95"] > 0 and cell["diverged"] == 0 for cell in cells.values())
    [one] = test["runs"]
    assert one["seed"] == 0 and one["step"] in (200, 400, 600) and one["validation"] > 0
    assert summary["data"]["source"] == "sinusoids"
    assert summary["config"] == json.loads((finished.folder / "config.json").read_text())
    assert summary["seconds"] > 0


@pytest.mark.parametrize("name", ["learning_curve", "adapted_curves"])
def test_the_pictures_show_something(finished, name):
    with Image.open(finished.folder / f"{name}.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    assert min(pixels.shape[:2]) > 200
    assert 0.01 < np.mean(pixels.min(-1) < 200) < 0.9


def test_what_is_printed(finished):
    header, _, *rows, last = finished.out.splitlines()
    assert re.split(r"  +", header) == ["MSE, 100 tasks", "K", "0 steps", "1 steps", "2 steps"]
    assert [re.split(r"  +", row)[:2] for row in rows] == [
        [name, shot]
        for name in ("maml, trained with 1 steps", "untrained network")
        for shot in ("5", "10")
    ]
    assert last == f"In {finished.folder}: summary.json, learning_curve.png, adapted_curves.png"
    assert "step 250/600" not in finished.err and "step 200/600  loss" in finished.err
    assert "step 600  validation  loss" in finished.err


def test_it_learns(finished):
    cells = {
        (cell["shot"], cell["inner_steps"]): cell
        for cell in finished.summary["test"]["mean_squared_error"]
    }
    untrained = {
        row.split()[2]: float(row.split()[6])
        for row in finished.out.splitlines()
        if row.startswith("untrained network")
    }
    # Adapting helps only after training, and a second step more than one: 3 to 1.4.
    assert cells[10, 1]["mse"] + cells[10, 1]["ci95"] < 0.75 * cells[10, 0]["mse"]
    assert cells[10, 1]["mse"] < 0.75 * untrained["10"]
    losses = [line["loss"] for line in measured(finished.folder) if line["split"] == "validation"]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--data", "omniglot"], "--data is omniglot; this experiment has only sinusoids"),
        (["--tasks", "24", "--devices", "5"], "24 tasks do not split evenly over 5 device(s)"),
        (["--tasks", "0"], "--tasks is 0; give at least 1"),
        (["--width", "0"], "--width is 0; give at least 1"),
        (["--inner-rate", "nan"], "--inner-rate is nan"),
        (["--outer-rate", "inf"], "--outer-rate is inf"),
        (["--test-seed", "-1"], "--test-seed is -1; give at least 0"),
        (["--method", "maml++", "--inner-steps", "0"], "maml++ needs at least 1"),
        (["--chunk", "5"], "--chunk 5 does not divide the 24 tasks"),
        (["--preset", "long"], "There is no preset 'long'; the presets are: "),
        (["--resume"], "There is no run in"),
    ],
)
def test_a_setting_that_cannot_work(tmp_path, flags, sentence):
    said = fail(maml_sinusoid, "--out", tmp_path / "run", *flags)
    assert said.startswith("error: ") and said.count("\n") == 1
    assert sentence in said
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_folder_with_a_run_is_not_overwritten(finished):
    said = fail(maml_sinusoid, "--out", finished.folder)
    assert said.startswith(f"error: {finished.folder} already holds a run; add --resume")


def test_a_run_that_diverges_names_the_step(tmp_path):
    config = dataclasses.replace(SMALL, out=tmp_path / "run", inner_rate=1e30)
    with pytest.raises(UserError, match=r"not finite \(seed 0 at step 1\); none was saved\. Lower"):
        do(run, config)


def test_tasks_whose_adaptation_diverges_are_counted():
    errors = np.array([[1.0, 2.0, np.inf, 4.0], [3.0, 4.0, 1.0, np.nan]])
    found = maml_sinusoid.summarise(errors)
    assert found["diverged"] == 2 and found["mse"] == pytest.approx(2.5)
    assert found["ci95"] == pytest.approx(1.96 * np.std([2, 3], ddof=1) / math.sqrt(2), rel=1e-4)
    assert maml_sinusoid.summarise(errors * np.nan) == {"mse": None, "ci95": None, "diverged": 4}


def test_help_teaches(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit):
        parse(Config, ["--help"], presets=PRESETS, description=maml_sinusoid.__doc__)
    shown = re.sub(r"[│╭╰─╮╯\s]+", " ", capsys.readouterr().out)
    for flag in ("--method", "--shot K", "--queries N", "--inner-steps N", "--inner-rate RATE"):
        assert flag in shown
    assert f"Presets: {', '.join(PRESETS)}" in shown
    assert "python -m jaxfer.experiments.maml_sinusoid --method cavia" in shown


def test_the_examples_of_its_docstring_can_be_copied():
    doc = maml_sinusoid.__doc__
    commands = re.findall(r"^ +python -m jaxfer\.experiments\.maml_sinusoid(.*)$", doc, re.M)
    assert len(commands) == doc.count("python -m") >= 3
    for flags in commands:
        assert parse(Config, flags.split(), presets=PRESETS, name="maml_sinusoid")
    assert set(re.findall(r"\w+\.png", doc)) == {"learning_curve.png", "adapted_curves.png"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"method": "fomaml"},
        {"method": "anil"},
        {"method": "boil"},
        {"method": "reptile", "inner_steps": 5},
        {"method": "meta-sgd"},
        {"method": "cavia"},
        pytest.param({"method": "imaml", "inner_steps": 3}, marks=pytest.mark.thorough),
        {"method": "maml++", "inner_steps": 2, "anneal_steps": 100},
        {"method": "maml", "inner_steps": 0},
    ],
    ids=lambda changes: changes["method"],
)
def test_every_method_learns(tmp_path, fewer, changes):
    config = dataclasses.replace(SMALL, out=tmp_path / "run", steps=400, **changes)
    done = do(run, config)
    losses = [line["loss"] for line in measured(tmp_path / "run") if line["split"] == "validation"]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    early, late = (arrays(tmp_path / "run", step, "params") for step in (200, 400))
    still = {name for name in early if np.array_equal(early[name], late[name])}
    # CAVIA's context starts at 0 in each task: what stands in the meta-parameters is never used.
    assert still == ({"['params']['context']"} if changes["method"] == "cavia" else set())
    assert done.summary["test"]["mean_squared_error"][0]["diverged"] == 0


@pytest.mark.slow
def test_the_seed_decides_and_runs_side_by_side_are_single_runs(tmp_path, fewer):
    def trained(name, **changes):
        do(run, dataclasses.replace(SMALL, out=tmp_path / name, steps=200, **changes))
        return arrays(tmp_path / name, 200)

    zero, again, one = trained("zero"), trained("again"), trained("one", seed=1)
    assert_identical(zero, again)
    assert distance(zero, one) > 1e-2
    both = trained("both", runs=2)
    for index, single in enumerate((zero, one)):
        mine = {name: leaf[index : index + 1] for name, leaf in both.items()}
        # 200 steps amplify what rounding differs by.
        assert distance(mine, single) < 1e-3


@pytest.mark.thorough  # a stage of .ci/run does it, too
def test_the_smoke_test_of_the_real_thing(start, tmp_path):
    out, err = start("maml_sinusoid", "--smoke", plain=True, PYTHONWARNINGS="error").end()
    assert out.count("trained with 1 steps") == 3 and out.count("untrained network") == 3
    assert "step 4/4" in err
    summary = json.loads((tmp_path / "runs/maml_sinusoid/summary.json").read_text())
    assert {(c["shot"], c["inner_steps"]) for c in summary["test"]["mean_squared_error"]} == {
        (shot, steps) for shot in (5, 10, 20) for steps in (0, 1, 10)
    }
    assert jax.tree.leaves(summary["versions"])
