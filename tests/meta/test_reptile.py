"""Reptile against its closed form on a quadratic."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxfer.adapters import by_path
from jaxfer.meta import reptile
from jaxfer.typing import Task

from .references import assert_trees_close, descend, full_rates, make_loss, make_params, make_task

CURVATURE = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, -0.3], [0.0, -0.3, 0.5]])
THETA = np.array([1.0, -2.0, 0.5])
TASK = Task(
    support=np.array([[1.0, 0.0, 2.0], [3.0, 1.0, 0.0]]),
    query=np.array([[0.0, 5.0, 1.0], [2.0, 2.0, 2.0], [-1.0, 0.0, 1.0]]),
)


def quadratic(params, state, batch, key):
    error = params - batch
    loss = 0.5 * jnp.mean(jnp.einsum("ni,ij,nj->n", error, CURVATURE, error))
    return loss, (state, {"first": params[0]})


@pytest.mark.parametrize("steps", [1, 4, 15])
def test_gradient_is_the_closed_form_of_k_steps_on_the_joined_batches(steps, x64):
    """phi_K - optimum = (I - rate H)^K (theta - optimum)."""
    rate = 0.3
    learner = reptile(quadratic, rule=optax.sgd(rate), steps=steps)
    result = learner.gradient(learner.init(jnp.asarray(THETA)), {}, TASK, None, 0)
    optimum = np.concatenate(TASK).mean(0)
    shrink = np.linalg.matrix_power(np.eye(3) - rate * CURVATURE, steps)
    adapted = optimum + shrink @ (THETA - optimum)
    np.testing.assert_allclose(result.grads["params"], THETA - adapted, rtol=1e-10)
    error = adapted - TASK.query
    loss = 0.5 * np.mean(np.sum(error @ CURVATURE * error, -1))
    np.testing.assert_allclose(result.metrics["loss"], loss, rtol=1e-10)
    np.testing.assert_allclose(result.metrics["first"], adapted[0], rtol=1e-10)


def test_adapting_to_a_new_task_uses_its_support_set_alone(x64):
    learner = reptile(quadratic, rule=optax.sgd(0.3), steps=200)
    adapted = learner.adapt(learner.init(jnp.asarray(THETA)), {}, TASK.support, None).params
    np.testing.assert_allclose(adapted, TASK.support.mean(0), rtol=1e-6)


def test_masked_and_with_another_query_loss_that_only_reports(x64):
    params, task = make_params(), make_task()
    joined = task.support._replace(
        x=np.concatenate([task.support.x, task.query.x]),
        y=np.concatenate([task.support.y, task.query.y]),
    )
    rates = full_rates(params, 0.2, ("head",))
    adapted = descend(params, joined, [rates] * 3, "batch")[-1]

    learner = reptile(
        make_loss("batch", record=True), rule=optax.sgd(0.2), steps=3, mask=by_path("head"),
        query_loss_fn=lambda params, state, batch, key: (jnp.array(42.0), (state, {})),
    )  # fmt: skip
    result = learner.gradient(learner.init(params), {"mean": np.zeros(4)}, task, None, 0)
    expected = {
        name: {leaf: params[name][leaf] - adapted[name][leaf] for leaf in params[name]}
        for name in ("body", "norm", "head")
    }
    expected["context"] = np.zeros(2)
    assert_trees_close(result.grads["params"], expected, rtol=1e-9)
    assert np.abs(result.grads["params"]["head"]["kernel"]).min() > 0
    assert result.metrics["loss"] == 42.0


def test_remat_changes_nothing():
    results = [
        reptile(quadratic, rule=optax.adam(0.1), steps=3, remat=remat).gradient(
            {"params": jnp.asarray(THETA, jnp.float32)}, {}, TASK, None, 0
        )
        for remat in (False, True)
    ]
    assert_trees_close(results[0].grads, results[1].grads, rtol=1e-6)
    # Adam's first steps are of the rate's size: 3 * 0.1 at most.
    assert np.all(np.abs(results[0].grads["params"]) < 0.3 + 1e-5)


def test_options_of_adapt_are_checked():
    learner = reptile(quadratic, rule=optax.sgd(0.1), steps=-3)
    with pytest.raises(ValueError, match="steps must be at least 0"):
        learner.gradient(learner.init(jnp.asarray(THETA)), {}, TASK, None, 0)
