"""Networks in the span of their examples, beside gradient descent on the weights themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer.experiments import spanned_dann as training

pytestmark = pytest.mark.usefixtures("compiled_quickly")

STRENGTHS = np.array([0.0, 0.3], np.float32)
SOURCES, TARGETS, FEATURES, HIDDEN, RATE, STEPS, BATCH = 12, 9, 7, 4, 0.7, 5, 3
SEEDS = (3, 8)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def step_on_weights(net, x, y, strength):
    """The published algorithm on a batch of each domain, in float64: means in place of one each."""
    (xs, xt), half = x, 0.5
    hs, ht = (sigmoid(part @ net["W"] + net["b"]) for part in (xs, xt))
    logits = hs @ net["V"] + net["c"]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    wrong = (p - np.eye(2)[y]) / len(y)
    us = (sigmoid(hs @ net["u"] + net["d"]) - 1) / len(xs)
    ut = sigmoid(ht @ net["u"] + net["d"]) / len(xt)
    # The source is class 1 of the critic; the features climb the sum of both losses.
    slope_s = (wrong @ net["V"].T - strength * us * net["u"].T) * hs * (1 - hs)
    slope_t = -strength * ut * net["u"].T * ht * (1 - ht)
    down = {
        "W": xs.T @ slope_s + xt.T @ slope_t,
        "b": slope_s.sum(0) + slope_t.sum(0),
        "V": hs.T @ wrong,
        "c": wrong.sum(0),
        "u": half * (hs.T @ us + ht.T @ ut),
        "d": half * (us.sum() + ut.sum()),
    }
    return {name: net[name] - RATE * down[name] for name in net}


@pytest.fixture(scope="module")
def problem():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(SOURCES + TARGETS, FEATURES)).astype(np.float32)
    y = draw.integers(0, 2, SOURCES + TARGETS)
    weights = training.first_weights(SEEDS, FEATURES, HIDDEN)
    span = training.Span(*training.inner_products(x, x, weights))
    order = np.stack([draw.permutation(SOURCES) for _ in SEEDS])
    others = SOURCES + np.stack([draw.permutation(TARGETS) for _ in SEEDS])
    sides = [training.Side(jnp.asarray(o[:, 2:]), jnp.asarray(o[:, :2])) for o in (order, others)]
    return x, y, weights, span, sides


@pytest.fixture(scope="module")
def trained(compiled_quickly, problem):
    """Two goes of some steps each, with a label of its own for each network."""
    _, y, _, span, sides = problem
    labels = jnp.asarray(np.stack([np.stack([y, 1 - y], 1)] * len(SEEDS)))
    fitting, goes = training.begin(training.start(span, SEEDS, len(STRENGTHS))), []
    for go in range(2):
        keys = jax.random.split(jax.random.key(go), len(SEEDS))
        fitting, metrics = training.advance(
            fitting, span, STRENGTHS, *sides, labels,
            keys=keys, at=STEPS * go, rate=RATE, steps=STEPS, batch=BATCH,
        )  # fmt: skip
        goes.append((keys, jax.device_get(metrics)))
    return jax.device_get(fitting), goes, labels


def on_weights(problem, goes, labels, seed, place):
    """The same network, trained on its weights; what it gives after each go."""
    x, _, weights, span, sides = problem
    x = x.astype(np.float64)
    begun = training.start(span, SEEDS, 1).params
    first = jax.tree.map(lambda leaf: np.asarray(leaf[seed, 0], np.float64), begun)
    net = {
        "W": weights[seed].astype(np.float64),
        "b": first["encoder"]["bias"],
        "V": first["head"]["weight"],
        "c": first["head"]["bias"],
        "u": first["adversary"]["weight"],
        "d": first["adversary"]["bias"],
    }
    nets = []
    for keys, _ in goes:
        order = training.draw_order(
            keys[seed], *[side.train[seed] for side in sides], steps=STEPS, batch=BATCH
        )
        for places in np.asarray(order):
            batch = x[places[:BATCH]], x[places[BATCH:]]
            y = np.asarray(labels)[seed, places[:BATCH], place]
            net = step_on_weights(net, batch, y, float(STRENGTHS[place]))
        nets.append(net)
    return nets


@pytest.mark.parametrize("seed", range(len(SEEDS)))
@pytest.mark.parametrize("place", range(len(STRENGTHS)))
def test_it_is_gradient_descent_on_the_weights(problem, trained, seed, place):
    x, _, weights, span, sides = problem
    fitting, goes, labels = trained
    nets = on_weights(problem, goes, labels, seed, place)
    inputs = training.hidden_inputs(
        span.products, span.starts[seed], fitting.nets.coefficients[seed]
    )
    np.testing.assert_allclose(inputs[:, place], x @ nets[-1]["W"], atol=2e-5)
    params = jax.tree.map(lambda leaf: leaf[seed, place], fitting.nets.params)
    for found, name in (
        (params["encoder"]["bias"], "b"), (params["head"]["weight"], "V"),
        (params["head"]["bias"], "c"), (params["adversary"]["weight"], "u"),
        (params["adversary"]["bias"], "d"),
    ):  # fmt: skip
        np.testing.assert_allclose(found, nets[-1][name], atol=2e-5, err_msg=name)
    # The risk on the held-out source, and which of the two moments is remembered.
    held_out = np.asarray(sides[0].held_out[seed])
    truth = np.asarray(labels)[seed, held_out, place]
    risks = []
    for net, (_, metrics) in zip(nets, goes, strict=True):
        logits = sigmoid(x[held_out] @ net["W"] + net["b"]) @ net["V"] + net["c"]
        logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        risks.append(-logs[np.arange(len(truth)), truth].mean())
        assert metrics["risk"][seed, place] == pytest.approx(risks[-1], abs=2e-5)
        assert metrics["accuracy"][seed, place] == np.mean(logits.argmax(1) == truth)
    assert fitting.risk[seed, place] == pytest.approx(min(risks), abs=2e-5)
    assert fitting.step[seed, place] == STEPS * (1 + np.argmin(risks))


def test_what_is_remembered_is_what_had_that_risk(problem, trained):
    _, _, _, span, sides = problem
    fitting, _, labels = trained
    logits = training.predict_at(fitting.best, span, sides[0].held_out).logits
    truth = jnp.take_along_axis(labels, sides[0].held_out[..., None], 1)
    logs = jax.nn.log_softmax(logits)
    risk = -jnp.take_along_axis(logs, truth[..., None], -1)[..., 0].mean(1)
    np.testing.assert_allclose(risk, fitting.risk, atol=1e-5)
    everywhere = training.predict(fitting.best, *span)
    assert everywhere.features.shape == (2, SOURCES + TARGETS, 2, HIDDEN)
    for seed in range(len(SEEDS)):
        np.testing.assert_allclose(
            everywhere.logits[seed, sides[0].held_out[seed]], logits[seed], atol=1e-6
        )


def test_selected_networks_say_what_they_said_among_all(problem, trained):
    _, _, _, span, _ = problem
    nets = trained[0].best
    everywhere = training.predict(nets, *span).logits
    chosen = training.select(nets, seed=1, strengths=(1, 0))
    logits = training.predict(chosen, span.products, span.starts[1:]).logits
    np.testing.assert_allclose(logits[0], everywhere[1][:, ::-1], atol=1e-6)
    assert not np.allclose(everywhere[1], everywhere[0], atol=1e-3)


def test_a_pass_sees_every_example_once():
    order = training.draw_order(
        jax.random.key(0), jnp.arange(12), jnp.arange(12, 20), steps=4, batch=3
    )
    assert sorted(order[:, :3].ravel().tolist()) == list(range(12))
    seen = order[:, 3:].ravel().tolist()  # eight of them for twelve places
    assert sorted(seen[:8]) == list(range(12, 20)) and seen[8:] == seen[:4]
