"""What experiments on episodes share, on problems whose answers can be written down."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxfer.experiments.episodic import (
    SMOKE,
    EpisodicOptions,
    check_options,
    compile_episodes,
    make_learner,
    make_optimiser,
    make_outer_step,
)
from jaxfer.training.devices import compile_step, first, replicate
from jaxfer.training.state import init_train_state
from jaxfer.typing import Task, UserError

ONE = jax.local_devices()[:1]
START, RATE, SUPPORT, QUERY = 0.5, 0.25, 2.0, 1.0


def squared(params, state, batch, key):
    """A loss of one parameter: its gradient is the distance, its curvature 1."""
    return 0.5 * jnp.mean((params - batch) ** 2), (state, {})


def product(params, state, batch, key):
    """A loss of a network with a head and a body, each one number."""
    return 0.5 * jnp.mean((params["head"] * params["body"] - batch) ** 2), (state, {})


def meta_gradient(method, **options):
    config = EpisodicOptions(method=method, **options)
    learner = make_learner(config, squared, rate=RATE, steps=config.inner_steps)
    task = Task(support=jnp.array([SUPPORT]), query=jnp.array([QUERY]))
    return learner.gradient(learner.init(jnp.array(START)), {}, task, None, 0).grads


def test_maml_differentiates_through_its_steps_and_fomaml_does_not():
    # Two steps shrink the distance to the support point by 0.75 each.
    adapted = SUPPORT - 0.75**2 * (SUPPORT - START)
    maml = meta_gradient("maml", inner_steps=2)["params"]
    np.testing.assert_allclose(maml, 0.75**2 * (adapted - QUERY), rtol=1e-6)
    fomaml = meta_gradient("fomaml", inner_steps=2)["params"]
    np.testing.assert_allclose(fomaml, adapted - QUERY, rtol=1e-6)


def test_the_configurations_inner_rate_wins():
    adapted = START + 0.5 * (SUPPORT - START)
    maml = meta_gradient("maml", inner_rate=0.5)["params"]
    np.testing.assert_allclose(maml, 0.5 * (adapted - QUERY), rtol=1e-6)
    assert meta_gradient("maml", inner_rate=0.0)["params"] == START - QUERY


def test_imaml_is_the_gradient_of_the_proximal_solution():
    found = meta_gradient("imaml", proximal=3.0, inner_steps=60)["params"]
    solution = (SUPPORT + 3 * START) / 4
    np.testing.assert_allclose(found, 3 / 4 * (solution - QUERY), rtol=1e-4)


def test_reptile_points_from_where_adam_ends():
    # The first step of Adam is its rate, whatever the gradient; support and query are joined.
    np.testing.assert_allclose(meta_gradient("reptile")["params"], -RATE, rtol=1e-5)


def test_meta_sgd_and_maml_plus_plus_learn_their_rates():
    adapted = START + RATE * (SUPPORT - START)
    expected = (SUPPORT - START) * (adapted - QUERY)  # d query loss / d rate
    for method in ("meta-sgd", "maml++"):
        grads = meta_gradient(method)
        np.testing.assert_allclose(
            grads["params"], (1 - RATE) * (adapted - QUERY), rtol=1e-6, err_msg=method
        )
        [rate] = [leaf for name, leaf in grads.items() if name != "params"]
        [rate] = jax.tree.leaves(rate)
        # However the rate is kept, following its gradient changes it the right way.
        assert np.sign(rate).item() == np.sign(expected)


@pytest.mark.parametrize(("method", "still"), [("anil", "body"), ("boil", "head"), ("maml", None)])
def test_which_part_adapts(method, still):
    config = EpisodicOptions(method=method, inner_steps=3)
    learner = make_learner(config, product, rate=RATE, steps=3)
    params = {"head": jnp.array(0.5), "body": jnp.array(0.7)}
    adapted = learner.adapt(learner.init(params), {}, jnp.array([2.0]), None).params
    for name, before in params.items():
        assert (adapted[name] == before) == (name == still), name


def test_an_optimiser_with_a_constant_rate_and_one_that_falls():
    def sizes(schedule):
        optimiser = make_optimiser(
            EpisodicOptions(outer_rate=0.1, outer_schedule=schedule, steps=20)
        )
        state, found = optimiser.init(jnp.zeros(())), []
        for _ in range(21):
            update, state = optimiser.update(jnp.ones(()), state)
            found.append(float(-update))
        return found

    np.testing.assert_allclose(sizes("constant"), 0.1, rtol=1e-4)
    cosine = sizes("cosine")
    np.testing.assert_allclose([cosine[0], cosine[10], cosine[20]], [0.1, 0.0505, 0.001], rtol=1e-3)


def tasks_of(key, data):
    support, query = jax.random.normal(key, (2, 3, 1))
    return Task(data + support, data + query)


def step_on(config, **options):
    """The parameters after two outer steps, and the losses."""
    learner = make_learner(config, product, rate=0.1, steps=2)
    optimiser = optax.sgd(0.1)
    params = {"head": jnp.array(0.5), "body": jnp.array(0.7)}
    state = init_train_state(lambda key: (learner.init(params), {}), optimiser, seeds=[3])
    step = make_outer_step(config, learner, optimiser, tasks_of, ONE, **options)
    compiled = compile_step(step, devices=ONE, scan_length=2)
    data = jnp.array(1.0)
    after, metrics = compiled(replicate(state, ONE), replicate(data, ONE))
    return state, jax.tree.map(lambda leaf: leaf[0], first(after).params), first(metrics)["loss"]


def test_an_outer_step_descends_the_mean_over_the_tasks():
    config = EpisodicOptions(tasks=4)
    state, params, losses = step_on(config)
    learner = make_learner(config, product, rate=0.1, steps=2)
    expected = {"head": 0.5, "body": 0.7}
    for number in range(2):
        step_key = jax.random.fold_in(state.key[0], number)
        results = []
        for index in range(4):
            key, _ = jax.random.split(jax.random.fold_in(step_key, index))
            task = tasks_of(key, 1.0)
            results.append(learner.gradient({"params": expected}, {}, task, None, number))
        loss = np.mean([result.metrics["loss"] for result in results])
        np.testing.assert_allclose(losses[number, 0], loss, rtol=1e-5)
        expected = {
            name: value - 0.1 * np.mean([result.grads["params"][name] for result in results])
            for name, value in expected.items()
        }
    for name, value in expected.items():
        np.testing.assert_allclose(params["params"][name], value, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "options"),
    [({"chunk": 2}, {}), ({"chunk": 4}, {}), ({}, {"vmapped": True}), ({"remat": True}, {})],
)
def test_how_it_is_computed_changes_nothing(changes, options):
    _, plain, losses = step_on(EpisodicOptions(tasks=4))
    _, other, others = step_on(EpisodicOptions(tasks=4, **changes), **options)
    np.testing.assert_allclose(others, losses, rtol=1e-5)
    for ours, theirs in zip(*map(jax.tree.leaves, (plain, other)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_a_chunk_that_does_not_divide():
    config = EpisodicOptions(tasks=4, chunk=3)
    with pytest.raises(UserError, match="--chunk 3 does not divide the 4 tasks of each device"):
        step_on(config)


@pytest.mark.parametrize("chunk", [None, 2, 3, 100])
def test_every_episode_is_judged_once_and_in_order(chunk):
    def judge(judged, data, index):
        return {"sum": judged + data + index, "square": jnp.stack([index, index**2])}

    evaluate = compile_episodes(judge, 7, ONE, chunk=chunk)
    found = evaluate(jnp.array([10.0, 20.0]), replicate(jnp.array(0.5), ONE))
    np.testing.assert_allclose(found["sum"], np.array([[10.5], [20.5]]) + np.arange(7))
    assert found["square"].shape == (2, 7, 2)
    np.testing.assert_array_equal(found["square"][1, :, 1], np.arange(7) ** 2)


def test_options_that_a_method_needs():
    check_options(EpisodicOptions(method="maml", inner_steps=0))
    with pytest.raises(UserError, match="--inner-steps is 0; maml\\+\\+ needs at least 1"):
        check_options(EpisodicOptions(method="maml++", inner_steps=0))
    for strength in (0.0, -1.0, math.nan):
        with pytest.raises(UserError, match="--proximal is"):
            check_options(EpisodicOptions(method="imaml", proximal=strength))
    check_options(EpisodicOptions(method="maml", proximal=0.0))


def test_a_smoke_run_is_a_configuration():
    check_options(dataclasses.replace(EpisodicOptions(), **SMOKE))
