"""Adapting a trained network to examples without labels: a half for each half."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_softmax, softmax

from jaxfer.experiments import finetune_listening
from jaxfer.experiments.finetune_listening import in_halves, listen, make_listening
from jaxfer.experiments.finetune_options import FineTuningOptions
from jaxfer.experiments.finetune_run import make_predict, make_probe

WIDTH, CLASSES, N = 3, 2, 9
X = np.random.default_rng(0).normal(size=(N, WIDTH)).astype(np.float32)
FROZEN = {"head": {"kernel": None, "bias": None}}


def still(x, key):
    return x


@pytest.fixture
def tuning():
    return make_probe(FineTuningOptions(), WIDTH, CLASSES, 1e-3)


@pytest.fixture
def begun(tuning):
    return tuning.init(jax.random.key(1))


def logits_of(tuning, begun, x, steps):
    predict = make_predict(tuning, still)
    answer = make_listening(tuning, still, predict, steps=steps, seed=0)
    return np.asarray(jax.jit(answer)(*begun, FROZEN, jnp.asarray(x)))


def test_halves_ask_each_example_once_by_what_was_not_asked():
    for n in (2, 5, 8):
        pairs = in_halves(n, jax.random.key(3))
        for heard, asked in pairs:
            assert sorted([*heard.tolist(), *asked.tolist()]) == list(range(n))
        assert sorted(np.concatenate([asked for _, asked in pairs]).tolist()) == list(range(n))


def test_without_a_step_the_answers_are_those_of_the_network_in_their_order(tuning, begun):
    expected = make_predict(tuning, still)(*begun, FROZEN, jnp.asarray(X)).logits
    np.testing.assert_allclose(logits_of(tuning, begun, X, 0), expected, rtol=1e-6)


def test_an_example_changes_the_answers_of_the_other_half_alone(tuning, begun):
    before = logits_of(tuning, begun, X, 20)
    split_key, _ = jax.random.split(jax.random.key(0))
    (one, other), _ = in_halves(N, split_key)
    changed = X.copy()
    changed[one[0]] *= -3
    after = logits_of(tuning, begun, changed, 20)
    same = np.setdiff1d(np.asarray(one), one[0])
    np.testing.assert_array_equal(after[same], before[same])
    assert (np.abs(after - before)[np.asarray(other)].max(-1) > 1e-5).all()


def test_a_step_follows_the_gradient_of_the_information(tuning, begun, monkeypatch):
    """By finite differences in float64 of entropies that are written out."""
    monkeypatch.setattr(optax, "adam", optax.sgd)
    monkeypatch.setattr(finetune_listening, "RATE", 1.0)
    monkeypatch.setattr(jax.random, "randint", lambda key, shape, low, high: jnp.arange(high))
    params, state = begun
    moved, _ = listen(tuning, params, state, jnp.asarray(X), jax.random.key(0), steps=1)
    names = sorted(params)
    flat = np.concatenate([np.ravel(params[name]) for name in names]).astype(np.float64)

    def negative_information(flat):
        sizes = np.cumsum([params[name].size for name in names])[:-1]
        named = dict(zip(names, np.split(flat, sizes), strict=True))
        [bias] = [named[name] for name in names if "bias" in name]
        [kernel] = [named[name].reshape(WIDTH, CLASSES) for name in names if "kernel" in name]
        logits = X.astype(np.float64) @ kernel + bias
        each, mean = softmax(logits, 1), softmax(logits, 1).mean(0)
        return -(each * log_softmax(logits, 1)).sum(1).mean() + (mean * np.log(mean)).sum()

    steps = 1e-6 * np.eye(len(flat))
    slope = [(negative_information(flat + h) - negative_information(flat - h)) / 2e-6
             for h in steps]  # fmt: skip
    found = np.concatenate([np.ravel(moved[name]) for name in names])
    np.testing.assert_allclose(found, flat - np.array(slope), atol=1e-6)
    assert np.abs(found - flat).max() > 1e-3


def test_listening_makes_predictions_sure_and_diverse(tuning, begun):
    moved, _ = listen(tuning, *begun, jnp.asarray(X), jax.random.key(0), steps=3000)
    head = make_predict(tuning, still)
    before, after = (
        softmax(head(params, begun[1], FROZEN, jnp.asarray(X)).logits, 1)
        for params in (begun[0], moved)
    )
    assert after.max(1).mean() > before.max(1).mean() + 0.05
    assert 0.2 < after.mean(0)[0] < 0.8
