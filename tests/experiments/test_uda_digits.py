"""Adaptation between kinds of digits, tried as a user would."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxfer.experiments import adaptation_methods, uda_digits
from jaxfer.experiments.command_line import parse
from jaxfer.experiments.uda_digits import PRESETS, Config, make_classifier, prepare, run

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
        (["--preset", "mnist"], "There is no preset 'mnist'; the presets are: mnist-usps, "),
        (["--rate", "inf"], "--rate is inf; give a finite number"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path, monkeypatch, flags, sentence):
    monkeypatch.chdir(tmp_path)
    assert sentence in fail("--smoke", "--out", tmp_path / "run", *flags)
    assert not (tmp_path / "run" / "summary.json").exists()


def test_the_examples_of_its_docstring_can_be_copied():
    for flags in commands(uda_digits):
        assert parse(Config, flags, presets=PRESETS, smoke=SMOKE, name="uda_digits").out


@pytest.mark.slow
def test_the_smoke_test_of_the_real_thing(start):
    out, _ = start("uda_digits", "--smoke").end()
    assert "scikit-learn's handwritten digits" in out and "Trained on the target" in out


@pytest.mark.slow
def test_mnist_to_usps_with_labels_of_the_target(data_dir, tmp_path):
    config = dataclasses.replace(
        PRESETS["mnist-usps"], **SMOKE, data_dir=data_dir, target_labels=1, out=tmp_path / "run"
    )
    config = dataclasses.replace(config, steps=2, runs=1, methods=("source-only",))
    done = do(run, config)
    assert done.summary["data"]["target"]["source"] == "usps"
