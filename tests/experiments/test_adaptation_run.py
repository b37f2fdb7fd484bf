"""Training and judging of adaptation methods, on domains of a few numbers."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from jaxfer.adaptation.toy import toy_classifier
from jaxfer.adapters import linear_feature_map
from jaxfer.data import make_domain
from jaxfer.experiments import adaptation_report, adaptation_run
from jaxfer.experiments.adaptation_methods import AdaptationOptions, check_options
from jaxfer.experiments.adaptation_report import Seen, distances, pick
from jaxfer.experiments.adaptation_run import (
    Shift,
    compare,
    in_order,
    make_arrays,
    trained_on_target,
)
from jaxfer.report import AdaptationRow
from jaxfer.typing import Classification, LabelledBatch, UserError

from .conftest import do, measured

pytestmark = pytest.mark.usefixtures("compiled_quickly")

SMALL = AdaptationOptions(
    steps=8, runs=2, batch=8, adversary=4, methods=("dann",), rate=0.05, validate_every=2,
    checkpoint_every=4,
)  # fmt: skip


def domain(name, shift=0.0, count=40, labels=True, seed=0):
    """Two classes on either side of 0, one after the other, as folders of images are read."""
    draw = np.random.default_rng(seed)
    parts = []
    for size in (count, max(1, count // 2)):
        y = np.sort(np.arange(size, dtype=np.int32) % 2)
        x = np.stack([2.0 * y - 1, 0.0 * y + shift], 1) + 0.5 * draw.normal(size=(size, 2))
        parts.append(LabelledBatch(x.astype(np.float32), y if labels else None))
    return make_domain(name, *parts, classes=("left", "right"), origin=f"Points, {name}.")


def toy_shift(target=None):
    target = domain("there", shift=1.5, seed=1) if target is None else target
    return Shift(domain("here"), target, toy_classifier(), 3, lambda x, key: x)


def compared(path, shift=None, **settings):
    """A comparison; ``seen`` is what its report was made of."""
    caught = {}

    def report(seen, *args, **options):
        caught.update(seen)
        return adaptation_report.report(seen, *args, **options)

    config = dataclasses.replace(SMALL, out=path, **settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adaptation_run, "report", report)
        done = do(lambda config: compare(config, shift or toy_shift()), config)
    return done, caught


@pytest.fixture(scope="module")
def plain(compiled_quickly, tmp_path_factory):
    return compared(tmp_path_factory.mktemp("runs") / "plain", target_labels=2)


def test_source_only_comes_first_and_training_on_the_target_last():
    assert in_order(["dann", "source-only", "dan", "dann"], True) == [
        "source-only", "dann", "dan", "on-target",
    ]  # fmt: skip
    assert in_order(["dann"], False) == ["source-only", "dann"]


def test_the_run_folder(plain):
    done, seen = plain
    assert list(seen) == ["source-only", "dann", "on-target"]
    assert done.out.index("source-only") < done.out.index("dann") < done.out.index("on-target")
    pictures = {"methods.png", "learning_curves.png", "features.png", "confusion.png"}
    assert pictures | {"summary.json", "config.json", *seen} <= {
        path.name for path in done.folder.iterdir()
    }
    summary = json.loads((done.folder / "summary.json").read_text())
    assert summary["test"].keys() == seen.keys()
    assert summary["data"]["target"]["origin"] == "Points, there."
    assert summary["config"]["steps"] == 8 and len(summary["test"]["on-target"]["runs"]) == 2
    for method in seen.values():
        assert method.steps.tolist() == [2, 4, 6, 8]
        assert method.metrics["target_accuracy"].shape == (4, 2)
        assert method.outputs["test"].logits.shape == (2, 20, 2)


def test_labels_of_the_target_are_used_as_far_as_they_are_given(plain):
    done, _ = plain
    for name, used in (("source-only", True), ("dann", True), ("on-target", False)):
        lines = [line for line in measured(done.folder / name) if line["split"] == "train"]
        assert all(("target_loss" in line) == used for line in lines), name


@pytest.mark.slow
def test_nothing_is_picked_by_target_labels(tmp_path, plain):
    """Other labels of the target change what is said of each method, and not what it is."""
    shift = toy_shift()
    target = shift.target
    test = LabelledBatch(target.test.x, 1 - target.test.y)
    done, seen = compared(
        tmp_path / "other", shift._replace(target=target._replace(test=test)), target_labels=2
    )
    before = plain[1]
    assert not np.array_equal(
        seen["dann"].metrics["target_accuracy"], before["dann"].metrics["target_accuracy"]
    )
    for name, method in seen.items():
        assert method.metrics.keys() == before[name].metrics.keys()
        for metric, values in method.metrics.items():
            if metric != "target_accuracy":
                np.testing.assert_array_equal(values, before[name].metrics[metric], metric)
        for ours, theirs in zip(
            method.outputs.values(), before[name].outputs.values(), strict=True
        ):
            np.testing.assert_array_equal(ours.logits, theirs.logits)
    for validator in adaptation_run.VALIDATORS:
        for ours, theirs in zip(
            pick(seen["dann"], validator), pick(before["dann"], validator), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_a_comparison_that_was_stopped_goes_on(tmp_path, plain):
    """What had been trained is kept, and what comes after it is as it would have been."""
    done, seen = plain
    folder = tmp_path / "stopped"
    shutil.copytree(done.folder, folder)
    shutil.rmtree(folder / "on-target")
    (folder / "summary.json").unlink()
    kept = (folder / "dann" / "metrics.jsonl").read_bytes()
    with pytest.raises(UserError, match="already holds a run; add --resume"):
        compared(folder, target_labels=2)
    again, after = compared(folder, target_labels=2, resume=True)
    assert again.summary["test"]["dann"].keys() == done.summary["test"]["dann"].keys()
    for name, method in after.items():
        for metric, values in method.metrics.items():
            np.testing.assert_array_equal(values, seen[name].metrics[metric], f"{name} {metric}")
        np.testing.assert_array_equal(
            method.outputs["test"].logits, seen[name].outputs["test"].logits
        )
    assert (folder / "dann" / "metrics.jsonl").read_bytes() == kept


@pytest.mark.slow
def test_of_a_target_without_labels_no_accuracy_is_claimed(tmp_path):
    bare = toy_shift(domain("bare", shift=1.5, labels=False))
    done, seen = compared(tmp_path / "bare", bare)
    assert list(seen) == ["source-only", "dann"]
    assert "The target has no labels, so no accuracy is claimed." in done.out
    assert "target_accuracy" not in done.out and "oracle" not in done.out
    scores = done.summary["scores"]
    assert scores.keys() == seen.keys() and "test" not in done.summary
    assert all(len(each["proxy_a_distance"]) == 2 for each in scores.values())
    assert set(scores["dann"]["picked_steps"]) <= {0, 2, 4, 6, 8}
    assert (done.folder / "features.png").stat().st_size > 10_000
    for method in seen.values():
        assert "target_accuracy" not in method.metrics and "test" not in method.outputs


def test_two_examples_are_enough_for_all_but_a_picture_of_features(tmp_path):
    done, _ = compared(tmp_path / "few", toy_shift(domain("few", shift=1.5, count=2, seed=1)))
    assert done.summary["test"].keys() == {"source-only", "dann", "on-target"}
    assert (done.folder / "confusion.png").exists()
    assert not (done.folder / "features.png").exists() and "features.png" not in done.out


@pytest.mark.parametrize(
    ("side", "sentence"),
    [
        (domain("one", count=1), r"one has 1 example\(s\) to train on; give at least 2, of which"),
        (domain("bare", labels=False), "bare has no labels, and a source needs them."),
        (
            domain("left")._replace(train=LabelledBatch(np.zeros((8, 2)), np.zeros(8, np.int32))),
            "All examples of left are of one class; a source needs two.",
        ),
    ],
)
def test_domains_that_cannot_be_a_source(side, sentence):
    with pytest.raises(UserError, match=sentence):
        make_arrays(side, domain("there"), target_labels=0, seed=0)


def test_classes_with_too_few_labels_are_named(capsys):
    target = domain("there", count=8)
    make_arrays(domain("here"), target, target_labels=3, seed=0)
    assert capsys.readouterr().out == ""
    make_arrays(domain("here"), target, target_labels=7, seed=0)
    assert "there has fewer than 7 labels of: left, right." in capsys.readouterr().out


def test_examples_that_validate_are_not_trained_on():
    source, target = domain("here", count=100), domain("there", count=60)
    arrays = make_arrays(source, target, target_labels=3, seed=0)
    assert [len(x) for x in (arrays.source.x, arrays.target)] == [80, 48]
    for train, held_out, whole in (
        (arrays.source.x, arrays.source_validation.x, source),
        (arrays.target, arrays.target_validation, target),
    ):
        rows = np.concatenate([train, held_out])
        np.testing.assert_array_equal(np.unique(rows, axis=0), np.unique(whole.train.x, axis=0))
    few = arrays.labelled_target
    assert np.bincount(few.y).tolist() == [3, 3]
    assert all((np.asarray(arrays.target) == row).all(1).any() for row in np.asarray(few.x))
    np.testing.assert_array_equal(few.y, np.asarray(few.x)[:, 0] > 0)
    other = make_arrays(source, target, target_labels=0, seed=1)
    assert other.labelled_target is None
    assert not np.array_equal(other.source.x, arrays.source.x)


def test_the_bound_from_above_sees_every_class_on_either_side():
    target = domain("there", count=60)
    arrays = make_arrays(domain("here"), target, target_labels=0, seed=0)
    bound = trained_on_target(arrays, target, seed=0)
    assert set(np.asarray(bound.source.y)) == set(np.asarray(bound.source_validation.y)) == {0, 1}
    rows = np.concatenate([bound.source.x, bound.source_validation.x])
    np.testing.assert_array_equal(np.unique(rows, axis=0), np.unique(target.train.x, axis=0))


@pytest.mark.parametrize("count", [1, 2, 4, 30])
def test_domains_of_few_examples_are_told_apart_as_well_as_can_be(count):
    apart = np.stack([np.zeros((count, 2)), np.full((count, 2), 9.0)]).astype(np.float32)
    outputs = {
        side: Classification(x[None], x[None])
        for side, x in zip(("source", "target"), apart, strict=True)
    }
    expected = np.nan if count == 1 else 2.0
    np.testing.assert_array_equal(distances(outputs), [expected])


def test_the_guard_keeps_what_collapsed_from_being_picked():
    scores = np.array([[0.1, 0.1], [0.9, 0.9], [0.5, 0.5]])
    rejected = np.array([[0.0, 1.0], [1.0, 1.0], [0.0, 1.0]])
    choice = pick(Seen(np.arange(3), {"mmd": scores, "rejected": rejected}, {}), "mmd")
    assert int(choice.candidate[0]) == 2
    assert np.asarray(choice.source_only).tolist() == [False, True]


def open_shift():
    """Two known classes, and a third of the target that is neither."""
    source, target = domain("here"), domain("there", shift=1.5, count=60, seed=1)
    names = (*source.classes, "unknown")
    parts = []
    for part in (target.train, target.test):
        other = np.arange(len(part.x)) % 3 == 0
        x = np.where(other[:, None], np.float32([0, -4]), part.x)
        parts.append(LabelledBatch(x, np.where(other, 2, part.y).astype(np.int32)))
    target = make_domain("open", *parts, classes=names, origin="Points, some unknown.")
    return toy_shift(target)._replace(
        source=source._replace(classes=names), unknown_head=linear_feature_map(3, 3)
    )


@pytest.fixture(scope="module")
def nothing_picked(compiled_quickly, tmp_path_factory):
    """An open set, and a guard that lets nothing through."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adaptation_run, "collapsed", lambda *logits, **options: np.True_)
        path = tmp_path_factory.mktemp("runs") / "open"
        return compared(path, open_shift(), methods=("osbp",), steps=4)


@pytest.mark.slow
def test_where_nothing_is_picked_source_only_is_what_is_reported(nothing_picked):
    done, seen = nothing_picked
    assert "in 2 of 2 seeds the guard left nothing to pick, and source-only was kept" in done.out
    before = seen["source-only"].outputs
    for side, kept in seen["osbp"].outputs.items():
        np.testing.assert_array_equal(kept.features, before[side].features)
        np.testing.assert_array_equal(kept.logits[..., :2], before[side].logits)
        assert (np.argmax(kept.logits, -1) < 2).all()
    row = done.summary["test"]["osbp"]
    assert row["picked"]["runs"] == pytest.approx(row["source_only"]["runs"])
    assert row["change"] == {"mean": 0, "ci95": 0} and "told from source-only: osbp" in done.out
    assert row["proxy_a_after"] == row["proxy_a_before"]
    picked, source_only = (done.summary["open_set"][name] for name in ("osbp", "source-only"))
    for name in picked:
        np.testing.assert_allclose(picked[name]["runs"], source_only[name]["runs"], rtol=1e-6)


@pytest.mark.slow
def test_the_bounds_are_what_training_ends_with(nothing_picked):
    done, seen = nothing_picked
    labels = open_shift().target.test.y
    for name in ("source-only", "on-target"):
        right = (np.argmax(seen[name].outputs["test"].logits, -1) == labels).mean(1)
        np.testing.assert_allclose(right, seen[name].metrics["target_accuracy"][-1], rtol=1e-6)
        np.testing.assert_allclose(done.summary["test"][name]["runs"], right, rtol=1e-6)


def test_an_open_set_counts_the_unknown_as_a_class(nothing_picked):
    done, seen = nothing_picked
    widths = [method.outputs["test"].logits.shape[-1] for method in seen.values()]
    assert widths == [2, 3, 3]  # training on the target is told which are unknown
    metrics = seen["source-only"].metrics
    np.testing.assert_array_equal(metrics["target_unknown"], 0)
    np.testing.assert_allclose(metrics["target_os"], metrics["target_os_star"] * 2 / 3, rtol=1e-6)
    assert set(done.summary["open_set"]) == set(seen)
    assert "which is 33.3 % of the test: source-only. They can never say it." in done.out


def drawn(monkeypatch, seen, labels, classes):
    """What is handed to the pictures of the confusion and of the curves."""
    caught = {}
    for name in ("method_bars", "feature_scatter", "method_curves", "confusion_picture"):
        monkeypatch.setattr(
            adaptation_report, name, lambda *args, name=name, **options: caught.update(
                {name: (args, options)}
            )
        )  # fmt: skip
    rows = [AdaptationRow("osbp", [0.5], [0.5], [0.5], [0.5])]
    adaptation_report.draw(
        seen, rows, Path(), source_labels=labels, test_labels=labels, classes=classes,
        validator="mmd", title="",
    )  # fmt: skip
    (matrices, _), options = caught["confusion_picture"]
    return matrices, options["class_names"], caught["method_curves"][0][0]


@pytest.mark.parametrize("classes", [("a", "b"), ("a", "b", "unknown")])
def test_a_method_with_a_class_more_than_source_only_is_drawn_beside_it(monkeypatch, classes):
    labels = np.arange(6) % len(classes)
    said = {"source-only": np.eye(2)[labels % 2], "osbp": np.eye(3)[np.full(6, 2)]}
    metrics = {
        "target_accuracy": np.full((2, 1), 0.5),
        "mmd": np.ones((2, 1)),
        "rejected": np.ones((2, 1)),
    }
    seen = {
        name: Seen(np.arange(2), metrics, dict.fromkeys(
            ("source", "target", "test"), Classification(np.zeros((1, 6, 2)), logits[None])
        ))
        for name, logits in said.items()
    }  # fmt: skip
    matrices, names, curves = drawn(monkeypatch, seen, labels, classes)
    assert names == ("a", "b", "unknown")
    for name, logits in said.items():
        expected = np.zeros((3, 3))
        np.add.at(expected, (labels, logits.argmax(1)), 1)
        np.testing.assert_array_equal(matrices[name], expected)
    assert curves["osbp"].picked.tolist() == [-1]  # no circle where source-only was kept


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"validator": "target_accuracy"}, "There is no validator 'target_accuracy'; there are: "),
        ({"target_labels": 1}, "--target-labels is 1, but bare has no labels at all"),
    ],
)
def test_a_setting_that_makes_no_sense(tmp_path, settings, sentence):
    shift = toy_shift(domain("bare", labels=False))
    with pytest.raises(UserError, match=sentence):
        compared(tmp_path / "run", shift, **settings)
    assert not (tmp_path / "run" / "summary.json").exists()


def test_labels_of_an_open_set_are_not_taken(tmp_path):
    with pytest.raises(UserError, match="--target-labels cannot be given where the target has"):
        compared(tmp_path / "run", open_shift(), target_labels=1)


def test_a_source_needs_labels(tmp_path):
    shift = toy_shift()._replace(source=domain("bare", labels=False))
    with pytest.raises(UserError, match="bare has no labels, and a source needs them"):
        compared(tmp_path / "run", shift)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"methods": ("dann", "damn")}, "There is no method 'damn'; the methods are: source-only"),
        ({"methods": ()}, "--methods is empty; give some of"),
        ({"batch": 0}, "--batch is 0; give at least 1"),
        ({"strength": float("nan")}, "--strength is nan; give at least 0"),
        ({"target_labels": -1}, "--target-labels is -1; give at least 0"),
    ],
)
def test_a_mistake_is_one_sentence(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        check_options(dataclasses.replace(SMALL, **settings))


@pytest.mark.slow
def test_source_only_alone_is_a_comparison_of_the_bounds(tmp_path):
    done, seen = compared(tmp_path / "bounds", methods=("source-only",))
    assert list(seen) == ["source-only", "on-target"]
    assert done.summary["test"].keys() == seen.keys() and "oracle" not in done.out
