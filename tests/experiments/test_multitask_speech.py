"""Two tasks on one encoder: what each method descends, what is held out, and whole runs."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxfer
from jaxfer.data import speak_digits
from jaxfer.experiments import multitask_speech
from jaxfer.experiments.command_line import parse
from jaxfer.experiments.multitask_network import Heard, make_network
from jaxfer.experiments.multitask_report import mean_over_steps
from jaxfer.experiments.multitask_speech import (
    PRESETS,
    SMOKE,
    TASKS,
    Config,
    apart,
    make_init,
    make_optimiser,
    make_step,
    run,
    split,
)
from jaxfer.experiments.uda_speech import in_log_mel
from jaxfer.losses import project_conflicting
from jaxfer.models import Network
from jaxfer.training import compile_step, first, init_train_state, replicate
from jaxfer.training.metrics import read_metrics

from .conftest import arrays, assert_identical, commands, do, measured
from .conftest import fail as conftest_fail

pytestmark = pytest.mark.usefixtures("compiled_quickly")

SMALL = dataclasses.replace(Config(), **SMOKE)


@pytest.fixture(scope="module")
def domains():
    return {name: in_log_mel(each, 16) for name, each in speak_digits(takes=5).items()}


def test_nothing_of_the_test_is_trained_on_or_picked_by(domains):
    parts = jax.device_get(split(SMALL, domains))
    assert [len(part.x) for part in parts] == [192, 48, 60]
    truth = [
        {
            each.tobytes(): (digit, speaker)
            for speaker, domain in enumerate(domains.values())
            for each, digit in zip(*getattr(domain, name), strict=True)
        }
        for name in ("train", "test")
    ]
    seen = [
        {each.tobytes(): label for each, *label in zip(part.x, *part.y.values(), strict=True)}
        for part in parts
    ]
    assert not seen[0].keys() & seen[1].keys()
    for found, expected in (({**seen[0], **seen[1]}, truth[0]), (seen[2], truth[1])):
        assert {name: tuple(map(int, label)) for name, label in found.items()} == expected


def test_few_are_as_many_of_each_speaker_and_digit(domains):
    parts = split(dataclasses.replace(SMALL, few=3), domains)
    assert [len(part.x) for part in parts] == [144, 36, 60]
    labels = [np.concatenate([part.y[task] for part in parts[:2]]) for task in TASKS]
    counts = np.bincount(10 * labels[1] + labels[0])
    assert len(counts) == 60 and set(counts) == {3}


def linear(heads):
    """A network of one shared vector and a scale for each head, whose gradients one can see."""

    def init(key):
        return {"encoder": {"w": jnp.array([1.0, -2.0])}, **{t: jnp.ones(()) for t in heads}}, {}

    def apply(params, state, x, *, train, key=None):
        logits = {}
        for sign, task in zip((1, -1), heads, strict=False):
            score = params[task] * (x.mean(1) @ params["encoder"]["w"])
            logits[task] = jnp.stack([sign * score, jnp.zeros_like(score)], axis=-1)
        return logits, state

    return Heard(tuple(heads), Network(init, apply), None, None)


def one_step(method, heard, domains):
    """Parameters before and after a step of plain descent, and what it showed."""
    config = dataclasses.replace(SMALL, masks=0, batch=8)
    x = np.random.default_rng(0).normal(size=(1, 4, 2)).astype(np.float32)
    example = multitask_speech.Examples(
        jnp.asarray(x), {task: jnp.zeros(1, int) for task in TASKS}
    )  # fmt: skip
    devices = jax.local_devices()[:1]
    descent = optax.sgd(1.0)
    start = init_train_state(make_init(method, heard.network, heard.tasks), descent, seeds=[0])
    step = compile_step(make_step(config, method, heard, descent, devices), devices=devices)
    parts = replicate(multitask_speech.Parts(example, example, example), devices)
    after, metrics = step(replicate(start, devices), parts)
    params = jax.tree.map(lambda leaf: leaf[0], start.params)
    params_after = jax.tree.map(lambda leaf: np.asarray(leaf[0, 0]), after.params)
    return x[0].mean(0), params, params_after, jax.tree.map(lambda m: float(m[0, 0, 0]), metrics)


def gradients_of(mean, params, heads):
    """By hand: of each task, with respect to the shared vector and its own head."""
    w = np.asarray(params["network"]["encoder"]["w"], float)
    found = {}
    for sign, task in zip((1, -1), heads, strict=False):
        slope = -sign / (1 + np.exp(sign * (mean @ w)))
        found[task] = slope * mean, slope * (mean @ w)
    return found


@pytest.mark.parametrize("method", ["alone", "sum", "uncertainty", "pcgrad"])
def test_each_method_descends_its_own_gradient(domains, method):
    heads = ("digit",) if method == "alone" else TASKS
    mean, before, after, shown = one_step(method, linear(heads), domains)
    each = gradients_of(mean, before, heads)
    shared = sum(gradient for gradient, _ in each.values())
    if method == "pcgrad":
        gradients = [{"w": jnp.asarray(gradient)} for gradient, _ in each.values()]
        shared = np.asarray(project_conflicting(gradients, jax.random.key(0))["w"])
        # They are of opposite directions: of each nothing is left.
        np.testing.assert_allclose(shared, 0, atol=1e-6)
        assert shown["conflict"] == 1 and shown["cosine"] == pytest.approx(-1, abs=1e-5)
    moved = before["network"]["encoder"]["w"] - after["network"]["encoder"]["w"]
    np.testing.assert_allclose(moved, shared, atol=1e-6)
    for task, (_, gradient) in each.items():
        np.testing.assert_allclose(1 - after["network"][task], gradient, atol=1e-6)
    losses = [np.log1p(np.exp(-sign * (mean @ [1.0, -2.0]))) for sign in (1, -1)][: len(heads)]
    assert shown["loss"] == pytest.approx(sum(losses), rel=1e-5)
    if method == "uncertainty":
        changed = -(0.5 - np.array(losses))  # of c e^-s L + s / 2 at s = 0
        np.testing.assert_allclose(after["log_variances"], changed, rtol=1e-5)
        variances = [shown[f"{task}_variance"] for task in TASKS]
        np.testing.assert_allclose(variances, np.exp(changed), rtol=1e-5)
    else:
        assert set(after) == {"network"}


def test_gradients_that_agree_are_left_alone():
    each = [
        {"network": {"encoder": jnp.array([1.0, 0.5]), "digit": jnp.ones(1), "speaker": jnp.zeros(1)}},
        {"network": {"encoder": jnp.array([0.0, 2.0]), "digit": jnp.zeros(1), "speaker": jnp.ones(1)}},
    ]  # fmt: skip
    summed, shown = apart(each, jax.random.key(0))
    np.testing.assert_allclose(summed["network"]["encoder"], [1.0, 2.5])
    assert shown["conflict"] == 0 and float(shown["cosine"]) == pytest.approx(0.5 / 1.25**0.5)


def test_variances_have_a_rate_of_their_own():
    config = Config(rate=1e-3, variance_rate=1e-2)
    optimiser = make_optimiser(config)
    params = {"network": {"encoder": jnp.ones(2)}, "log_variances": jnp.zeros(2)}
    updates, _ = optimiser.update(params | {"log_variances": jnp.ones(2)}, optimiser.init(params))
    np.testing.assert_allclose(updates["network"]["encoder"], -1e-3, rtol=1e-3)
    np.testing.assert_allclose(updates["log_variances"], -1e-2, rtol=1e-3)


def test_a_mean_over_steps_counts_each_step_once():
    rows = [
        {"step": 10, "split": "train", "run": 0, "conflict": 0.5},
        {"step": 10, "split": "train", "run": 1, "conflict": 9.0},
        {"step": 10, "split": "validation", "run": 0, "conflict": 9.0},
        {"step": 40, "split": "train", "run": 0, "conflict": 0.1},
    ]
    assert mean_over_steps(rows, "conflict", run=0) == pytest.approx((10 * 0.5 + 30 * 0.1) / 40)
    assert np.isnan(mean_over_steps(rows, "cosine", run=0))


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--data", "none"], "which is no folder; name one that holds spoken digits"),
        (["--takes", "1"], "--takes is 1; give at least 2"),
        (["--mels", "87"], "--mels is 87; give at most 86"),
        (["--few", "1"], "--few is 1; give at least 2"),
        (["--rate", "0"], "--rate is 0.0; give at least 1e-09"),
        (["--batch", "9", "--devices", "2"], "9 recordings do not split evenly over 2 device(s)"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path, flags, sentence):
    said = conftest_fail(
        multitask_speech, "--smoke", "--out", tmp_path / "run", *flags, smoke=SMOKE
    )  # fmt: skip
    assert said.startswith("error: ") and said.count("\n") == 1 and sentence in said
    assert not (tmp_path / "run" / "summary.json").exists()


def test_the_examples_of_its_docstring_can_be_copied():
    for flags in commands(multitask_speech):
        assert parse(Config, flags, presets=PRESETS, smoke=SMOKE, name="multitask_speech").out


@pytest.mark.slow
def test_all_methods_end_in_one_table_and_models_that_predict(tmp_path):
    config = dataclasses.replace(SMALL, methods=Config().methods, out=tmp_path / "run")
    done = do(run, config)
    found = done.summary["methods"]
    assert list(found) == ["alone", "sum", "uncertainty", "pcgrad"]
    assert found["alone"]["trained_parameters"] > 1.9 * found["sum"]["trained_parameters"]
    assert found["uncertainty"]["trained_parameters"] == found["sum"]["trained_parameters"] + 2
    assert len(found["uncertainty"]["digit_variance"]) == 2
    cosines = [
        row["conflict"] for row in read_metrics(config.out / "pcgrad")
        if row["split"] == "train" and row["run"] == 0
    ]  # fmt: skip
    assert found["pcgrad"]["conflict"][0] == pytest.approx(np.mean(cosines))
    for name in ("methods.png", "confusion_digit.png", "alone/speaker/learning_curve.png",
                 "pcgrad/learning_curve.png", "summary.json"):  # fmt: skip
        assert (config.out / name).is_file(), name
    for text in ("digit accuracy (%)", "variances: digit", "conflicts in", "beside alone"):
        assert text in done.out
    # What is saved is what was judged.
    voices = speak_digits(takes=config.takes)
    audio = [each for voice in voices.values() for each in voice.test.x]
    truth = {
        "digit": np.concatenate([voice.test.y for voice in voices.values()]),
        "speaker": np.repeat(np.arange(6), 10),
    }
    saved = found[done.summary["saved"]]
    best = [int(np.argmax(runs)) for runs in saved["validation_accuracy"]]
    for number, (task, names) in enumerate(
        zip(TASKS, (tuple(map(str, range(10))), tuple(voices)), strict=True)
    ):
        said = jaxfer.predict(config.out / "model" / task, audio)
        assert said.classes == names
        right = np.mean([said.labels[i] == names[k] for i, k in enumerate(truth[task])])
        assert right == pytest.approx(saved[task]["runs"][best[number % len(best)]])
    with open(config.out / "summary.json") as file:
        assert json.load(file)["saved"] == done.summary["saved"]


@pytest.mark.slow
def test_a_resumed_run_ends_where_an_undisturbed_one_does(tmp_path):
    whole = dataclasses.replace(SMALL, methods=("pcgrad",), runs=1, out=tmp_path / "whole")
    do(run, whole)
    cut = dataclasses.replace(whole, out=tmp_path / "cut")
    do(run, cut)
    for step in (cut.out / "pcgrad" / "checkpoints").iterdir():
        if step.name == "4":
            for path in sorted(step.rglob("*"), reverse=True):
                path.unlink() if path.is_file() else path.rmdir()
            step.rmdir()
    again = do(run, dataclasses.replace(cut, resume=True))
    assert "Going on from step 2" in again.err
    assert_identical(arrays(whole.out / "pcgrad", 4), arrays(cut.out / "pcgrad", 4))
    assert measured(whole.out / "pcgrad") == measured(cut.out / "pcgrad")


@pytest.mark.slow
def test_two_networks_are_judged_on_what_they_learn(domains):
    heard = make_network(
        ("speaker",), {"digit": "0123456789", "speaker": tuple(domains)}, mels=16, features=8,
        devices=jax.local_devices()[:1],
    )  # fmt: skip
    parts = split(SMALL, domains)
    params, state = jax.tree.map(lambda leaf: leaf[None], heard.network.init(jax.random.key(0)))
    logits = heard.test((params, state), replicate(parts, jax.local_devices()[:1]))
    assert {task: each.shape for task, each in logits.items()} == {"speaker": (1, 60, 6)}
    seen = heard.validate((params, state), replicate(parts, jax.local_devices()[:1]))
    assert set(seen) == {"speaker_accuracy", "accuracy", "loss"}
    np.testing.assert_array_equal(seen["accuracy"], seen["speaker_accuracy"])
    assert first(replicate(seen, jax.local_devices()[:1]))["loss"].shape == (1,)
