"""MAML, FOMAML, ANIL and BOIL: meta-gradients against finite differences, and what relates them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxfer.adapters import by_path
from jaxfer.meta import Adapted, anil, boil, fomaml, learner_from, maml, record_statistics
from jaxfer.typing import Task

from .references import (
    HIDDEN,
    assert_meta_gradient,
    assert_trees_close,
    descend,
    finite_differences,
    full_rates,
    loss_and_gradient,
    make_loss,
    make_params,
    make_task,
    maml_objective,
    meta_gradient,
    to_jax,
)

RATE = 0.2


def objective(meta, task, steps=2, adapted=None, support="none", query="none"):
    rates = [full_rates(meta["params"], RATE, adapted)] * steps
    return maml_objective(meta["params"], rates, task, support, query)


@pytest.mark.parametrize("steps", [pytest.param(1, marks=pytest.mark.thorough), 3])
def test_maml_meta_gradient_is_that_of_finite_differences(steps, x64):
    learner = maml(make_loss(), rule=optax.sgd(RATE), steps=steps)
    meta, task = learner.init(make_params()), make_task()
    result = assert_meta_gradient(learner, meta, partial(objective, steps=steps), task)
    np.testing.assert_allclose(result.metrics["loss"], objective(meta, task, steps), rtol=1e-12)
    assert set(result.metrics) == {"loss", "error"}
    assert result.state == {}


@pytest.mark.parametrize(
    ("learner", "adapted"),
    [(anil, ("head",)), (boil, ("body", "norm", "context"))],
    ids=["anil", "boil"],
)
def test_partial_adaptation_meta_gradient_is_that_of_finite_differences(learner, adapted, x64):
    learner = learner(make_loss(), rule=optax.sgd(RATE), steps=2)
    meta = learner.init(make_params())
    assert_meta_gradient(learner, meta, partial(objective, adapted=adapted), make_task())


@pytest.mark.parametrize("query", ["batch", "recorded"])
def test_statistics_of_the_batch_and_of_the_support_set(query, x64):
    losses = {"loss_fn": make_loss("batch", record=True)}
    if query == "recorded":
        losses["query_loss_fn"] = make_loss("recorded")
    learner = maml(**losses, rule=optax.sgd(RATE), steps=2)
    meta, task = learner.init(make_params()), make_task()
    result = assert_meta_gradient(
        learner,
        meta,
        partial(objective, support="batch", query=query),
        task,
        state={"mean": jnp.full(HIDDEN, 100.0)},
    )
    if query == "recorded":
        rates = [full_rates(meta["params"], RATE)] * 2
        adapted = descend(meta["params"], task.support, rates, "batch")[-1]
        recorded = loss_and_gradient(adapted, task.support, "batch")[2]
        np.testing.assert_allclose(result.state["mean"], recorded, rtol=1e-9)


def test_adapt_is_gradient_descent_on_the_support_set(x64):
    learner = maml(make_loss(), rule=optax.sgd(RATE), steps=3)
    params, task = make_params(), make_task()
    path = descend(params, task.support, [full_rates(params, RATE)] * 3)
    adapted = learner.adapt(learner.init(to_jax(params)), {}, to_jax(task.support), None)
    assert_trees_close(adapted.params, path[-1], rtol=1e-10)
    losses = [loss_and_gradient(point, task.support)[0] for point in path[:-1]]
    np.testing.assert_allclose(adapted.info.losses, losses, rtol=1e-10)


def test_fomaml_is_the_query_gradient_at_the_adapted_parameters(x64):
    learner = fomaml(make_loss(), rule=optax.sgd(RATE), steps=3)
    params, task = make_params(), make_task()
    adapted = descend(params, task.support, [full_rates(params, RATE)] * 3)[-1]
    expected = loss_and_gradient(adapted, task.query)[1]
    grads = meta_gradient(learner, learner.init(params), task).grads["params"]
    assert_trees_close(grads, expected, rtol=1e-9)
    exact = meta_gradient(
        maml(make_loss(), rule=optax.sgd(RATE), steps=3), {"params": params}, task
    )
    assert np.abs(exact.grads["params"]["head"]["kernel"] - expected["head"]["kernel"]).max() > 1e-2


def test_fomaml_of_frozen_parameters_is_their_partial_derivative(x64):
    learner = fomaml(make_loss(), rule=optax.sgd(RATE), steps=2, mask=by_path("head"))
    params, task = make_params(), make_task()
    adapted = descend(params, task.support, [full_rates(params, RATE, ("head",))] * 2)[-1]
    expected = loss_and_gradient(adapted, task.query)[1]
    grads = meta_gradient(learner, learner.init(params), task).grads["params"]
    assert_trees_close(grads, expected, rtol=1e-9)


def test_fomaml_is_maml_where_curvature_is_zero(x64):
    def loss_fn(params, state, batch, key):
        return jnp.vdot(params["w"], batch) + 2.0 * params["b"], (state, {})

    def query_loss_fn(params, state, batch, key):
        return jnp.sum(jnp.sin(params["w"]) * batch) + params["b"] ** 2, (state, {})

    task = Task(np.array([0.3, -1.0, 2.0]), np.array([1.0, 2.0, 3.0]))
    params = {"w": np.array([1.0, 0.5, -0.5]), "b": np.array(0.7)}
    options = {"rule": optax.sgd(RATE), "steps": 3, "query_loss_fn": query_loss_fn}
    first = meta_gradient(fomaml(loss_fn, **options), {"params": params}, task)
    second = meta_gradient(maml(loss_fn, **options), {"params": params}, task)
    assert_trees_close(first.grads, second.grads, rtol=1e-12)
    w = params["w"] - 3 * RATE * task.support
    expected = {"params": {"w": np.cos(w) * task.query, "b": 2 * (params["b"] - 6 * RATE)}}
    assert_trees_close(second.grads, expected, rtol=1e-9)


@pytest.mark.parametrize("invert", [False, True], ids=["anil", "boil"])
def test_anil_and_boil_are_masked_maml(invert, x64):
    options = {"rule": optax.adam(0.05), "steps": 2}
    named = (boil if invert else anil)(make_loss(), head="norm", **options)
    below = {"norm": True, "head": False, "body": False, "context": False}
    mask = {name: chosen != invert for name, chosen in below.items()}
    masked = maml(make_loss(), mask=mask, **options)
    meta, task = named.init(make_params()), make_task()
    assert_trees_close(
        meta_gradient(named, meta, task).grads, meta_gradient(masked, meta, task).grads, rtol=1e-12
    )
    adapted = named.adapt(to_jax(meta), {}, to_jax(task.support), None).params
    for name, chosen in mask.items():
        same = jax.tree.map(np.array_equal, adapted[name], meta["params"][name])
        assert all(jax.tree.leaves(same)) != chosen


def test_momentum_is_differentiated_through(x64):
    momentum, steps = 0.8, 3

    def heavy_ball(meta, task):
        params = meta["params"]
        velocity = jax.tree.map(np.zeros_like, params)
        for _ in range(steps):
            gradient = loss_and_gradient(params, task.support)[1]
            velocity = jax.tree.map(lambda v, g: momentum * v + g, velocity, gradient)
            params = jax.tree.map(lambda p, v: p - RATE * v, params, velocity)
        return loss_and_gradient(params, task.query)[0]

    learner = maml(make_loss(), rule=optax.sgd(RATE, momentum=momentum), steps=steps)
    assert_meta_gradient(learner, learner.init(make_params()), heavy_ball, make_task())


def test_adam_is_differentiated_through(x64):
    rate, b1, b2, epsilon, steps = 0.05, 0.9, 0.99, 1e-3, 3

    def adam(meta, task):
        params = meta["params"]
        m = v = jax.tree.map(np.zeros_like, params)
        for t in range(1, steps + 1):
            gradient = loss_and_gradient(params, task.support)[1]
            m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, m, gradient)
            v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g**2, v, gradient)
            params = jax.tree.map(
                lambda p, m, v, t=t: p
                - rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + epsilon),
                params, m, v,
            )  # fmt: skip
        return loss_and_gradient(params, task.query)[0]

    rule = optax.adam(rate, b1=b1, b2=b2, eps=epsilon)
    learner = maml(make_loss(), rule=rule, steps=steps)
    assert_meta_gradient(learner, learner.init(make_params()), adam, make_task(), rtol=1e-5)


def test_without_steps_the_meta_gradient_is_the_query_gradient(x64):
    learner = maml(make_loss(), rule=optax.sgd(RATE), steps=0)
    params, task = make_params(), make_task()
    result = meta_gradient(learner, learner.init(params), task)
    assert_trees_close(result.grads["params"], loss_and_gradient(params, task.query)[1], rtol=1e-9)


def test_forward_mode_and_compiled_vmap_agree(x64):
    learner = maml(make_loss(), rule=optax.sgd(RATE), steps=2)
    meta, tasks = learner.init(to_jax(make_params())), [make_task(1), make_task(2)]

    def query_loss(meta, task):
        adapted = learner.adapt(meta, {}, task.support, None)
        return make_loss()(adapted.params, {}, task.query, None)[0]

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *tasks)
    batched = jax.jit(jax.vmap(lambda task: learner.gradient(meta, {}, task, None, 0)))(stacked)
    direction = to_jax({"params": make_params(seed=5)})
    for i, task in enumerate(tasks):
        one = meta_gradient(learner, meta, task).grads
        assert_trees_close(jax.tree.map(lambda leaf, i=i: leaf[i], batched.grads), one)
        _, slope = jax.jvp(
            lambda meta, task=task: query_loss(meta, to_jax(task)), (meta,), (direction,)
        )
        np.testing.assert_allclose(slope, optax.tree.vdot(one, direction), rtol=1e-9)


def test_the_third_derivative_is_exact(x64):
    """A Hessian of the meta-objective, as a learner's learner would need."""
    params = np.array([0.4, -0.3])

    def loss_fn(params, state, batch, key):
        return jnp.sum(jnp.sin(params * batch)), (state, {})

    support, query = np.array([1.0, 2.0]), np.array([0.5, -1.5])
    learner = maml(loss_fn, rule=optax.sgd(RATE), steps=2)

    def gradient(params):
        for_task = learner.gradient({"params": params}, {}, Task(support, query), None, 0)
        return for_task.grads["params"]

    def reference(params):
        jacobian = np.ones(2)
        for _ in range(2):
            curvature = -(support**2) * np.sin(params * support)
            jacobian = jacobian * (1 - RATE * curvature)
            params = params - RATE * support * np.cos(params * support)
        return query * np.cos(params * query) * jacobian

    np.testing.assert_allclose(gradient(jnp.asarray(params)), reference(params), rtol=1e-10)
    hessian = jax.jacobian(gradient)(jnp.asarray(params))
    diagonal = finite_differences(lambda p: reference(p).sum(), params)
    np.testing.assert_allclose(hessian, np.diag(diagonal), rtol=1e-6, atol=1e-10)


def test_a_loss_that_needs_a_key_is_reproducible_and_each_step_draws_anew():
    noises = []

    def loss_fn(params, state, batch, key):
        noise = jax.random.normal(key, params.shape)
        jax.debug.callback(lambda value: noises.append(np.asarray(value)), noise)
        return 0.5 * jnp.sum((params - batch - noise) ** 2), (state, {})

    learner = maml(loss_fn, rule=optax.sgd(0.5), steps=2)
    task = Task(jnp.ones(3), jnp.ones(3))

    def gradient(seed):
        result = learner.gradient({"params": jnp.zeros(3)}, {}, task, jax.random.key(seed), 0)
        jax.effects_barrier()
        return np.asarray(result.grads["params"])

    first = gradient(0)
    drawn = {tuple(noise) for noise in noises}
    assert len(drawn) == 3  # two inner steps and the query batch
    np.testing.assert_array_equal(gradient(0), first)
    assert {tuple(noise) for noise in noises} == drawn
    assert not np.any(gradient(1) == first)


def test_record_statistics_passes_over_the_support_set_once_more():
    def loss_fn(params, state, batch, key):
        return 0.0, ({"seen": state["seen"] + params * batch + key}, {})

    adapted = Adapted(jnp.array(2.0), {"seen": jnp.array(1.0)}, "info")
    recorded = record_statistics(loss_fn, adapted, jnp.array(3.0), jnp.array(10.0))
    assert recorded.params is adapted.params
    assert recorded.info == "info"
    assert recorded.state == {"seen": 17.0}


def test_learner_from_splits_the_key_between_support_and_query():
    def learn(meta, state, support, key):
        return Adapted(meta["params"], {"support_key": key}, None)

    def query_loss_fn(params, state, batch, key):
        metrics = {
            "support": jax.random.key_data(state["support_key"]),
            "query": jax.random.key_data(key),
        }
        return jnp.sum(params * batch), (state, metrics)

    learner = learner_from(lambda params: {"params": params}, learn, query_loss_fn)
    result = learner.gradient(
        {"params": jnp.ones(2)}, {}, Task(None, jnp.array([1.0, 2.0])), jax.random.key(0), 7
    )
    np.testing.assert_array_equal(result.grads["params"], [1.0, 2.0])
    assert result.metrics["loss"] == 3.0
    assert np.any(result.metrics["support"] != result.metrics["query"])


@pytest.mark.parametrize("learner", [anil, boil])
def test_a_head_that_is_not_there_is_named(learner):
    learner = learner(make_loss(), head="classifier", rule=optax.sgd(RATE), steps=1)
    with pytest.raises(ValueError, match=r"no parameter lies below classifier; there are .*kernel"):
        learner.adapt(learner.init(make_params()), {}, make_task().support, None)


def test_options_of_adapt_are_checked_when_the_learner_adapts():
    learner = maml(make_loss(), rule=optax.sgd(RATE), steps=-1)
    with pytest.raises(ValueError, match="steps must be at least 0; got -1"):
        learner.gradient(learner.init(make_params()), {}, make_task(), None, 0)
    learner = maml(make_loss(), rule=optax.sgd(RATE), steps=1, gradient="second")
    with pytest.raises(ValueError, match="gradient must be .*; got 'second'"):
        learner.gradient(learner.init(make_params()), {}, make_task(), None, 0)
