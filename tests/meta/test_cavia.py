"""CAVIA: the meta-gradient of the shared parameters, and the context that starts at zero."""

from functools import partial

import numpy as np
import optax
import pytest

from jaxfer.meta import cavia

from .references import (
    CONTEXT,
    assert_meta_gradient,
    assert_trees_close,
    descend,
    full_rates,
    make_loss,
    make_params,
    make_task,
    maml_objective,
    meta_gradient,
    to_jax,
)

RATE = 0.5


def objective(meta, task, support, query):
    params = {**meta["params"], "context": np.zeros(CONTEXT)}
    rates = [full_rates(params, RATE, ("context",))] * 2
    return maml_objective(params, rates, task, support, query)


def test_meta_gradient_is_that_of_finite_differences(x64):
    learner = cavia(make_loss(), rule=optax.sgd(RATE), steps=2)
    meta = learner.init(make_params())
    in_numpy = partial(objective, support="none", query="none")
    grads = assert_meta_gradient(learner, meta, in_numpy, make_task()).grads["params"]
    np.testing.assert_array_equal(grads["context"], np.zeros(CONTEXT))
    assert np.abs(grads["body"]["kernel"]).min() > 0


def test_the_recorded_statistics_of_the_support_set(x64):
    learner = cavia(
        make_loss("batch", record=True), rule=optax.sgd(RATE), steps=2,
        query_loss_fn=make_loss("recorded"),
    )  # fmt: skip
    assert_meta_gradient(
        learner, learner.init(make_params()), partial(objective, support="batch", query="recorded"),
        make_task(), state={"mean": np.full(4, 9.0)},
    )  # fmt: skip


def test_the_context_starts_at_zero_and_alone_is_adapted(x64):
    learner = cavia(make_loss(), rule=optax.sgd(RATE), steps=3)
    params, task = make_params(), make_task()
    adapted = learner.adapt(learner.init(to_jax(params)), {}, to_jax(task.support), None)
    start = {**params, "context": np.zeros(CONTEXT)}
    expected = descend(start, task.support, [full_rates(params, RATE, ("context",))] * 3)[-1]
    assert_trees_close(adapted.params, expected, rtol=1e-10)
    assert np.abs(adapted.params["context"]).min() > 1e-3
    np.testing.assert_array_equal(adapted.params["head"]["kernel"], params["head"]["kernel"])


def test_the_first_order_form_differs_and_the_name_of_the_context_is_free(x64):
    def loss_fn(params, state, batch, key):
        return make_loss()({**params, "context": params["task"]}, state, batch, key)

    params = make_params()
    params["task"] = params.pop("context")
    options = {"rule": optax.sgd(RATE), "steps": 2, "context": "task"}
    exact = meta_gradient(cavia(loss_fn, **options), {"params": params}, make_task())
    first = meta_gradient(
        cavia(loss_fn, gradient="stop", **options), {"params": params}, make_task()
    )
    np.testing.assert_allclose(exact.metrics["loss"], first.metrics["loss"], rtol=1e-12)
    difference = exact.grads["params"]["body"]["kernel"] - first.grads["params"]["body"]["kernel"]
    assert np.abs(difference).max() > 1e-4


def test_a_network_without_context_is_refused():
    learner = cavia(make_loss(), rule=optax.sgd(RATE), steps=1, context="embedding")
    with pytest.raises(ValueError, match="no parameter lies below embedding"):
        learner.adapt(learner.init(make_params()), {}, make_task().support, None)
