"""MAML on Omniglot, tried as a user would: what it leaves behind, and what it says when it cannot."""

import dataclasses
import io
import json
import math
import re
import shutil
import time
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxfer.data import draw_glyphs
from jaxfer.experiments import maml_omniglot
from jaxfer.experiments.command_line import parse
from jaxfer.experiments.maml_omniglot import PRESETS, Config, run
from jaxfer.training.checkpoints import checkpoint_steps
from jaxfer.typing import LabelledBatch, Task, UserError

from .conftest import arrays, assert_identical, distance, do, fail, measured

pytestmark = pytest.mark.usefixtures("compiled_quickly", "few_glyphs")

SMALL = Config(
    data="glyphs",
    image_size=14,
    width=8,
    tasks=4,
    steps=300,
    outer_rate=0.01,
    rotations=False,
    test_inner_steps=1,
    test_queries=3,
    validate_every=100,
    checkpoint_every=100,
    validation_episodes=40,
    test_episodes=60,
    devices=1,
)
TINY = dataclasses.replace(
    SMALL, steps=20, validate_every=10, checkpoint_every=10, validation_episodes=4, test_episodes=4
)


def flags_of(config: Config, **changes) -> list[str]:
    """The flags that make a configuration out of the default one."""
    config = dataclasses.replace(config, **changes)
    flags = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value != field.default:
            name = field.name.replace("_", "-")
            flags += [f"--{name}"] if value is True else [f"--{name}", str(value)]
            if value is False:
                flags[-2:] = [f"--no-{name}"]
    return flags


@pytest.fixture(scope="module")
def finished(compiled_quickly, few_glyphs, tmp_path_factory):
    """A short run that learns something."""
    config = dataclasses.replace(SMALL, out=tmp_path_factory.mktemp("runs") / "finished")
    return do(run, config)


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of its folder, to be spoiled."""
    return Path(shutil.copytree(finished.folder, tmp_path / "copied"))


def test_the_run_folder(finished):
    names = {path.name for path in finished.folder.iterdir() if not path.name.startswith(".")}
    assert names == {
        "config.json",
        "metrics.jsonl",
        "tensorboard",
        "checkpoints",
        "summary.json",
        "learning_curve.png",
        "episode_first.png",
        "episode_hardest.png",
        "test_accuracies.npz",
    }
    assert checkpoint_steps(finished.folder / "checkpoints") == [200, 300]
    events = b"".join(p.read_bytes() for p in finished.folder.glob("tensorboard/seed_0/*"))
    for name in (b"train/loss", b"train/accuracy", b"validation/loss", b"validation/accuracy"):
        assert name in events


def test_the_summary(finished):
    summary = json.loads((finished.folder / "summary.json").read_text())
    assert summary.keys() == {"test", "data", "config", "versions", "hardware", "seconds"}
    test = summary["test"]
    assert {"accuracy", "ci95", "episodes", "runs"} <= test.keys()
    each = np.load(finished.folder / "test_accuracies.npz")["accuracy"]
    assert each.shape == (1, 60)
    assert test["episodes"] == 60
    assert test["accuracy"] == pytest.approx(each.mean(), abs=1e-6)
    assert test["ci95"] == pytest.approx(1.96 * each.std(ddof=1) / math.sqrt(60), rel=1e-4)
    [one] = test["runs"]
    assert one["seed"] == 0 and one["accuracy"] == test["accuracy"] and one["ci95"] == test["ci95"]
    assert one["step"] in (100, 200, 300) and 0 < one["validation"] <= 1
    assert test["protocol"]["statistics"] == "batch"
    assert summary["data"]["source"] == "glyphs"
    assert summary["data"]["checksum"] == draw_glyphs(alphabets=10, characters=10).checksum
    assert summary["data"]["characters"] == {"train": 68, "validation": 6, "test": 26}
    assert summary["config"] == json.loads((finished.folder / "config.json").read_text())
    assert summary["config"]["inner_steps"] == 1 and summary["config"]["rotations"] is False
    assert {"python", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint"} <= set(
        summary["versions"]
    )
    assert summary["hardware"]["backend"] == "cpu" and summary["hardware"]["devices"] == 1
    assert summary["seconds"] > 0


def test_the_summary_is_what_run_returns(finished):
    returned = finished.summary["test"]
    written = json.loads((finished.folder / "summary.json").read_text())["test"]
    assert json.loads(json.dumps(returned, default=lambda array: array.item())) == written


def test_the_metrics(finished):
    lines = measured(finished.folder)
    for split in ("train", "validation"):
        assert [line["step"] for line in lines if line["split"] == split] == [100, 200, 300]
    assert all(math.isfinite(line["loss"]) and 0 <= line["accuracy"] <= 1 for line in lines)


@pytest.mark.parametrize("name", ["learning_curve", "episode_first", "episode_hardest"])
def test_the_pictures_show_something(finished, name):
    with Image.open(finished.folder / f"{name}.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    assert min(pixels.shape[:2]) > 200
    assert 0.01 < np.mean(pixels.min(-1) < 200) < 0.9  # neither blank nor black
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20


def test_the_pictures_differ(finished):
    seen = {path.read_bytes() for path in finished.folder.glob("*.png")}
    assert len(seen) == 3


def test_what_is_printed(finished):
    lines = finished.out.splitlines()
    assert lines[0] == "Glyphs that jaxfer invented with seed 0, NOT Omniglot."
    assert lines[1].startswith("5-way 1-shot, glyphs, batch statistics")
    assert "60 test episodes" in lines[1]
    names = ("maml, 1 inner steps", "the same network untrained", "nearest support pixels")
    rows = dict(zip(names, lines[3:6], strict=True))
    accuracies = [finished.summary["test"]["accuracy"]] + [
        finished.summary["test"]["baselines"][name]["accuracy"]
        for name in ("untrained", "nearest_pixels")
    ]
    for (name, row), accuracy in zip(rows.items(), accuracies, strict=True):
        assert row.startswith(name) and f"{100 * accuracy:.2f} ± " in row
    assert lines[6].startswith(f"In {finished.folder}: ")
    for name in lines[6].removeprefix(f"In {finished.folder}: ").split(", "):
        assert (finished.folder / name).is_file()
    assert len(lines) == 7


def test_off_a_terminal_progress_is_plain_lines(finished):
    assert "step 25/300  loss" in finished.err
    assert re.search(r"step 300/300  loss [\d.]+  accuracy [\d.]+%  [\d,.]+ tasks/s", finished.err)
    assert re.search(r"step 200  validation  loss [\d.]+  accuracy [\d.]+%", finished.err)
    assert "\r" not in finished.err


def test_it_learns(finished):
    test, untrained = finished.summary["test"], finished.summary["test"]["baselines"]["untrained"]
    # 51 against 25 per cent, by chance 20: their intervals are far apart.
    assert test["accuracy"] - test["ci95"] > untrained["accuracy"] + untrained["ci95"] + 0.1
    losses = [line["loss"] for line in measured(finished.folder) if line["split"] == "train"]
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.85 * losses[0]
    params = arrays(finished.folder, 300, "params")
    moved = [np.abs(leaf - arrays(finished.folder, 200, "params")[n]) for n, leaf in params.items()]
    assert all(np.isfinite(leaf).all() for leaf in params.values())
    assert all(difference.max() > 1e-3 for difference in moved)


def test_a_folder_with_a_run_is_not_overwritten(finished):
    said = fail(maml_omniglot, *flags_of(SMALL, out=finished.folder))
    assert said == (
        f"error: {finished.folder} already holds a run; add --resume to go on with it, or give "
        f"another --out.\n"
    )


def test_a_checkpoint_of_another_configuration(finished):
    said = fail(maml_omniglot, *flags_of(SMALL, out=finished.folder, width=9, resume=True))
    assert said.startswith(f"error: The run in {finished.folder} has other settings: width is 8")
    assert said.count("\n") == 1


@pytest.mark.slow
def test_a_finished_run_is_only_tested_again(copied):
    before = {step: arrays(copied, step) for step in (200, 300)}
    lines = (copied / "metrics.jsonl").read_text()
    again = do(run, dataclasses.replace(SMALL, out=copied, resume=True, test_shot=2))
    assert "2-shot" in again.out and "Going on from step 300." in again.err
    assert "tasks/s" not in again.err
    assert again.summary["test"]["protocol"]["shot"] == 2
    assert again.summary["config"].test_shot == 2
    assert (copied / "metrics.jsonl").read_text() == lines
    for step, tree in before.items():
        assert_identical(arrays(copied, step), tree)


def spoil(checkpoint: Path) -> None:
    """Cuts the checkpoint's largest file in half."""
    largest = max((p for p in checkpoint.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = largest.read_bytes()
    largest.write_bytes(content[: len(content) // 2])


def test_damaged_checkpoints(copied):
    for step in (200, 300):
        spoil(copied / "checkpoints" / str(step))
    said = fail(maml_omniglot, *flags_of(SMALL, out=copied, resume=True))
    *others, last = said.splitlines()
    assert last.startswith(f"error: No checkpoint in {copied / 'checkpoints'} can be read")
    assert "another --out" in last
    assert len(others) == 1 and "300 is damaged" in others[0] and "step 200 instead" in others[0]


# What cannot work, and the sentence that says so.

SENTENCES = {
    "way beyond the classes": (["--way", "7"], "--way is 7, but there are only 6 characters"),
    "one way": (["--way", "1"], "--way is 1; give a whole number of at least 2"),
    "too many drawings": (
        ["--shot", "5", "--queries", "16"],
        "--shot 5 and --queries 16 need 21 drawings of each character, which has 20; lower one",
    ),
    "too many test drawings": (["--test-shot", "20"], "need 21 drawings of each character"),
    "tasks on devices": (
        ["--tasks", "32", "--devices", "3"],
        "32 tasks do not split evenly over 3 device(s); give a multiple of 3 tasks, or another",
    ),
    "no devices": (["--devices", "0"], "--devices is 0; give at least 1"),
    "chunks": (["--chunk", "3", "--devices", "1"], "--chunk 3 does not divide the 4 tasks"),
    "a folder that is not there": (
        ["--data", "no/such"],
        "--data is 'no/such', which is no folder",
    ),
    "a data folder that is not there": (
        ["--data", "omniglot", "--data-dir", "no/such"],
        "--data-dir is no/such, which is no folder",
    ),
    "two folders": (["--data", ".", "--data-dir", "."], "leave --data-dir out"),
    "no Omniglot and no network": (["--data", "omniglot"], "There is no Omniglot in"),
    "no TFDS": (["--data", "tfds"], "prepare it once, which needs TensorFlow"),
    "image size": (["--image-size", "4"], "--image-size is 4; give 8 to 105"),
    "image size for pooling": (
        ["--image-size", "14", "--downsampling", "max_pool"],
        "--image-size is 14; give at least 16",
    ),
    "a split's seed": (["--split-seed", "-1"], "--split-seed is -1; give at least 0"),
    "no preset": (["--preset", "5ways"], "There is no preset '5ways'; the presets are: 5way"),
    "no run to resume": (["--resume"], "to resume; check --out"),
    "steps": (["--steps", "0"], "--steps is 0; give at least 1"),
    "runs": (["--runs", "-1"], "--runs is -1; give at least 1"),
    "seed": (["--seed", "-1"], "--seed is -1; give at least 0"),
}


@pytest.mark.parametrize(("flags", "sentence"), SENTENCES.values(), ids=SENTENCES)
def test_a_setting_that_cannot_work(tmp_path, monkeypatch, flags, sentence):
    monkeypatch.chdir(tmp_path)
    common = ["--data", "glyphs", "--image-size", "14", "--tasks", "4", "--out", tmp_path / "run"]
    said = fail(maml_omniglot, *common, *flags)
    assert said.startswith("error: ") and said.count("\n") == 1 and "Traceback" not in said
    assert sentence in said
    assert not (tmp_path / "run" / "checkpoints").exists()


NUMBERS = {
    "shot": 1,
    "queries": 1,
    "tasks": 1,
    "width": 1,
    "chunk": 1,
    "context": 1,
    "validate_every": 1,
    "checkpoint_every": 1,
    "validation_episodes": 1,
    "test_episodes": 1,
    "test_shot": 1,
    "test_queries": 1,
    "inner_steps": 0,
    "test_inner_steps": 0,
    "inner_rate": 0,
    "outer_rate": 0,
    "anneal_steps": 0,
    "first_order_steps": 0,
    "test_seed": 0,
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_that_are_too_small(tmp_path, name):
    for value in {NUMBERS[name] - 1, -2}:
        with pytest.raises(UserError) as error:
            run(dataclasses.replace(SMALL, out=tmp_path / "run", **{name: value}))
        assert f"--{name.replace('_', '-')} is {value}; give " in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["inner_rate", "outer_rate", "proximal"])
def test_rates_that_are_no_numbers(tmp_path, name, value):
    config = dataclasses.replace(SMALL, out=tmp_path / "run", method="imaml", **{name: value})
    with pytest.raises(UserError, match=f"--{name.replace('_', '-')} is {value}"):
        run(config)


def test_iterating_towards_no_proximal_point(tmp_path):
    config = dataclasses.replace(SMALL, out=tmp_path / "run", method="imaml", proximal=0.0)
    with pytest.raises(UserError, match="--proximal is 0.0; imaml needs a positive number"):
        run(config)


@pytest.mark.parametrize(
    ("flags", "shown"),
    [
        (["--method", "mamal"], "maml++"),
        (["--inner-rate", "fast"], "--inner-rate"),
        (["--statistics", "running"], "support"),
        (["--inner-stepps", "3"], "--inner-steps"),
    ],
)
def test_a_flag_that_cannot_be_read_teaches(flags, shown):
    said = fail(maml_omniglot, *flags)
    assert flags[0] in said and shown in said and "Traceback" not in said


def zips(folder: Path, files: dict[str, bytes]) -> Path:
    """A folder whose two zips hold the same files."""
    folder.mkdir()
    for half in ("images_background", "images_evaluation"):
        with zipfile.ZipFile(folder / f"{half}.zip", "w") as archive:
            for name, content in files.items():
                archive.writestr(f"{half}/{name}", content)
    return folder


def drawing(size: int = 105) -> bytes:
    ink = np.ones((size, size), bool)
    ink[3] = False
    file = io.BytesIO()
    Image.fromarray(ink).save(file, "PNG")
    return file.getvalue()


def test_data_that_are_not_omniglot(tmp_path):
    out = ["--out", tmp_path / "run", "--data"]
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    said = fail(maml_omniglot, *out, tmp_path / "photos")
    assert said.startswith(f"error: {tmp_path / 'photos'} is not Omniglot: it holds cat.jpg; ")

    name = "Greek/character01/0001_01.png"
    few = zips(tmp_path / "few", {name: drawing()})
    assert "holds 1 characters instead of 964" in fail(maml_omniglot, *out, few)
    other = zips(tmp_path / "other", {name: drawing(90)})
    assert f"{name} is 90 x 90 pixels instead of 105" in fail(maml_omniglot, *out, other)
    altered = zips(tmp_path / "altered", {name: drawing()[:-20] + bytes(20)})
    assert f"{name} is not a readable PNG" in fail(maml_omniglot, *out, altered)
    half = few / "images_background.zip"
    half.write_bytes(half.read_bytes()[:100])
    assert f"{half}: is truncated or damaged" in fail(maml_omniglot, *out, few)
    half.unlink()
    said = fail(maml_omniglot, *out, few)
    assert said.count("\n") == 1 and "holds neither images_background.zip nor" in said
    assert not (tmp_path / "run").exists()


def test_a_run_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        said = fail(maml_omniglot, *flags_of(TINY, out=out))
        assert said.startswith(f"error: The run folder {out} cannot be written (")
        assert said.endswith("give another --out.\n") and said.count("\n") == 1


def test_more_accelerators_than_there_are(monkeypatch):
    class Gpu:
        platform = "gpu"

    monkeypatch.setattr("jaxfer.training.devices.jax.local_devices", lambda: [Gpu(), Gpu()])
    monkeypatch.setattr("jaxfer.training.devices.jax.local_device_count", lambda: 2)
    said = fail(maml_omniglot, "--data", "glyphs", "--devices", "4")
    assert said == (
        "error: --devices 4 asks for more than the 2 gpu device(s) here; give --devices 2 or "
        "fewer.\n"
    )


def test_debug_adds_the_traceback():
    said = fail(maml_omniglot, "--data", "no/such", "--debug")
    assert "Traceback (most recent call last)" in said
    assert said.splitlines()[-1].startswith("error: --data is 'no/such'")


@pytest.mark.slow
def test_a_program_that_cannot_start(start, tmp_path):
    program = start("maml_omniglot", "--data", tmp_path / "nowhere", "--out", "run")
    out, err = program.end(code=2)
    assert out == ""
    assert err.startswith("error: --data is ") and err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_help_teaches(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit) as ended:
        parse(
            Config,
            ["--help"],
            presets=PRESETS,
            description=maml_omniglot.__doc__,
            name="maml_omniglot",
        )
    assert ended.value.code == 0
    shown = re.sub(r"[│╭╰─╮╯\s]+", " ", capsys.readouterr().out)
    for flag in (
        "--out DIR", "--seed N", "--runs N", "--steps N", "--data-dir DIR", "--devices N",
        "--resume", "--smoke", "--debug", "--way N", "--shot N", "--queries N",
        "--inner-steps N", "--inner-rate RATE", "--data auto|omniglot|tfds|glyphs|FOLDER",
        "--preset NAME", "--statistics {batch,support}", "--no-rotations", "--remat",
    ):  # fmt: skip
        assert flag in shown, flag
    methods = "maml,fomaml,anil,boil,reptile,meta-sgd,cavia,imaml,maml++"
    assert f"--method {{{methods}}}" in shown
    assert f"Presets: {', '.join(PRESETS)}" in shown


def test_the_examples_of_its_docstring_can_be_copied():
    doc = maml_omniglot.__doc__
    commands = re.findall(
        r"^ +python -m jaxfer\.experiments\.maml_omniglot(.*?)(?: {2}.*)?$", doc, re.M
    )
    assert len(commands) == doc.count("python -m") >= 3
    for flags in commands:
        assert parse(Config, flags.split(), presets=PRESETS, name="maml_omniglot")
    named = set(re.findall(r"\w+\.(?:png|json\w*)", doc))
    assert named == {
        "config.json",
        "metrics.jsonl",
        "summary.json",
        "learning_curve.png",
        "episode_first.png",
        "episode_hardest.png",
    }


def test_the_nearest_support_drawing():
    support = LabelledBatch(
        jnp.array([[0.0, 0.0], [1.0, 1.0]]).reshape(2, 1, 2, 1), jnp.array([4, 7])
    )
    query = LabelledBatch(jnp.array([[0.9, 0.6], [0.1, 0.2], [0.4, 0.7]]).reshape(3, 1, 2, 1), None)
    assert maml_omniglot.nearest_neighbour(Task(support, query)).tolist() == [7, 4, 7]


def test_means_are_over_runs_first():
    accuracy = np.array([[0.5, 1.0, 0.75], [0.7, 0.8, 0.75]])
    found = maml_omniglot.summarise(accuracy)
    episodes = [0.6, 0.9, 0.75]
    assert found["accuracy"] == pytest.approx(0.75)
    assert found["ci95"] == pytest.approx(1.96 * np.std(episodes, ddof=1) / math.sqrt(3), rel=1e-4)
    assert found["std_over_runs"] == pytest.approx(0)
    assert "std_over_runs" not in maml_omniglot.summarise(accuracy[:1])


# What takes longer.


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"method": "maml", "statistics": "support", "remat": True},
        {"method": "fomaml", "downsampling": "max_pool", "image_size": 16},
        {"method": "anil", "split": "alphabets"},
        pytest.param({"method": "boil", "rotations": True}, marks=pytest.mark.thorough),
        pytest.param({"method": "reptile", "test_inner_steps": 2}, marks=pytest.mark.thorough),
        pytest.param(
            {"method": "meta-sgd", "shot": 2, "queries": 2, "way": 3}, marks=pytest.mark.thorough
        ),
        {"method": "cavia", "context": 5, "inner_steps": 2},
        pytest.param(
            {"method": "imaml", "inner_steps": 2, "inner_rate": 0.1, "chunk": 2},
            marks=pytest.mark.thorough,
        ),
        # As README has it: one inner step in training, more in the test.
        {"method": "maml++", "test_inner_steps": None, "first_order_steps": 5, "anneal_steps": 10},
        pytest.param(
            {"method": "maml++", "inner_steps": 2, "test_inner_steps": 2, "statistics": "support"},
            marks=pytest.mark.thorough,
        ),
        {"inner_steps": 0, "test_inner_steps": 1},
    ],
    ids=lambda changes: f"{changes.get('method', 'joint')}",
)
def test_every_method_runs_and_changes_all_it_should(tmp_path, changes):
    done = do(run, dataclasses.replace(TINY, out=tmp_path / "run", **changes))
    assert all(math.isfinite(line["loss"]) for line in measured(tmp_path / "run"))
    assert 0 <= done.summary["test"]["accuracy"] <= 1
    assert done.summary["test"]["protocol"]["statistics"] == changes.get("statistics", "batch")
    early, late = (arrays(tmp_path / "run", step, "params") for step in (10, 20))
    still = {name for name in early if np.array_equal(early[name], late[name])}
    # CAVIA's context starts at 0 in each task: what stands in the meta-parameters is never used.
    unused = {"['params']['context']"} if changes.get("method") == "cavia" else set()
    assert still == unused
    if changes.get("split") == "alphabets":
        assert done.summary["data"]["characters"] == {"train": 10, "validation": 50, "test": 40}


@pytest.mark.slow
def test_the_seed_decides_and_runs_side_by_side_are_single_runs(tmp_path):
    # Inner steps of rate 2 amplify rounding: at the default rate two programs that compute the same
    # in another order part within twenty steps.
    config = dataclasses.replace(TINY, steps=10, inner_rate=0.4)

    def trained(name, **changes):
        done = do(run, dataclasses.replace(config, out=tmp_path / name, **changes))
        return done.summary["test"], arrays(tmp_path / name, 10)

    zero, zero_arrays = trained("zero")
    again, again_arrays = trained("again")
    assert again == zero
    assert_identical(again_arrays, zero_arrays)
    one, one_arrays = trained("one", seed=1)
    assert distance(one_arrays, zero_arrays) > 1e-2
    both, both_arrays = trained("both", runs=2)
    assert [each["seed"] for each in both["runs"]] == [0, 1]
    for index, single in enumerate((zero_arrays, one_arrays)):
        mine = {name: leaf[index : index + 1] for name, leaf in both_arrays.items()}
        parts = [
            {name: leaf for name, leaf in every.items() if name.startswith("['params']")}
            for every in (mine, single)
        ]
        assert distance(*parts) < 1e-5
    for mine, single in zip(both["runs"], (zero, one), strict=True):
        assert mine["accuracy"] == pytest.approx(single["accuracy"], abs=1e-6)
    assert both["accuracy"] == pytest.approx((zero["accuracy"] + one["accuracy"]) / 2)


@pytest.mark.slow
def test_neither_rematerialising_nor_chunks_change_what_is_computed(tmp_path):
    # Few steps: chunks add up in another order, and inner steps multiply the rounding of it.
    few = dataclasses.replace(TINY, steps=3, validate_every=3, checkpoint_every=3)
    found = {}
    for name, changes in {"kept": {}, "remat": {"remat": True}, "chunks": {"chunk": 2}}.items():
        config = dataclasses.replace(few, out=tmp_path / name, **changes)
        do(run, config)
        found[name] = arrays(tmp_path / name, 3, "params")
    assert distance(found["remat"], found["kept"]) < 1e-5
    assert distance(found["chunks"], found["kept"]) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"outer_rate": 1e38}, {"inner_rate": 1e30}])
def test_a_run_that_diverges_names_the_step(tmp_path, changes):
    said = fail(maml_omniglot, *flags_of(TINY, out=tmp_path / "run", **changes))
    last = said.splitlines()[-1]
    assert re.match(r"error: Parameters or loss were not finite \(seed 0 at step \d+\)", last)
    assert "Lower the learning rate" in last and "Traceback" not in said


KILLED = dataclasses.replace(
    TINY, steps=100, validate_every=25, checkpoint_every=5, outer_rate=1e-3
)


def wait_for(landed, program, seconds=600):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert program.process.poll() is None, program.process.communicate()[1]
        if landed():
            return
        time.sleep(2e-4)
    raise AssertionError("it never came to that")


@pytest.mark.slow
def test_a_run_that_is_killed_twice_ends_bit_for_bit_where_an_undisturbed_one_does(start, tmp_path):
    flags = flags_of(KILLED, out="killed")
    checkpoints = tmp_path / "killed" / "checkpoints"

    program = start("maml_omniglot", *flags)
    wait_for(lambda: len(checkpoint_steps(checkpoints)) >= 2, program)
    program.process.kill()
    program.end(code=-9)
    first = checkpoint_steps(checkpoints)[-1]
    assert 10 <= first < 100
    assert not (tmp_path / "killed" / "summary.json").exists()

    for _ in range(5):  # until a kill hits a save under way
        program = start("maml_omniglot", *flags, "--resume")

        def saving():
            return any("orbax-checkpoint-tmp" in path.name for path in checkpoints.iterdir())

        wait_for(lambda: checkpoint_steps(checkpoints)[-1] > first, program)  # noqa: B023
        wait_for(saving, program)
        program.process.kill()
        _, err = program.end(code=-9)
        assert f"Going on from step {first}." in err
        first = checkpoint_steps(checkpoints)[-1]
        if saving():
            break
    assert saving() and first < 100, "no kill hit a save under way"

    _, err = start("maml_omniglot", *flags, "--resume").end()
    assert f"Going on from step {first}." in err and "damaged" not in err
    start("maml_omniglot", *flags_of(KILLED, out="undisturbed")).end()

    folders = [tmp_path / "killed", tmp_path / "undisturbed"]
    assert checkpoint_steps(checkpoints) == [95, 100]
    for step in (95, 100):
        assert_identical(*(arrays(folder, step) for folder in folders))
    ours, theirs = map(measured, folders)
    places = [(line["step"], line["split"]) for line in ours]
    assert len(set(places)) == len(places)
    assert ours == theirs
    ours, theirs = (json.loads((folder / "summary.json").read_text())["test"] for folder in folders)
    assert ours == theirs


@pytest.mark.slow
def test_one_device_four_devices_and_two_processes_agree(start, tmp_path):
    import socket

    config = dataclasses.replace(TINY, steps=10, image_size=28)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    one = start("maml_omniglot", *flags_of(config, out="one"))
    two = [
        start(
            "maml_omniglot",
            *flags_of(config, out="two"),
            JAX_COORDINATOR_ADDRESS=f"127.0.0.1:{port}",
            JAX_NUM_PROCESSES="2",
            JAX_PROCESS_ID=str(index),
        )
        for index in range(2)
    ]
    one.end()
    printed = [program.end() for program in two]
    start("maml_omniglot", *flags_of(config, out="four", devices=4)).end()
    hardware = {
        name: json.loads((tmp_path / name / "summary.json").read_text())["hardware"]
        for name in ("one", "two", "four")
    }
    assert [hardware[n]["devices"] for n in ("one", "two", "four")] == [1, 2, 4]
    assert hardware["two"]["processes"] == 2
    reference = arrays(tmp_path / "one", 10, "params")
    for name in ("two", "four"):
        assert distance(arrays(tmp_path / name, 10, "params"), reference) < 1e-5, name
    first, second = (
        [line for line in err.splitlines() if not line.startswith("WARNING:jax")]
        for _, err in printed
    )
    assert any("step 10/10" in line for line in first) and second == []


@pytest.mark.slow
def test_the_shortest_command_works_on_a_fresh_machine(start, tmp_path):
    out, err = start("maml_omniglot", "--smoke", plain=True, PYTHONWARNINGS="error").end()
    assert "NOT Omniglot" in out.splitlines()[0]
    assert "step 4/4" in err
    summary = json.loads((tmp_path / "runs/maml_omniglot/summary.json").read_text())
    assert summary["data"]["source"] == "glyphs"


@pytest.mark.slow
def test_omniglot_is_the_same_from_its_zips_and_from_tfds(start, tmp_path, data_dir):
    flags = ["--smoke", "--image-size", "14", "--devices", "1", "--data-dir", data_dir, "--data"]
    found = {}
    for source in ("omniglot", "tfds"):
        out, _ = start("maml_omniglot", *flags, source, "--out", source).end()
        assert out.startswith("Omniglot ")
        found[source] = json.loads((tmp_path / source / "summary.json").read_text())
        assert found[source]["data"]["source"] == source
        assert found[source]["data"]["characters"] == {
            "train": 1100,
            "validation": 100,
            "test": 423,
        }
    assert found["omniglot"]["test"] == found["tfds"]["test"]
    assert found["omniglot"]["data"]["checksum"] == found["tfds"]["data"]["checksum"]
    assert_identical(*(arrays(tmp_path / source, 4) for source in ("omniglot", "tfds")))
