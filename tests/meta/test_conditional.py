"""Learners that hold on to the support set: their meta-gradient against finite differences."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxfer import meta
from jaxfer.typing import Classification, LabelledBatch, Task

from .references import assert_trees_close, finite_differences, to_jax

INPUTS, FEATURES, CLASSES = 3, 2, 2


def make_params(seed=0):
    draw = np.random.default_rng(seed).normal
    numbers = {"log_strength": -0.4, "log_scale": 0.7, "shift": 0.3}
    kernel = draw(size=(INPUTS, FEATURES))
    return {"kernel": kernel, **{name: np.array(value) for name, value in numbers.items()}}


def make_task(seed=1):
    draw = np.random.default_rng(seed)

    def batch(labels):
        return LabelledBatch(draw.normal(size=(len(labels), INPUTS)), np.array(labels, np.int32))

    return Task(batch([0, 1, 1]), batch([1, 0, 1, 0]))


def embed(params, state, x, *, train, key=None):
    """Features less the mean of the batch at hand, or less a recorded one."""
    features = jnp.tanh(x @ params["kernel"])
    mean = features.mean(0) if train else state["mean"]
    return features - mean, {"mean": mean}


def features_by_numpy(params, task):
    both = np.tanh(np.concatenate([task.support.x, task.query.x]) @ params["kernel"])
    both = both - both.mean(0)
    return both[: len(task.support.y)], both[len(task.support.y) :]


def cross_entropy(logits, labels):
    shifted = logits - logits.max(-1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return -logs[np.arange(len(labels)), labels].mean()


def prototypes(params, task):
    shown, asked = features_by_numpy(params, task)
    means = np.stack([shown[task.support.y == k].mean(0) for k in range(CLASSES)])
    return -np.square(asked[:, None] - means).sum(-1)


def regressed(params, task):
    shown, asked = features_by_numpy(params, task)
    gram = shown @ shown.T + np.exp(params["log_strength"]) * np.eye(len(shown))
    predicted = asked @ shown.T @ np.linalg.solve(gram, np.eye(CLASSES)[task.support.y])
    return np.exp(params["log_scale"]) * predicted + params["shift"]


def squared_error(logits, labels):
    return np.square(logits - np.eye(CLASSES)[labels]).mean()


def squared_loss(logits, labels):
    accuracy = jnp.mean(logits.argmax(-1) == labels)
    return jnp.mean(jnp.square(logits - jnp.eye(CLASSES)[labels])), {"accuracy": accuracy}


def assert_gradient(learner, logits_of, loss_of=cross_entropy):
    params, task = make_params(), make_task()
    state = {"mean": jnp.zeros(FEATURES)}
    found = jax.jit(learner.gradient)(learner.init(to_jax(params)), state, to_jax(task), None, 0)
    expected = finite_differences(lambda p: loss_of(logits_of(p, task), task.query.y), params)
    assert_trees_close(found.grads, {"params": expected}, rtol=1e-6, atol=1e-9)
    logits = logits_of(params, task)
    np.testing.assert_allclose(found.metrics["loss"], loss_of(logits, task.query.y))
    right = np.mean(logits.argmax(-1) == task.query.y)
    np.testing.assert_allclose(found.metrics["accuracy"], right, rtol=1e-6)
    raw = np.tanh(np.concatenate([task.support.x, task.query.x]) @ params["kernel"])
    np.testing.assert_allclose(found.state["mean"], raw.mean(0), rtol=1e-10)
    return expected


def test_the_meta_gradient_of_prototypical_networks(x64):
    head = partial(meta.nearest_centroid, classes=CLASSES)
    answer = meta.answer_by_features(embed, lambda params: head)
    assert_gradient(meta.conditional(answer), prototypes)


def test_the_meta_gradient_of_a_ridge_whose_three_numbers_are_learned(x64):
    def head_from(params):
        return partial(
            meta.ridge, classes=CLASSES, strength=jnp.exp(params["log_strength"]),
            scale=jnp.exp(params["log_scale"]), shift=params["shift"],
        )  # fmt: skip

    # Not of a softmax, in which the shift would have no part.
    learner = meta.conditional(meta.answer_by_features(embed, head_from), squared_loss)
    slopes = assert_gradient(learner, regressed, squared_error)
    assert min(abs(slopes[name]) for name in ("log_strength", "log_scale", "shift")) > 1e-3


def test_adapting_is_to_hold_on_to_the_support_set():
    learner, task = meta.conditional(None), make_task()
    adapted = learner.adapt(learner.init({"w": 1.0}), {"mean": 2.0}, task.support, None)
    assert adapted.params == meta.Conditioned({"w": 1.0}, task.support)
    assert adapted.state == {"mean": 2.0}


def test_an_inductive_answer_depends_on_no_other_query():
    params, task = to_jax(make_params()), to_jax(make_task())
    head = partial(meta.nearest_centroid, classes=CLASSES, distance="cosine")
    answer = meta.answer_by_features(embed, lambda params: head)
    state = {"mean": jnp.array([0.1, -0.2])}
    together, _ = answer(params, state, task.support, task.query.x, train=False)
    alone, _ = answer(params, state, task.support, task.query.x[2:3], train=False)
    np.testing.assert_allclose(alone[0], together[2], rtol=1e-5)
    transductive, _ = answer(params, state, task.support, task.query.x, train=True)
    assert np.abs(transductive - together).max() > 1e-3


def test_of_a_classification_the_features_are_compared():
    def classify(params, state, x, *, train, key=None):
        return Classification(features=x, logits=jnp.zeros((len(x), 9))), state

    shown, asked, _ = meta.embed_both(
        classify, {}, {}, jnp.ones((2, 3)), jnp.ones((1, 3)), train=True
    )
    assert shown.shape == (2, 3) and asked.shape == (1, 3)


def test_pretraining_descends_the_loss_of_the_joined_batch(x64):
    params, task = make_params(), make_task()

    def loss_fn(params, state, batch, key):
        features = jnp.tanh(batch.x @ params["kernel"])
        return jnp.sum(features[:, 0] * batch.y), ({"seen": len(batch.y)}, {"extra": 1.0})

    learner = meta.pretrained(loss_fn)
    found = learner.gradient(learner.init(to_jax(params)), {}, to_jax(task), None, 0)
    x, y = (np.concatenate(part) for part in zip(*task, strict=True))
    expected = finite_differences(
        lambda p: np.sum(np.tanh(x @ p["kernel"])[:, 0] * y), {"kernel": params["kernel"]}
    )
    np.testing.assert_allclose(
        found.grads["params"]["kernel"], expected["kernel"], rtol=1e-6, atol=1e-9
    )
    assert found.state == {"seen": 7} and found.metrics.keys() == {"loss", "extra"}


def prototype_start(params, support):
    """Kernel and bias by hand, of features that are not centred."""
    features = np.tanh(support.x @ params["kernel"])
    means = np.stack([features[support.y == k].mean(0) for k in range(CLASSES)])
    return {"kernel": 2 * means.T, "bias": -np.square(means).sum(-1)}


def linear_logits(xp, params, head, x):
    return xp.tanh(x @ params["kernel"]) @ head["kernel"] + head["bias"]


def plain(params, state, x, *, train, key=None):
    return jnp.tanh(x @ params["kernel"]), state


def linear_loss(params, state, batch, key):
    logits = linear_logits(jnp, params, params["head"], batch.x)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.y)
    return losses.mean(), (state, {})


def inner_by_numpy(params, task):
    """The inner gradient at the prototypes, by hand: of the features' kernel, and of the head."""
    head = prototype_start(params, task.support)
    features = np.tanh(task.support.x @ params["kernel"])
    logits = features @ head["kernel"] + head["bias"]
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    error = shifted / shifted.sum(-1, keepdims=True) - np.eye(CLASSES)[task.support.y]
    error = error / len(error)
    back = (error @ head["kernel"].T) * (1 - features**2)
    return task.support.x.T @ back, {"kernel": features.T @ error, "bias": error.sum(0)}


def proto_maml_by_numpy(params, task, rate, inner=None):
    """One step of gradient descent from the prototypes; by another inner gradient, if given."""
    of_kernel, of_head = inner_by_numpy(params, task) if inner is None else inner
    head = prototype_start(params, task.support)
    moved = {"kernel": params["kernel"] - rate * of_kernel}
    stepped = {name: head[name] - rate * of_head[name] for name in head}
    return cross_entropy(linear_logits(np, moved, stepped, task.query.x), task.query.y)


@pytest.mark.parametrize("gradient", ["through", "stop"])
def test_the_meta_gradient_of_proto_maml_flows_through_the_prototypes(gradient, x64):
    """Through the inner gradient too, unless that is held constant."""
    params, task = {"kernel": make_params()["kernel"]}, make_task()
    learner = meta.proto_maml(
        linear_loss, embed=plain, classes=CLASSES, rule=optax.sgd(0.5), steps=1, gradient=gradient
    )
    found = jax.jit(learner.gradient)(learner.init(to_jax(params)), {}, to_jax(task), None, 0)
    held = inner_by_numpy(params, task)
    through, stopped = (
        finite_differences(lambda p, inner=inner: proto_maml_by_numpy(p, task, 0.5, inner), params)
        for inner in (None, held)
    )
    expected = stopped if gradient == "stop" else through
    assert_trees_close(found.grads, {"params": expected}, rtol=1e-6, atol=1e-9)
    assert np.abs(through["kernel"] - stopped["kernel"]).max() > 1e-3


def test_proto_maml_knows_no_order_of_examples_and_follows_the_names_of_classes(x64):
    params, task = to_jax({"kernel": make_params()["kernel"]}), to_jax(make_task())
    learner = meta.proto_maml(
        linear_loss, embed=plain, classes=CLASSES, rule=optax.sgd(0.5), steps=2
    )

    def logits(params, state, x, *, train, key=None):
        return linear_logits(jnp, params, params["head"], x), state

    answer = meta.answer_by_adapting(learner, logits)

    @jax.jit
    def ask(x, y):
        return answer(params, {}, LabelledBatch(x, y), task.query.x, train=False)[0]

    x, y = task.support
    found, order = ask(x, y), np.array([2, 0, 1])
    np.testing.assert_allclose(ask(x[order], y[order]), found, rtol=1e-9)
    np.testing.assert_allclose(ask(x, 1 - y), found[:, ::-1], rtol=1e-9)
    assert np.abs(found - found[:, ::-1]).max() > 1e-2


def test_proto_maml_without_steps_answers_as_prototypes_do(x64):
    params, task = to_jax({"kernel": make_params()["kernel"]}), to_jax(make_task())
    learner = meta.proto_maml(
        linear_loss, embed=plain, classes=CLASSES, rule=optax.sgd(0.5), steps=0
    )

    def logits(params, state, x, *, train, key=None):
        return linear_logits(jnp, params, params["head"], x), state

    answers, _ = meta.answer_by_adapting(learner, logits)(
        params, {}, task.support, task.query.x, train=False
    )
    head = partial(meta.nearest_centroid, classes=CLASSES)
    expected, _ = meta.answer_by_features(plain, lambda params: head)(
        params, {}, task.support, task.query.x, train=False
    )
    np.testing.assert_allclose(jax.nn.softmax(answers), jax.nn.softmax(expected), rtol=1e-9)
