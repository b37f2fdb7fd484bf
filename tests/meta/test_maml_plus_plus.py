"""MAML++: learned rates, per-step parameters, the multi-step loss and the first-order warm-up."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxfer.adapters import by_path
from jaxfer.meta import maml, maml_plus_plus, multi_step_weights
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
    meta_gradient,
    to_jax,
)

RATE, STEPS = 0.2, 3


def varied_meta(learner, own=()):
    """Meta-parameters in which every step has its own rates and its own values of ``own``."""
    meta = jax.tree.map(np.asarray, learner.init(to_jax(make_params())))
    draw = np.random.default_rng(4)
    meta["rates"] = jax.tree.map(lambda a: a * draw.uniform(0.3, 1.7, a.shape), meta["rates"])
    for name in own:
        meta["params"][name] = jax.tree.map(
            lambda leaf: leaf + 0.2 * draw.normal(size=leaf.shape), meta["params"][name]
        )
    return meta


def walk(meta, support, own=(), statistics="none", gradients=None):
    """What every step ends at; the steps of ``gradients`` instead of the point's, if given."""
    points = []
    current = {name: below for name, below in meta["params"].items() if name not in own}
    for k in range(STEPS):
        before, after = (
            {name: jax.tree.map(lambda leaf, k=k: leaf[k], meta["params"][name]) for name in own}
            for k in (k, k + 1)
        )
        _, gradient, _ = loss_and_gradient({**current, **before}, support, statistics)
        if gradients is not None:
            gradient = gradients[k]
        current = {
            name: jax.tree.map(
                lambda p, a, g, k=k: p - a[k] * g,
                current[name],
                meta["rates"][name],
                gradient[name],
            )
            for name in current
        }
        points.append(({**current, **after}, gradient))
    return points


def objective(meta, task, weights=(0, 0, 1), own=(), support="none", query="none", gradients=None):
    total = 0.0
    for weight, (point, _) in zip(
        weights, walk(meta, task.support, own, support, gradients), strict=True
    ):
        recorded = loss_and_gradient(point, task.support, support)[2]
        total += weight * loss_and_gradient(point, task.query, query, recorded)[0]
    return total


@pytest.mark.parametrize(
    ("step", "anneal_steps", "expected"),
    [
        (0, 4, [1 / 3, 1 / 3, 1 / 3]),
        (1, 4, [1 / 4, 1 / 4, 1 / 2]),
        (2, 4, [1 / 6, 1 / 6, 2 / 3]),
        (4, 4, [0, 0, 1]),
        (9, 4, [0, 0, 1]),
        (0, 0, [0, 0, 1]),
        (0, 1, [1 / 3, 1 / 3, 1 / 3]),
        (1, 1, [0, 0, 1]),
        (5, 10, [1.0]),
    ],
)
def test_multi_step_weights_table(step, anneal_steps, expected):
    steps = len(expected)
    weights = multi_step_weights(step, steps=steps, anneal_steps=anneal_steps)
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    traced = jax.jit(partial(multi_step_weights, steps=steps, anneal_steps=anneal_steps))(step)
    np.testing.assert_allclose(traced, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "step",
    [pytest.param(0, marks=pytest.mark.thorough), 3, pytest.param(10, marks=pytest.mark.thorough)],
)
def test_meta_gradient_of_the_multi_step_loss(step, x64):
    learner = maml_plus_plus(make_loss(), rate=RATE, steps=STEPS, anneal_steps=10)
    weights = {0: (1 / 3, 1 / 3, 1 / 3), 3: (0.7 / 3, 0.7 / 3, 1.6 / 3), 10: (0, 0, 1)}[step]
    meta, task = varied_meta(learner), make_task()
    result = assert_meta_gradient(
        learner, meta, partial(objective, weights=weights), task, step=step
    )
    np.testing.assert_allclose(result.metrics["loss"], objective(meta, task), rtol=1e-10)


@pytest.mark.parametrize("query", ["batch", "recorded"])
def test_meta_gradient_with_per_step_parameters_and_statistics(query, x64):
    losses = {"loss_fn": make_loss("batch", record=True)}
    if query == "recorded":
        losses["query_loss_fn"] = make_loss("recorded")
    learner = maml_plus_plus(
        **losses, rate=RATE, steps=STEPS, anneal_steps=4, per_step=by_path("norm")
    )
    meta, task = varied_meta(learner, own=("norm",)), make_task()
    assert meta["params"]["norm"]["scale"].shape == (STEPS + 1, HIDDEN)
    assert meta["rates"]["norm"] == {"scale": None, "bias": None}
    in_numpy = partial(
        objective, weights=(1 / 4, 1 / 4, 1 / 2), own=("norm",), support="batch", query=query
    )
    state = {"mean": jnp.full(HIDDEN, 50.0)}
    result = assert_meta_gradient(learner, meta, in_numpy, task, state=state, step=1)
    assert np.abs(result.grads["params"]["norm"]["scale"]).min() > 0
    if query == "recorded":
        last = walk(meta, task.support, ("norm",), "batch")[-1][0]
        recorded = loss_and_gradient(last, task.support, "batch")[2]
        np.testing.assert_allclose(result.state["mean"], recorded, rtol=1e-9)


def test_adapt_takes_the_last_step_and_reports_every_support_loss(x64):
    learner = maml_plus_plus(make_loss(), rate=RATE, steps=STEPS, per_step=by_path("norm"))
    meta, task = varied_meta(learner, own=("norm",)), make_task()
    adapted = learner.adapt(to_jax(meta), {}, to_jax(task.support), None)
    points = walk(meta, task.support, own=("norm",))
    assert_trees_close(adapted.params, points[-1][0], rtol=1e-10)
    starts = [
        {name: meta["params"][name] for name in ("body", "head", "context")}
        | {"norm": jax.tree.map(lambda leaf: leaf[0], meta["params"]["norm"])},
        *(point for point, _ in points[:-1]),
    ]
    losses = [loss_and_gradient(point, task.support)[0] for point in starts]
    np.testing.assert_allclose(adapted.info.losses, losses, rtol=1e-10)


def test_steps_beyond_those_trained_go_by_the_last_ones_values(x64):
    options = {"rate": RATE, "per_step": by_path("norm")}
    meta = varied_meta(maml_plus_plus(make_loss(), steps=STEPS, **options), own=("norm",))
    support = make_task().support
    point = walk(meta, support, own=("norm",))[-1][0]
    last = jax.tree.map(lambda a: a[-1], meta["rates"])
    for _ in range(2):
        gradient = loss_and_gradient(point, support)[1]
        moved = {
            name: jax.tree.map(lambda p, a, g: p - a * g, point[name], last[name], gradient[name])
            for name in ("body", "head", "context")
        }
        point = {**point, **moved}
    longer = maml_plus_plus(make_loss(), steps=STEPS + 2, **options)
    adapted = longer.adapt(to_jax(meta), {}, to_jax(support), None)
    assert_trees_close(adapted.params, point, rtol=1e-10)
    assert adapted.info.losses.shape == (STEPS + 2,)

    unadapted = maml_plus_plus(make_loss(), steps=0, **options)
    start = unadapted.adapt(to_jax(meta), {}, to_jax(support), None).params
    np.testing.assert_array_equal(start["norm"]["scale"], meta["params"]["norm"]["scale"][0])
    np.testing.assert_array_equal(start["head"]["bias"], meta["params"]["head"]["bias"])


def test_first_order_steps_leave_out_the_second_order_terms(x64):
    learner = maml_plus_plus(
        make_loss(), rate=RATE, steps=STEPS, anneal_steps=4, first_order_steps=2
    )
    meta, task = varied_meta(learner), make_task()
    constant = [gradient for _, gradient in walk(meta, task.support)]
    in_numpy = partial(objective, weights=(1 / 4, 1 / 4, 1 / 2))
    assert_meta_gradient(learner, meta, partial(in_numpy, gradients=constant), task, step=1)
    in_numpy = partial(objective, weights=(1 / 6, 1 / 6, 2 / 3))
    assert_meta_gradient(learner, meta, in_numpy, task, step=2)

    compiled = jax.jit(learner.gradient)
    for step in (1, 2):
        traced = compiled(to_jax(meta), {}, to_jax(task), None, step).grads
        assert_trees_close(traced, meta_gradient(learner, meta, task, step=step).grads)


def test_with_equal_rates_it_is_maml(x64):
    plus_plus = maml_plus_plus(make_loss(), rate=RATE, steps=STEPS)
    meta, task = plus_plus.init(to_jax(make_params())), make_task()
    assert_trees_close(
        meta["rates"], jax.tree.map(lambda _: np.full(STEPS, RATE), make_params()), rtol=1e-12
    )
    plain = maml(make_loss(), rule=optax.sgd(RATE), steps=STEPS)
    expected = meta_gradient(plain, {"params": make_params()}, task)
    actual = meta_gradient(plus_plus, meta, task)
    assert_trees_close(actual.grads["params"], expected.grads["params"], rtol=1e-9)
    np.testing.assert_allclose(actual.metrics["loss"], expected.metrics["loss"], rtol=1e-12)


def test_remat_changes_nothing(x64):
    options = {"rate": RATE, "steps": STEPS, "anneal_steps": 4, "per_step": by_path("norm")}
    learner = maml_plus_plus(make_loss(), **options)
    meta, task = varied_meta(learner, own=("norm",)), make_task()
    expected = meta_gradient(learner, meta, task).grads
    actual = meta_gradient(maml_plus_plus(make_loss(), remat=True, **options), meta, task).grads
    assert_trees_close(actual, expected, rtol=1e-9)


def test_every_step_draws_its_own_noise_reproducibly():
    noises = []

    def loss_fn(params, state, batch, key):
        noise = jax.random.normal(key, params.shape)
        jax.debug.callback(lambda value: noises.append(np.asarray(value)), noise)
        return 0.5 * jnp.sum((params - batch - noise) ** 2), (state, {})

    learner = maml_plus_plus(loss_fn, rate=0.5, steps=2)
    meta, task = learner.init(jnp.zeros(3)), Task(jnp.ones(3), jnp.ones(3))

    def gradient():
        result = learner.gradient(meta, {}, task, jax.random.key(0), 0)
        jax.effects_barrier()
        return result.grads

    first = gradient()
    drawn = {tuple(noise) for noise in noises}
    assert len(drawn) == 3
    assert_trees_close(gradient(), first, rtol=0, atol=0)
    assert {tuple(noise) for noise in noises} == drawn


def test_wrong_options_are_refused():
    with pytest.raises(ValueError, match="steps must be at least 0; got -1"):
        maml_plus_plus(make_loss(), rate=RATE, steps=-1)
    learner = maml_plus_plus(make_loss(), rate=RATE, steps=1, per_step=by_path("batch_norm"))
    with pytest.raises(ValueError, match="no parameter lies below batch_norm"):
        learner.init(to_jax(make_params()))
    learner = maml_plus_plus(make_loss(), rate=RATE, steps=1, per_step={"norm": True})
    with pytest.raises(ValueError, match="mask must be a prefix of params"):
        learner.init(to_jax(make_params()))


def test_the_reference_is_plain_descent_where_every_step_has_the_same_rates():
    params, task = make_params(), make_task()
    meta = {"params": params, "rates": jax.tree.map(lambda _: np.full(STEPS, RATE), params)}
    points = [point for point, _ in walk(meta, task.support)]
    for actual, expected in zip(
        points, descend(params, task.support, [full_rates(params, RATE)] * STEPS)[1:], strict=True
    ):
        assert_trees_close(actual, expected, rtol=1e-12)
    gradient = finite_differences(lambda meta: objective(meta, task), meta)
    assert np.abs(gradient["rates"]["head"]["kernel"]).min() > 1e-4
