"""The comparison of two sets of data, tried as a user would."""

import contextlib
import dataclasses
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from jaxfer.experiments import shift
from jaxfer.experiments.command_line import main, parse
from jaxfer.experiments.shift import SMOKE, Config, read_sides, run
from jaxfer.typing import UserError

from .conftest import do

pytestmark = pytest.mark.usefixtures("compiled_quickly")

SMALL = Config(permutations=19, max_points=60, top=3, folds=3)
FILES = {"config.json", "summary.json", "witness.png", "null_distribution.png"}


def photographs(folder, dark, count=6, seed=0):
    """A folder of images in two classes, darker or lighter."""
    draw = np.random.default_rng(seed)
    for index in range(count):
        place = folder / ("cup" if index % 2 else "bowl")
        place.mkdir(parents=True, exist_ok=True)
        pixels = draw.integers(0, 100, size=(24, 30, 3)) + (0 if dark else 150)
        Image.fromarray(pixels.astype(np.uint8)).save(place / f"{index}.png")
    return folder


def table(path, shift=0.0, count=12, header=True, seed=0):
    values = np.random.default_rng(seed).normal(size=(count, 3)) + [0, shift, 0]
    lines = ["width,height,depth"] * header + [",".join(map(str, row)) for row in values]
    path.write_text("\n".join(lines))
    return path


def fail(*flags) -> str:
    """Runs from the command line; returns stderr, which must be one sentence."""
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        with pytest.raises(SystemExit) as ended:
            main(Config, run, smoke=SMOKE, args=list(map(str, flags)))
    said = err.getvalue()
    assert ended.value.code == 2, said
    assert said.startswith("error: ") and said.count("\n") == 1, said
    return said


@pytest.fixture(scope="module")
def digits(compiled_quickly, tmp_path_factory):
    config = dataclasses.replace(SMALL, out=tmp_path_factory.mktemp("runs") / "digits")
    return do(run, config)


def test_the_run_folder(digits):
    assert {path.name for path in digits.folder.iterdir() if path.name[0] != "."} == FILES
    for name in ("witness", "null_distribution"):
        with Image.open(digits.folder / f"{name}.png") as image:
            pixels = np.asarray(image.convert("RGB"))
        assert min(pixels.shape[:2]) > 300 and 0.01 < np.mean(pixels.min(-1) < 200) < 0.9


def test_the_summary(digits):
    summary = json.loads((digits.folder / "summary.json").read_text())
    assert summary.keys() == {
        "verdict", "test", "data", "config", "versions", "hardware", "seconds",
    }  # fmt: skip
    test = summary["test"]
    assert summary["verdict"].split(":")[0] in ("Clear shift", "Strong shift")
    assert test["p_value"] == pytest.approx(1 / 20) and test["permutations"] == 19
    assert test["mmd_squared"] > test["null_quantile_95"] > 0
    assert test["proxy_a_distance"] == pytest.approx(2 * (1 - 2 * test["held_out_error"]))
    assert len(test["proxy_a_distance_of_folds"]) == 3 and test["classifier_converged"] is True
    examples = test["most_unlike_the_other_side"]
    assert [len(examples[role]) for role in ("source", "target")] == [3, 3]
    assert examples["target"][0]["witness"] <= examples["target"][1]["witness"]
    sides = summary["data"]["sides"]
    assert [(side["points"], side["looked_at"], side["features"]) for side in sides] == [
        (898, 60, 64), (899, 60, 64),
    ]  # fmt: skip
    assert "blurred with sigma 0.5" in sides[1]["origin"] and len(sides[1]["checksum"]) == 64
    assert summary["data"]["source"] == "sharp and blurred"
    assert {"scikit-learn", "pillow", "jax"} <= summary["versions"].keys()
    assert summary["config"] == json.loads((digits.folder / "config.json").read_text())


def test_what_is_printed(digits):
    source, target, _, verdict, _, header, _, *rows, _, last = digits.out.splitlines()
    assert source.startswith("source, sharp: scikit-learn's handwritten digits")
    assert target.startswith("target, blurred: ") and target.endswith("blurred with sigma 0.5.")
    assert verdict == digits.summary["verdict"]
    assert "60 of 898 source points and 60 of 899 target points" in verdict
    cells = [re.split(r"  +", row) for row in rows]
    assert [row[0] for row in cells] == [
        "p-value", "MMD squared", "proxy A-distance", "points", "features",
    ]  # fmt: skip
    assert cells[0][1:] == ["0.05", "19 permutations"]
    assert re.fullmatch(r"\d\.\d\d to \d\.\d\d in 3 folds", cells[2][2])
    assert cells[3][1:] == ["120", "60 of 898 sharp and 60 of 899 blurred"]
    assert cells[4][1:] == ["64", "8 x 8"]
    assert last.startswith(f"In {digits.folder}: ")


@pytest.mark.slow
def test_no_blur_is_no_shift(tmp_path):
    config = dataclasses.replace(SMALL, out=tmp_path, blur=0, permutations=39, max_points=200)
    assert do(run, config).summary["verdict"].startswith("No shift found")


def test_two_folders_of_images(tmp_path):
    dark, light = photographs(tmp_path / "dark", True), photographs(tmp_path / "light", False)
    config = dataclasses.replace(
        SMALL, source=str(dark), target=str(light), image_size=4, color=True, out=tmp_path / "run"
    )
    done = do(run, config)
    assert done.out.startswith(f"source, dark: 6 images in {dark}.\ntarget, light: 6 images")
    assert "4 x 4 x 3" in done.out and done.summary["test"]["proxy_a_distance"] == 2
    examples = done.summary["test"]["most_unlike_the_other_side"]["source"]
    assert {example["name"] for example in examples} < {
        f"{'cup' if i % 2 else 'bowl'}/{i}.png" for i in range(6)
    }
    # The picture shows the photographs themselves: light ones below, dark ones above.
    with Image.open(tmp_path / "run" / "witness.png") as image:
        grey = np.asarray(image.convert("L"), float)
    assert (grey[: len(grey) // 2] < 90).mean() > (grey[len(grey) // 2 :] < 90).mean() + 0.05
    source, _ = read_sides(config)
    assert source.features.shape == (6, 48) and 0 <= source.features.min() < 0.4
    assert source.draw([0]).shape == (1, shift.THUMBNAIL, shift.THUMBNAIL, 3)


def test_unreadable_images_are_an_error_unless_they_may_be_skipped(tmp_path):
    dark, light = photographs(tmp_path / "dark", True), photographs(tmp_path / "light", False)
    (light / "cup" / "broken.jpg").write_bytes(b"no")
    flags = ("--source", dark, "--target", light, "--smoke", "--out", tmp_path / "run")
    said = fail(*flags)
    assert f"1 of 7 images in {light} cannot be read: cup/broken.jpg (not an image" in said
    config = dataclasses.replace(
        SMALL, source=str(dark), target=str(light), skip_bad=True, out=tmp_path / "run"
    )
    done = do(run, config)  # what failed before is no obstacle
    assert "1 unreadable left out" in done.out
    assert done.summary["data"]["sides"][1]["skipped"] == [
        "cup/broken.jpg: not an image that can be read"
    ]


@pytest.mark.slow
def test_two_tables(tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        shift, "witness_features", lambda *args, **options: seen.update(args=args, **options)
    )
    old, new = table(tmp_path / "old.csv"), table(tmp_path / "new.csv", shift=50.0, seed=1)
    config = dataclasses.replace(SMALL, source=str(old), target=str(new), out=tmp_path / "run")
    done = do(run, config)
    assert done.summary["data"]["source"] == "old and new"
    source, target, moved, _ = seen["args"]
    assert source.shape == target.shape == (12,) and np.abs(moved).argmax() == 1
    assert 1.9 < moved[1] < 2.0  # two clusters: all of the spread is between them
    assert seen["feature_names"] == ("width", "height", "depth")
    monkeypatch.undo()
    raw = do(run, dataclasses.replace(config, raw=True, out=tmp_path / "raw"))
    assert (raw.folder / "witness.png").exists()
    assert raw.summary["test"]["mmd_squared"] != done.summary["test"]["mmd_squared"]


def test_features_are_standardised_over_both_sides_unless_raw(tmp_path):
    old, new = table(tmp_path / "old.csv"), table(tmp_path / "new.csv", shift=50.0, seed=1)
    config = Config(source=str(old), target=str(new))
    both = np.concatenate([side.features for side in read_sides(config)])
    np.testing.assert_allclose(both.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(both.std(0), 1, rtol=1e-6)
    raw = read_sides(dataclasses.replace(config, raw=True))
    both = np.concatenate([side.features for side in raw])
    np.testing.assert_allclose(both.mean(0), 0, atol=1e-5)
    assert both.std(0)[1] > 20


@pytest.mark.slow
def test_arrays_of_one_file(tmp_path):
    draw = np.random.default_rng(0)
    images = draw.integers(0, 255, size=(9, 5, 5), dtype=np.uint8)
    np.savez(tmp_path / "all.npz", train=images, test=images[:5] // 2, deep=images / 255.0)
    given = Config(source=str(tmp_path / "all.npz"), array="train", target_array="test")
    source, target = read_sides(given)
    assert (source.name, target.name) == ("train", "test")
    assert source.draw is not None and source.features.max() <= 1  # images
    source, _ = read_sides(dataclasses.replace(given, array="deep"))
    assert source.draw is None  # floating point without colours may be anything
    done = do(
        run, dataclasses.replace(SMALL, **vars(given) | {"out": tmp_path, "permutations": 19})
    )
    assert "9 train and 5 test" in done.out


def test_a_folder_is_compared_with_an_array_of_as_many_features(tmp_path):
    photographs(tmp_path / "dark", True)
    np.save(tmp_path / "x.npy", np.zeros((4, 16)))
    sides = read_sides(
        Config(source=str(tmp_path / "dark"), target=str(tmp_path / "x.npy"), image_size=4)
    )
    assert [side.features.shape for side in sides] == [(6, 16), (4, 16)]


def test_relative_paths_are_looked_for_in_the_data_folders(tmp_path, monkeypatch):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        table(tmp_path / name / "a.csv", seed=len(name))
    config = Config(source="old/a.csv", target="new/a.csv", data_dir=tmp_path)
    source, target = read_sides(config)
    assert (source.name, target.name) == ("old/a", "new/a")
    monkeypatch.setenv("JAXFER_DATA_DIR", str(tmp_path))
    assert read_sides(dataclasses.replace(config, data_dir=None))[0].name == "old/a"
    with pytest.raises(UserError, match=rf"nor is {tmp_path}/none\.csv"):
        read_sides(dataclasses.replace(config, source="none.csv"))


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--source", "a.csv"], "--source is given and --target is not; give both"),
        (["--target", "a.csv"], "--target is given and --source is not; give both"),
        (["--array", "x"], "--array is given and --source is not"),
        (["--source", "a.csv", "--target", "a.csv"], "are both a.csv; name two different ones"),
        (["--source", "none", "--target", "a.csv"], "--source is none, which does not exist; give"),
        (["--source", "a.csv", "--target", "no/ne"], "--target is no/ne, which does not exist"),
        (["--source", "a.csv", "--target", "empty"], "empty holds no image"),
        (["--source", "a.csv", "--target", "a.mat"], "a.mat, which is neither a folder of images"),
        (["--source", "a.csv", "--target", "words.csv"], "column 'kind' holds 'cat'"),
        (["--source", "a.csv", "--target", "one.csv"], "--target holds 1 point; at least 2 are"),
        (["--source", "a.csv", "--target", "broken.npz"], "broken.npz is no .npz file that can be"),
        (
            ["--source", "a.csv", "--target", "two.npz"],
            "two.npz holds several arrays; give --array",
        ),
        (
            ["--source", "a.csv", "--target", "two.npz", "--target-array", "x"],
            "same number of features; a has 3, two has 2",
        ),
        (["--source", "a.csv", "--target", "images"], "a has 3, images has 1,024 (32 x 32 x 1)"),
        (["--source", "a.csv", "--target", "other.csv"], "where a has 'width', other has 'age'"),
        (["--source", "a.csv", "--target", "huge.csv"], "hold numbers too large to be compared"),
        (["--source", "images", "--target", "a.csv", "--array", "x"], "images is a folder"),
        (["--permutations", "18"], "--permutations is 18; give at least 19"),
        (["--folds", "1"], "--folds is 1; give at least 2"),
        (["--max-points", "1"], "--max-points is 1; give at least 2"),
        (["--image-size", "0"], "--image-size is 0; give at least 1"),
        (["--top", "0"], "--top is 0; give at least 1"),
        (["--blur", "-1"], "--blur is -1.0; give at least 0"),
        (["--blur", "inf"], "--blur is inf; give a finite number"),
        (["--preset", "paper"], "There is no preset 'paper'; the presets are: none"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path, monkeypatch, flags, sentence):
    monkeypatch.chdir(tmp_path)
    table(tmp_path / "a.csv")
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.mat").touch()
    (tmp_path / "words.csv").write_text("kind,height\ncat,2\ndog,3\n")
    (tmp_path / "one.csv").write_text("1,2,3\n")
    (tmp_path / "other.csv").write_text("age,height,depth\n1,2,3\n4,5,6\n")
    (tmp_path / "huge.csv").write_text("1e308,2,3\n-1e308,5,6\n")
    (tmp_path / "broken.npz").write_bytes(b"PK")
    np.savez(tmp_path / "two.npz", x=np.zeros((4, 2)), y=np.zeros((4, 3)))
    photographs(tmp_path / "images", True)
    assert sentence in fail("--out", tmp_path / "run", *flags)
    assert not (tmp_path / "run" / "summary.json").exists()


def test_a_finished_run_is_not_written_over(digits):
    said = fail("--smoke", "--out", digits.folder)
    assert "already holds a run; give another --out" in said


def test_the_traceback_is_there_for_those_who_ask(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(Config, run, args=["--top", "0", "--debug", "--out", str(tmp_path)])
    assert "Traceback" in capsys.readouterr().err


def test_an_interruption_says_no_more_than_that(capsys):
    def interrupted(config):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        main(Config, interrupted, args=[])
    assert ended.value.code == 130 and capsys.readouterr().err == "Stopped.\n"


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (("x/amazon", "x/webcam"), ("amazon", "webcam")),
        (("amazon/images", "webcam/images"), ("amazon/images", "webcam/images")),
        (("x/old.csv", "x/new.csv"), ("old", "new")),
        (("x/a.csv", "x/a.npz"), ("a.csv", "a.npz")),
        (("x/a_folder_with_a_long_name", "x/b"), ("a_folder_…_long_name", "b")),
    ],
)
def test_the_sides_are_named_after_what_tells_them_apart(tmp_path, paths, names):
    assert shift._names([tmp_path / path for path in paths]) == names


def test_the_examples_of_its_docstring_can_be_copied():
    commands = re.findall(r"^ +python -m jaxfer\.experiments\.shift(.*)$", shift.__doc__, re.M)
    assert len(commands) == shift.__doc__.count("python -m") >= 4
    for flags in commands:
        assert parse(Config, flags.split(), name="shift")
    assert set(re.findall(r"\w+\.png", shift.__doc__)) == {name for name in FILES if "png" in name}


@pytest.mark.thorough  # a stage of .ci/run does it, too
def test_the_smoke_test_of_the_real_thing(start, tmp_path):
    out, err = start("shift", "--smoke", plain=True, PYTHONWARNINGS="error").end()
    assert "blurred with sigma 0.5" in out and "19 permutations" in out and not err
    summary = json.loads((tmp_path / "runs/shift/summary.json").read_text())
    assert summary["config"]["smoke"] is True


@pytest.mark.slow
def test_the_result_that_its_docstring_promises(start):
    out, _ = start("shift", plain=True).end()
    assert "Strong shift: p = 0.001" in out and "proxy A-distance  1.68" in re.sub("  +", "  ", out)
    out, _ = start("shift", "--blur", 0, "--out", "no_shift", plain=True).end()
    assert "No shift found" in out
