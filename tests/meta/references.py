"""Independent references: a network with its gradient by hand, textbook learners as loops, in NumPy.

The network is a two-layer perceptron, ``z W + b`` (``z`` the input beside the context), less its
mean over the batch (or a recorded one), scaled and shifted, ``tanh``, and a linear head; the loss
half the mean squared error. JAX sees only its forward pass.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxfer.typing import LabelledBatch, Task

INPUTS, CONTEXT, HIDDEN, OUTPUTS = 2, 2, 4, 2


def make_params(seed=0):
    draw = np.random.default_rng(seed).normal
    return {
        "body": {"kernel": draw(size=(INPUTS + CONTEXT, HIDDEN)), "bias": draw(size=HIDDEN)},
        "norm": {"scale": 1 + 0.3 * draw(size=HIDDEN), "bias": 0.3 * draw(size=HIDDEN)},
        "head": {"kernel": draw(size=(HIDDEN, OUTPUTS)), "bias": draw(size=OUTPUTS)},
        "context": 0.5 * draw(size=CONTEXT),
    }


def make_task(seed=1, support=5, query=7):
    draw = np.random.default_rng(seed).normal
    return Task(
        LabelledBatch(draw(size=(support, INPUTS)), draw(size=(support, OUTPUTS))),
        LabelledBatch(draw(size=(query, INPUTS)), draw(size=(query, OUTPUTS))),
    )


def forward(xp, params, x, statistics, recorded):
    """Output, and what the gradient by hand needs. ``statistics``: none, batch or recorded."""
    context = xp.broadcast_to(params["context"], (x.shape[0], CONTEXT))
    z = xp.concatenate([x, context], -1)
    pre = z @ params["body"]["kernel"] + params["body"]["bias"]
    mean = {"none": 0.0 * recorded, "batch": pre.mean(0), "recorded": recorded}[statistics]
    centred = pre - mean
    hidden = xp.tanh(params["norm"]["scale"] * centred + params["norm"]["bias"])
    output = hidden @ params["head"]["kernel"] + params["head"]["bias"]
    return output, (z, centred, hidden, mean)


def loss_and_gradient(params, batch, statistics="none", recorded=None):
    """The loss, its gradient by hand and the mean it recorded, in NumPy."""
    recorded = np.zeros(HIDDEN) if recorded is None else recorded
    output, (z, centred, hidden, mean) = forward(np, params, batch.x, statistics, recorded)
    error = output - batch.y
    d_output = error / len(batch.x)
    d_scaled = d_output @ params["head"]["kernel"].T * (1 - hidden**2)
    d_pre = d_scaled * params["norm"]["scale"]
    if statistics == "batch":
        d_pre = d_pre - d_pre.mean(0)
    gradient = {
        "body": {"kernel": z.T @ d_pre, "bias": d_pre.sum(0)},
        "norm": {"scale": (d_scaled * centred).sum(0), "bias": d_scaled.sum(0)},
        "head": {"kernel": hidden.T @ d_output, "bias": d_output.sum(0)},
        "context": (d_pre @ params["body"]["kernel"].T)[:, INPUTS:].sum(0),
    }
    return 0.5 * (error**2).sum() / len(batch.x), gradient, mean


def make_loss(statistics="none", record=False):
    """The same network as a ``loss_fn`` of the learners."""

    def loss_fn(params, state, batch, key):
        del key
        recorded = state["mean"] if state else jnp.zeros(HIDDEN)
        output, (*_, mean) = forward(jnp, params, batch.x, statistics, recorded)
        loss = 0.5 * jnp.mean(jnp.sum((output - batch.y) ** 2, -1))
        return loss, (
            {"mean": mean} if record else state,
            {"error": jnp.abs(output - batch.y).max()},
        )

    return loss_fn


def full_rates(params, rate, names=None):
    """A rate for every parameter, 0 for those below none of ``names``."""
    return {
        name: jax.tree.map(
            lambda leaf, name=name: np.full(
                np.shape(leaf), rate * (names is None or name in names)
            ),
            below,
        )
        for name, below in params.items()
    }


def descend(params, support, rates, statistics="none"):
    """Parameters after each step of gradient descent; ``rates`` a list of trees, one for a step."""
    path = [params]
    for rate in rates:
        _, gradient, _ = loss_and_gradient(path[-1], support, statistics)
        path.append(jax.tree.map(lambda p, a, g: p - a * g, path[-1], rate, gradient))
    return path


def maml_objective(params, rates, task, support_statistics="none", query_statistics="none"):
    """The query loss after adapting, textbook form."""
    adapted = descend(params, task.support, rates, support_statistics)[-1]
    _, _, recorded = loss_and_gradient(adapted, task.support, support_statistics)
    return loss_and_gradient(adapted, task.query, query_statistics, recorded)[0]


def finite_differences(objective, tree, epsilon=1e-5):
    """The gradient of a NumPy function of a pytree, by central differences in every coordinate."""
    leaves, structure = jax.tree.flatten(tree)
    gradients = []
    for i, leaf in enumerate(leaves):
        leaf = np.asarray(leaf, np.float64)
        gradient = np.zeros_like(leaf)
        for index in np.ndindex(leaf.shape):
            values = []
            for sign in (1, -1):
                moved = leaf.copy()
                moved[index] += sign * epsilon
                values.append(
                    objective(structure.unflatten([*leaves[:i], moved, *leaves[i + 1 :]]))
                )
            gradient[index] = (values[0] - values[1]) / (2 * epsilon)
        gradients.append(gradient)
    return structure.unflatten(gradients)


def to_jax(tree):
    return jax.tree.map(jnp.asarray, tree)


def assert_trees_close(actual, expected, rtol=1e-6, atol=1e-8):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for (path, a), b in zip(
        jax.tree.leaves_with_path(actual), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol, atol, err_msg=jax.tree_util.keystr(path))


def meta_gradient(learner, meta, task, state=None, step=0, key=None):
    """One task's meta-gradient; op by op, as the tests share the few operations and their shapes."""
    return learner.gradient(to_jax(meta), state or {}, to_jax(task), key, step)


def assert_meta_gradient(learner, meta, objective, task, *, state=None, step=0, **tolerances):
    """The gradient is that of ``objective(meta, task)``, a NumPy function, by finite differences."""
    result = meta_gradient(learner, meta, task, state, step)
    expected = finite_differences(partial(objective, task=task), jax.tree.map(np.asarray, meta))
    assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(result.grads))
    assert_trees_close(result.grads, expected, **tolerances)
    return result
