"""OML: one pass is a loop, and its meta-gradient that of finite differences through all of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxfer import meta
from jaxfer.typing import LabelledBatch, Task

from .references import assert_trees_close, finite_differences, to_jax

INPUTS, FEATURES, CLASSES, RATE = 2, 3, 3, 0.4


def make_params(seed=0):
    draw = np.random.default_rng(seed).normal
    return {
        "representation": {"kernel": draw(size=(INPUTS, FEATURES))},
        "prediction": {
            "head": {"kernel": draw(size=(FEATURES, CLASSES)), "bias": draw(size=CLASSES)}
        },
    }


def make_task(seed=1):
    draw = np.random.default_rng(seed)

    def batch(labels):
        return LabelledBatch(draw.normal(size=(len(labels), INPUTS)), np.array(labels, np.int32))

    return Task(batch([0, 0, 2, 2]), batch([1, 0, 2]))


def represent(params, state, x, *, train, key=None):
    return jnp.tanh(x @ params["kernel"]), state


def loss_fn(params, state, batch, key):
    logits = batch.x @ params["head"]["kernel"] + params["head"]["bias"]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.y)
    return losses.mean(), (state, {})


def errors(head, features, labels):
    logits = features @ head["kernel"] + head["bias"]
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities = exponentials / exponentials.sum(-1, keepdims=True)
    loss = -np.log(probabilities[np.arange(len(labels)), labels]).mean()
    return loss, (probabilities - np.eye(CLASSES)[labels]) / len(labels)


def pass_by_numpy(params, trajectory):
    """The head after one pass, one example at a time, in a loop."""
    head = dict(params["prediction"]["head"])
    features = np.tanh(trajectory.x @ params["representation"]["kernel"])
    losses = []
    for x, y in zip(features, trajectory.y, strict=True):
        loss, error = errors(head, x[None], [y])
        losses.append(loss)
        head = {
            "kernel": head["kernel"] - RATE * x[:, None] * error,
            "bias": head["bias"] - RATE * error[0],
        }
    return head, losses


def outer_by_numpy(params, task):
    head, _ = pass_by_numpy(params, task.support)
    x, y = (np.concatenate(part) for part in zip(*task, strict=True))
    return errors(head, np.tanh(x @ params["representation"]["kernel"]), y)[0]


def learn(*arguments, remat=False):
    return meta.learn_online(loss_fn, *arguments, rule=optax.sgd(RATE), remat=remat)


WALKS = {
    "scan": learn,
    "remat": functools.partial(learn, remat=True),
    "factors": functools.partial(meta.learn_online_mlp, rate=RATE),
}


def make_learner(learn=learn, **options):
    return meta.oml(represent, loss_fn, learn, **options)


def test_one_pass_is_a_loop_and_leaves_the_representation(x64):
    params, task = make_params(), make_task()
    learner = make_learner()
    adapted = learner.adapt(learner.init(to_jax(params)), {}, to_jax(task.support), None)
    head, losses = pass_by_numpy(params, task.support)
    assert_trees_close(adapted.params["prediction"]["head"], head, rtol=1e-9)
    np.testing.assert_array_equal(
        adapted.params["representation"]["kernel"], params["representation"]["kernel"]
    )
    np.testing.assert_allclose(adapted.info.losses, losses, rtol=1e-9)


@pytest.mark.parametrize("walk", WALKS)
def test_the_meta_gradient_goes_through_the_whole_trajectory(walk, x64):
    params, task = make_params(), make_task()
    learner = make_learner(WALKS[walk])
    found = jax.jit(learner.gradient)(learner.init(to_jax(params)), {}, to_jax(task), None, 0)
    expected = finite_differences(lambda p: outer_by_numpy(p, task), params)
    assert_trees_close(found.grads, {"params": expected}, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.metrics["loss"], outer_by_numpy(params, task), rtol=1e-9)


def test_the_order_of_a_trajectory_matters(x64):
    params, task = to_jax(make_params()), to_jax(make_task())
    learner = make_learner()
    back = jax.tree.map(lambda leaf: leaf[::-1], task.support)
    there, again = (
        learner.adapt({"params": params}, {}, each, None).params["prediction"]["head"]["kernel"]
        for each in (task.support, back)
    )
    assert np.abs(there - again).max() > 1e-3


def test_a_reset_draws_the_columns_of_the_trajectory_and_stops_their_gradient(x64):
    params, task = to_jax(make_params()), to_jax(make_task())
    head = params["prediction"]["head"]
    fresh = meta.reset_columns()(params["prediction"], task.support.y, jax.random.key(0))["head"]
    np.testing.assert_array_equal(fresh["kernel"][:, 1], head["kernel"][:, 1])
    assert fresh["bias"][1] == head["bias"][1] and not fresh["bias"][jnp.array([0, 2])].any()
    assert np.abs(fresh["kernel"] - head["kernel"])[:, [0, 2]].min() > 1e-6
    learner = make_learner(reset=meta.reset_columns())
    found = learner.gradient({"params": params}, {}, task, jax.random.key(0), 0)
    kernel = np.asarray(found.grads["params"]["prediction"]["head"]["kernel"])
    assert not kernel[:, [0, 2]].any() and np.abs(kernel[:, 1]).min() > 0


def test_what_a_reset_draws_has_the_variance_of_kaiming():
    kernel = jnp.zeros((400, 50))
    params = {"head": {"kernel": kernel, "bias": jnp.zeros(50)}}
    drawn = meta.reset_columns()(params, jnp.arange(50), jax.random.key(1))["head"]["kernel"]
    np.testing.assert_allclose(drawn.var(), 2 / 400, rtol=0.05)


def test_what_cannot_be():
    params, task = to_jax(make_params()), to_jax(make_task())
    with pytest.raises(ValueError, match="key must be given"):
        make_learner(reset=meta.reset_columns()).adapt({"params": params}, {}, task.support, None)
    with pytest.raises(ValueError, match="trajectory must hold at least one example"):
        meta.learn_online(loss_fn, params["prediction"], {},
                          jax.tree.map(lambda x: x[:0], task.support), rule=optax.sgd(1.0))  # fmt: skip
