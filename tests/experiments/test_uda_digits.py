"""Adaptation between kinds of digits, tried as a user would."""

import dataclasses
from typing import get_args

import jax
import numpy as np
import pytest

from jaxfer.adaptation import Classifier
from jaxfer.adapters import linear_feature_map
from jaxfer.data import CORRUPTIONS, load_digit_domain
from jaxfer.experiments import adaptation_methods, uda_digits
from jaxfer.experiments.adaptation_methods import Recipe, make_method
from jaxfer.experiments.command_line import parse
from jaxfer.experiments.uda_digits import (
    PRESETS,
    Config,
    choose_classes,
    make_classifier,
    prepare,
    run,
)
from jaxfer.typing import DomainBatch, LabelledBatch

from .conftest import commands, do
from .conftest import fail as conftest_fail

pytestmark = pytest.mark.usefixtures("compiled_quickly")

SMOKE = adaptation_methods.SMOKE


def fail(*flags):
    said = conftest_fail(uda_digits, *flags, smoke=SMOKE)
    assert said.startswith("error: ") and said.count("\n") == 1, said
    return said


@pytest.mark.parametrize(
    ("shape", "network", "expected"),
    [((8, 8, 3), "lenet", 128), ((28, 28, 1), "lenet", 500), ((28, 28, 3), "dann", 768)],
)
def test_the_networks(shape, network, expected):
    classifier, features = make_classifier(Config(network=network), shape, 10)

    def logits(key, x):
        params, state = classifier.encoder.init(key)
        found, _ = classifier.encoder.apply(params, state, x, train=False, key=None)
        return found, classifier.head.apply(classifier.head.init(key), found)

    x = jax.ShapeDtypeStruct((2, *shape), np.float32)
    found = jax.eval_shape(logits, jax.random.key(0), x)
    assert features == expected and [part.shape for part in found] == [(2, features), (2, 10)]


def test_pixels_lie_between_minus_1_and_1():
    np.testing.assert_allclose(prepare(np.array([0, 255], np.uint8), None), [-1, 1])


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--network", "dann"], "--network dann needs images of 28 x 28; take lenet for these"),
        (["--methods", "dann", "damn"], "There is no method 'damn'; the methods are: source-only"),
        (["--pair", "mnist-usps", "--data", "none"], "none, which is no folder"),
        (["--photographs", "none"], "none is no folder; name one that holds photographs"),
        (["--severity", "6", "--pair", "digits-corrupted"], "--severity is 6; give at most 5"),
        (["--severity", "0", "--pair", "digits-corrupted"], "--severity is 0; give at least 1"),
        (["--corruption", "blur"], "--corruption is blur, but in digits-blended nothing is"),
        (["--methods", "tent"], "--methods tent adapts the batch normalisation, and the network"),
        (["--target-classes", "0", "ten"], "--target-classes names ten, which is no class; give"),
        (["--source-classes", "0", "0"], "--source-classes names 0, twice; give some of 0, 1, 2"),
        (["--source-classes", "3"], "--source-classes names 3 alone; give at least 2 classes"),
        (
            ["--source-classes", "0", "1", "--target-classes", "2"],
            "--source-classes and --target-classes have no class in common",
        ),
        (
            ["--source-classes", "0", "1", "--target-labels", "1"],
            "--target-labels cannot be given where the target has classes that the source lacks",
        ),
        (["--preset", "mnist"], "There is no preset 'mnist'; the presets are: mnist-usps, "),
        (["--rate", "inf"], "--rate is inf; give a finite number"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path, monkeypatch, flags, sentence):
    monkeypatch.chdir(tmp_path)
    assert sentence in fail("--smoke", "--out", tmp_path / "run", *flags)
    assert not (tmp_path / "run" / "summary.json").exists()


@pytest.mark.parametrize(
    ("source_classes", "target_classes", "classes", "held"),
    [
        ("", "", "0123456789", ("0123456789", "0123456789")),
        ("", "024", "0123456789", ("0123456789", "024")),  # partial
        ("014", "", "014u", ("014", "014u")),  # open set
        ("4310", "14", "4310", ("4310", "14")),  # partial, of a part
        ("014", "023", "014u", ("014", "0u")),  # both lack some
    ],
)
def test_the_classes_of_a_task(source_classes, target_classes, classes, held):
    digits = load_digit_domain("digits")
    config = Config(source_classes=tuple(source_classes), target_classes=tuple(target_classes))
    domains = choose_classes(config, digits, digits)
    for domain, expected in zip(domains, held, strict=True):
        assert "".join(name[0] for name in domain.classes) == classes
        for part in (domain.train, domain.test):
            assert {classes[label] for label in part.y} == set(expected)
    # A digit that both show has one number in both.
    rows = [{x.tobytes(): y for x, y in zip(*domain.test, strict=True)} for domain in domains]
    assert all(rows[1].get(x, y) == y for x, y in rows[0].items())


def test_presets_are_of_their_tasks():
    assert {PRESETS["partial"].validator, PRESETS["open-set"].methods} == {"entropy", ("osbp",)}
    for name in ("digits-corrupted", "mnist-corrupted"):
        config = PRESETS[name]
        uda_digits.check_config(config)
        assert config.pair == name and config.statistics == "separate" and config.batch_norm
    kinds = get_args(Config.__annotations__["corruption"])
    assert kinds == CORRUPTIONS


class Centred:
    """Features less the mean of the batch, or in evaluation the recorded one."""

    def init(self, key):
        return {"scale": np.float32(1)}, {"mean": np.zeros(2, np.float32)}

    def apply(self, params, state, x, *, train, key):
        mean = x.mean(0) if train else state["mean"]
        return params["scale"] * (x - mean), {"mean": mean}


@pytest.mark.parametrize("statistics", ["joint", "per_domain", "separate"])
def test_nothing_of_the_target_reaches_source_only(statistics):
    """Whatever the statistics; with separate ones AdaBN differs in what it predicts with alone."""
    classifier = Classifier(Centred(), linear_feature_map(2, 2), statistics)
    recipe = Recipe(classifier, features=2, classes=2, steps=10)
    method, adabn = (make_method(name, recipe) for name in ("source-only", "adabn"))
    x = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)
    params, state = method.init(jax.random.key(0))

    def trained(target):
        batch = DomainBatch(LabelledBatch(x, np.array([0, 1, 0, 1])), target)
        loss = method.players[0].loss
        grads, (after, _) = jax.grad(loss, has_aux=True)(
            params, state, batch, step=0, key=jax.random.key(1)
        )
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(grads)]), after

    near, far = trained(x), trained(3 * x + 5)
    said = [np.asarray(method.predict(params, after, x).logits) for _, after in (near, far)]
    assert np.array_equal(near[0], far[0]) and np.array_equal(*said)
    if statistics == "separate":
        assert not np.array_equal(adabn.predict(params, far[1], x).logits, said[1])


def test_the_examples_of_its_docstring_can_be_copied():
    for flags in commands(uda_digits):
        assert parse(Config, flags, presets=PRESETS, smoke=SMOKE, name="uda_digits").out


@pytest.mark.thorough  # a stage of .ci/run does it, too
def test_the_smoke_test_of_the_real_thing(start):
    out, _ = start("uda_digits", "--smoke").end()
    assert "scikit-learn's handwritten digits" in out and "Trained on the target" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "pair", "methods"),
    [
        pytest.param(
            *("digits-corrupted", "digits-corrupted", ("tent", "shot")), marks=pytest.mark.thorough
        ),
        ("open-set", "digits-blended", ("osbp",)),
        pytest.param(*("partial", "digits-blended", ("pada",)), marks=pytest.mark.thorough),
    ],
)
def test_a_preset_on_the_built_in_digits(tmp_path, preset, pair, methods):
    config = dataclasses.replace(
        PRESETS[preset], **SMOKE | {"methods": methods, "steps": 2, "runs": 1}, pair=pair,
        out=tmp_path / "run",
    )  # fmt: skip
    summary = do(run, config).summary
    assert list(summary["test"]) == ["source-only", "on-target", *methods]
    assert ("open_set" in summary) == (preset == "open-set")
    assert (tmp_path / "run" / "confusion.png").exists()


@pytest.mark.slow
def test_mnist_to_usps_with_labels_of_the_target(data_dir, tmp_path):
    config = dataclasses.replace(
        PRESETS["mnist-usps"], **SMOKE, data_dir=data_dir, target_labels=1, out=tmp_path / "run"
    )
    config = dataclasses.replace(config, steps=2, runs=1, methods=("source-only",))
    done = do(run, config)
    assert done.summary["data"]["target"]["source"] == "usps"
