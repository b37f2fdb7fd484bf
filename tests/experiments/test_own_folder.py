"""A folder of one's own in every few-shot experiment: how it is split, what is capped or refused."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from jaxfer.data import CharacterSet
from jaxfer.experiments import (
    episodic,
    fewshot_omniglot,
    maml_omniglot,
    oml_omniglot,
    oneshot_lake,
)
from jaxfer.experiments.few_shot import FewShotOptions
from jaxfer.experiments.own_folder import all_at_most, at_most, cap_training, split_sizes
from jaxfer.typing import UserError

from .conftest import do, fail

pytestmark = pytest.mark.usefixtures("compiled_quickly")

NAMES = [f"class{number:02d}" for number in range(12)]
GROUPS = [f"{'ab'[number % 2]}/{name}" for number, name in enumerate(NAMES)]


def write(folder, names, images=6):
    """Classes of noisy pictures with a bar at a place of their own."""
    draw = np.random.default_rng(0)
    for number, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for i in range(images):
            image = draw.integers(0, 90, (20, 20), dtype=np.uint8)
            image[number : number + 3] = 255
            Image.fromarray(image).save(folder / name / f"{i}.png")
    return str(folder)


def own(classes, examples, alphabets=None):
    """A character set as a folder gives it, without any pictures."""
    names = tuple(f"class{number}" for number in range(classes))
    images = np.zeros((classes, examples, 16, 16), np.uint8)
    background = np.ones(classes, bool)
    return CharacterSet(images, names, alphabets or (".",) * classes, background, "", "folder", "")


@pytest.mark.parametrize("least", [1, 2, 5, 20])
def test_a_split_has_a_fifth_twice_and_as_many_as_an_episode_needs(least):
    for classes in range(3 * least, 200):
        train, validation, test = split_sizes(classes, least=least)
        assert train + validation + test == classes
        assert validation == test == max(least, round(classes / 5)) and train >= least
    with pytest.raises(UserError, match=f"needs at least {3 * least} classes, {least} each"):
        split_sizes(3 * least - 1, least=least)


def test_what_is_asked_for_beyond_what_there_is_is_capped_aloud(capsys):
    assert at_most("--shot", 3, 3, "why") == 3 and all_at_most("--way", (4, 3), 4, "why") == (4, 3)
    assert capsys.readouterr().out == ""
    assert all_at_most("--way", (20, 5, 30), 9, "there are 9 classes") == (9, 5)
    assert capsys.readouterr().out == "--way is 20 5 30, but there are 9 classes: 9 5 it is.\n"


@pytest.mark.parametrize("examples", [2, 3, 20])
def test_episodes_to_train_on_fit_any_folder(examples):
    config = cap_training(FewShotOptions(shot=5), classes=7, examples=examples)
    assert config.train_way == 7 and config.shot == min(5, examples - 1)
    assert config.train_queries == min(5, examples - config.shot)
    with pytest.raises(UserError, match="only one class of the folder to train on"):
        cap_training(FewShotOptions(), classes=1, examples=examples)


def test_twenty_classes_of_twenty_images_need_no_flags(capsys):
    """As a folder of an ordinary size is: by the defaults of each experiment."""
    config, sizes = fewshot_omniglot.cap(fewshot_omniglot.Config(), own(20, 20))
    assert sizes == (10, 5, 5)
    assert (config.train_way, config.test_way, config.test_shot) == (10, (5,), (1, 5))
    assert config.queries == 15
    small, _ = fewshot_omniglot.cap(fewshot_omniglot.Config(), own(60, 4))
    assert small.test_way == (5, 12) and small.test_shot == (1, 3)
    assert (small.queries, small.train_queries) == (1, 3)
    said = capsys.readouterr().out
    for flag in (
        "--train-way is 60",
        "--test-way is 5 20",
        "--test-shot is 1 5",
        "--queries is 15",
    ):
        assert flag in said

    config, sizes = oml_omniglot.cap(oml_omniglot.Config(), own(20, 20))
    assert sizes == (12, 4, 4) and config.validation_classes == 4 and config.test_classes == (4,)
    assert (config.shot, config.test_shot) == (20, 15)
    said = capsys.readouterr().out
    assert "--validation-classes is 200, but a fifth of 20 is 4" in said
    assert "--test-classes is 10 50 100 200 300 400 500 600, but there are 4 to test on" in said
    few = dataclasses.replace(oml_omniglot.Config(), validation_classes=3, test_classes=(2, 9))
    config, sizes = oml_omniglot.cap(few, own(50, 6))
    assert sizes == (37, 3, 10) and config.test_classes == (2, 9)
    assert (config.shot, config.test_shot) == (6, 5)


@pytest.mark.parametrize(
    ("held_out", "test_on", "runs", "sizes"),
    [
        (0, "evaluation", None, (16, 0, 4)),
        (5, "evaluation", None, (12, 4, 4)),
        (5, "held-out", None, (12, 4, 4)),
        (0, "evaluation", "runs.zip", (20, 0, 0)),
    ],
)
def test_classes_without_groups_stand_in_the_place_of_alphabets(held_out, test_on, runs, sizes):
    config = dataclasses.replace(
        oneshot_lake.Config(), held_out=held_out, test_on=test_on, lake_runs=runs, test_runs=2
    )
    chosen = oneshot_lake.choose_alphabets(config, own(20, 3))
    assert tuple(map(len, chosen)) == sizes
    assert sorted(np.concatenate(chosen)) == list(range(20))
    if runs is None:
        _, made = oneshot_lake.make_runs(config, own(20, 3), chosen)
        assert made.training.shape == (2, 4, 16, 16)


REFUSED = {
    "maml": (maml_omniglot, 7, [], "--way 5 needs at least 15 classes, 5 each to train on, to "
             "validate by and to test on; the folder has 7: add some, or give --way 2."),
    "drawings": (maml_omniglot, 7, ["--way", "2", "--test-shot", "2"], "--shot 2 and --queries 1 "
                 "need 3 drawings of each character, which has 2; lower one of them."),
    "fewshot": (fewshot_omniglot, 4, ["--test-way", "5", "20"], "--test-way 5 needs at least 15 "
                "classes, 5 each to train on, to validate by and to test on; the folder has 4: "
                "add some."),
    "oml": (oml_omniglot, 4, [], "This experiment needs at least 6 classes, 2 each to train on, "
            "to validate by and to test on; the folder has 4: add some."),
    "trajectory": (oml_omniglot, 7, ["--trajectory", "4"], "--trajectory is 4, but there are only "
                   "3 characters to train on; give at most 3."),
    "lake": (oneshot_lake, 4, [], "This experiment needs at least 6 classes, 2 each"),
    "a class each": (oneshot_lake, ["a/x", "b/y", "c/z"], ["--held-out", "1", "--test-on",
                     "held-out"], "The 1 groups to make runs of have one class each"),
    "groups": (oneshot_lake, ["a/x", "a/y", "b/z"], [], "These data have no evaluation alphabets"),
    "snail": (oneshot_lake, [*map("a/{}".format, range(4)), *map("b/{}".format, range(9))],
              ["--held-out", "1", "--test-on", "held-out", "--method", "snail"], "--method snail trains on episodes of 9 classes"),
}  # fmt: skip


@pytest.mark.parametrize(("experiment", "classes", "flags", "said"), REFUSED.values(), ids=REFUSED)
def test_what_a_folder_does_not_allow(experiment, classes, flags, said, tmp_path):
    names = classes if isinstance(classes, list) else NAMES[:classes]
    data = write(tmp_path / "own", names, images=2)
    smoke = getattr(experiment, "SMOKE", episodic.SMOKE)
    error = fail(
        experiment, "--smoke", "--image-size", 16, "--data", data, "--out", tmp_path / "out",
        *flags, smoke=smoke,
    )  # fmt: skip
    assert error.startswith(f"error: {said}") and error.count("\n") == 1, error
    assert not (tmp_path / "out").exists()


RUNS = {
    "maml": (maml_omniglot, NAMES, dict(method="fomaml", way=3, image_size=14), (6, 3, 3)),
    "fewshot": (
        fewshot_omniglot, NAMES,
        dict(test_way=(3, 20), test_shot=(9,), train_way=60, queries=15), (6, 3, 3),
    ),
    "lake": (oneshot_lake, NAMES, dict(held_out=5), (8, 2, 2)),
    "groups": (oneshot_lake, GROUPS, dict(held_out=1, test_on="held-out"), (6, 6, 0)),
    "oml": (
        oml_omniglot, NAMES,
        dict(
            method=("pretraining",), shot=20, test_shot=15, test_classes=(10, 50),
            validation_classes=200,
        ), (8, 2, 2),
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("experiment", "names", "settings", "sizes"), RUNS.values(), ids=RUNS)
def test_every_experiment_runs_on_it(experiment, names, settings, sizes, tmp_path):
    smoke = getattr(experiment, "SMOKE", episodic.SMOKE) | dict(image_size=16, devices=1, runs=1)
    config = dataclasses.replace(
        experiment.Config(), **smoke | settings, data=write(tmp_path / "own", names),
        out=tmp_path / "out",
    )  # fmt: skip
    done = do(experiment.run, config)
    summary = json.loads((done.folder / "summary.json").read_text())
    assert summary["data"]["source"] == "folder"
    assert tuple(summary["data"]["characters"].values()) == sizes
    assert done.out.startswith("12 classes of 6 images from ")
    found = summary["test"].get("results", [summary["test"]])
    assert all(0 <= each.get("accuracy", each.get("error")) <= 1 for each in found)
    if experiment is fewshot_omniglot:  # what was capped is what the run folder says was run
        assert {(each["way"], each["shot"]) for each in found} == {(3, 5)}
        assert (summary["config"]["train_way"], summary["config"]["queries"]) == (6, 1)
        again = do(experiment.run, dataclasses.replace(config, resume=True))
        assert again.summary["test"]["results"] == done.summary["test"]["results"]
