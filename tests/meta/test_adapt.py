"""The inner loop: its value, its three kinds of gradient, its two ways of repeating, any pytree."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxfer.adapters import by_path
from jaxfer.meta import adapt

from .references import (
    assert_trees_close,
    finite_differences,
    loss_and_gradient,
    make_loss,
    make_params,
    make_task,
    to_jax,
)


def quadratic(params, state, batch, key):
    """0.5 |p - batch|^2 over any pytree of parameters."""
    squares = jax.tree.map(lambda p: jnp.sum((p - batch) ** 2), params)
    return 0.5 * sum(jax.tree.leaves(squares)), (state, {})


@pytest.mark.parametrize("steps", [0, 1, 5, 30])
def test_quadratic_closed_form(steps, x64):
    adapted = adapt(quadratic, jnp.array([0.0, 4.0]), {}, 1.0, rule=optax.sgd(0.25), steps=steps)
    distances = 0.75 ** np.arange(steps + 1)
    np.testing.assert_allclose(
        adapted.params, [1 - distances[-1], 1 + 3 * distances[-1]], rtol=1e-12
    )
    np.testing.assert_allclose(adapted.info.losses, 5 * distances[:-1] ** 2, rtol=1e-12)
    residual = np.sqrt(10) * distances[-2] if steps else 0.0
    np.testing.assert_allclose(adapted.info.residual, residual, rtol=1e-12)


class Layer(NamedTuple):
    kernel: object
    bias: object


@pytest.mark.parametrize(
    "params",
    [
        np.zeros(2),
        (np.zeros(2), np.ones((2, 1))),
        Layer(np.zeros(2), None),
        {"layers": [Layer(np.zeros(2), np.ones(2)), Layer(np.full(2, 3.0), None)], "scale": 2.0},
    ],
    ids=["array", "tuple", "namedtuple", "nested"],
)
@pytest.mark.parametrize("steps", [2, pytest.param(12, marks=pytest.mark.thorough)])
def test_parameters_are_any_pytree(params, steps):
    params = jax.tree.map(jnp.asarray, params)

    def end(params):
        return adapt(quadratic, params, {}, 1.0, rule=optax.adam(0.1), steps=steps).params

    adapted = end(params)
    assert jax.tree.structure(adapted) == jax.tree.structure(params)
    half = adapt(quadratic, params, {}, 1.0, rule=optax.sgd(0.5), steps=1).params
    assert_trees_close(half, jax.tree.map(lambda p: (p + 1) / 2, params))
    grads = jax.grad(lambda params: optax.tree.sum(end(params)))(params)
    assert jax.tree.structure(grads) == jax.tree.structure(params)


def test_numbers_become_arrays_and_types_are_kept():
    adapted = adapt(quadratic, {"a": 0.0, "b": 2.0}, {}, 1.0, rule=optax.sgd(0.5), steps=1).params
    assert adapted == {"a": 0.5, "b": 1.5}
    half = {"w": jnp.zeros(2, jnp.bfloat16)}
    for steps in (1, 11):
        adapted = adapt(quadratic, half, {}, jnp.bfloat16(1), rule=optax.sgd(0.5), steps=steps)
        assert adapted.params["w"].dtype == jnp.bfloat16


def test_frozen_parameters_need_no_gradient():
    def loss_fn(params, state, batch, key):
        index = params["frozen"]["index"]
        return 0.5 * (params["w"][index] - batch) ** 2, (state, {})

    params = {"w": jnp.zeros(3), "frozen": {"index": jnp.array(1)}}
    adapted = adapt(loss_fn, params, {}, 1.0, rule=optax.sgd(0.5), steps=2, mask=by_path("w"))
    np.testing.assert_array_equal(adapted.params["w"], [0.0, 0.75, 0.0])
    assert adapted.params["frozen"]["index"] == 1


def noisy_loss(params, state, batch, key):
    """Depends on everything: parameters, state, batch and key, and changes the state."""
    noise = jax.random.normal(key, params["w"].shape)
    hidden = jnp.tanh(params["w"] * batch + params["b"] + 0.1 * noise + state["mean"])
    state = {"mean": 0.5 * state["mean"] + 0.5 * hidden.mean(), "count": state["count"] + 1}
    return jnp.mean((hidden - 0.3) ** 2), (state, {})


NOISY_PARAMS = {"w": np.array([0.5, -1.0, 2.0]), "b": np.array(0.2)}
NOISY_STATE = {"mean": np.array(0.3), "count": np.array(0)}
BATCH = np.array([1.0, 2.0, -0.5])


def loop(params, *, rule, steps, key):
    """The definition of adapt, as a plain loop."""
    state, optimiser, losses = to_jax(NOISY_STATE), rule.init(params), []
    for k in range(steps):
        (loss, (state, _)), grads = jax.value_and_grad(noisy_loss, has_aux=True)(
            params, state, BATCH, jax.random.fold_in(key, k)
        )
        updates, optimiser = rule.update(grads, optimiser, params)
        params = optax.apply_updates(params, updates)
        losses.append(loss)
    return params, state, jnp.stack(losses)


@pytest.mark.parametrize("remat", [False, True], ids=["", "remat"])
@pytest.mark.parametrize("steps", [2, 11], ids=["written_out", "scan"])
def test_both_ways_of_repeating_are_the_plain_loop(steps, remat, x64):
    rule, key = optax.adam(0.1), jax.random.key(3)

    def adapted(params):
        result = adapt(
            noisy_loss, params, to_jax(NOISY_STATE), BATCH, key, rule=rule, steps=steps, remat=remat
        )
        return result.params, result.state, result.info.losses

    def value_and_derivative(function):
        """Everything that comes out, and the derivative of its weighted sum."""

        def scalar(params):
            result = function(params)
            leaves = [leaf for leaf in jax.tree.leaves(result) if leaf.dtype == float]
            return sum(jnp.vdot(jnp.arange(1.0, 1.0 + leaf.size), leaf) for leaf in leaves), result

        return jax.value_and_grad(scalar, has_aux=True)(to_jax(NOISY_PARAMS))

    actual = value_and_derivative(adapted)
    expected = value_and_derivative(partial(loop, rule=rule, steps=steps, key=key))
    assert_trees_close(actual, expected, rtol=1e-8)
    (_, (_, state, _)), _ = actual
    assert state["count"] == steps


@pytest.mark.parametrize("steps", [pytest.param(1, marks=pytest.mark.thorough), 3])
def test_orders_zero_and_one_are_stop_and_through(steps, x64):
    params, task = to_jax(make_params()), to_jax(make_task())

    @jax.jit
    def meta_gradient(order):
        def query_loss(params):
            adapted = adapt(
                make_loss(), params, {}, task.support, rule=optax.sgd(0.2), steps=steps, order=order
            )
            return make_loss()(adapted.params, {}, task.query, None)[0]

        return jax.grad(query_loss)(params)

    def of_kind(gradient):
        def query_loss(params):
            adapted = adapt(
                make_loss(), params, {}, task.support,
                rule=optax.sgd(0.2), steps=steps, gradient=gradient,
            )  # fmt: skip
            return make_loss()(adapted.params, {}, task.query, None)[0]

        return jax.grad(query_loss)(params)

    stop, through = of_kind("stop"), of_kind("through")
    assert_trees_close(meta_gradient(0.0), stop, rtol=1e-9)
    assert_trees_close(meta_gradient(1.0), through, rtol=1e-9)
    assert np.abs(stop["head"]["kernel"] - through["head"]["kernel"]).max() > 1e-2
    if steps == 1:  # one step's second-order term enters once
        mixed = jax.tree.map(lambda a, b: 0.7 * a + 0.3 * b, stop, through)
        assert_trees_close(meta_gradient(0.3), mixed, rtol=1e-9)


def test_the_order_changes_no_value(x64):
    params, task = to_jax(make_params()), to_jax(make_task())
    results = [
        adapt(make_loss(), params, {}, task.support, rule=optax.adam(0.1), steps=2, **options)
        for options in (
            {},
            {"gradient": "stop"},
            {"order": 0.5},
            {"gradient": "through", "remat": True},
        )
    ]
    for result in results[1:]:
        assert_trees_close(result, results[0], rtol=1e-12)


def test_a_learned_rate_of_any_optax_rule_gets_its_gradient(x64):
    params, task = make_params(), make_task()

    def objective(rate):
        adapted = adapt(
            make_loss(), params, {}, task.support, rule=optax.sgd(rate, momentum=0.9), steps=3
        )
        return make_loss()(adapted.params, {}, task.query, None)[0]

    def reference(rate):
        phi, velocity = params, jax.tree.map(np.zeros_like, params)
        for _ in range(3):
            gradient = loss_and_gradient(phi, task.support)[1]
            velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, gradient)
            phi = jax.tree.map(lambda p, v: p - rate * v, phi, velocity)
        return loss_and_gradient(phi, task.query)[0]

    value, slope = jax.value_and_grad(objective)(0.1)
    np.testing.assert_allclose(value, reference(0.1), rtol=1e-10)
    np.testing.assert_allclose(slope, finite_differences(reference, np.array(0.1)), rtol=1e-6)


def test_the_pull_towards_the_start_is_differentiated_through(x64):
    params, task, strength = make_params(), make_task(), 0.7

    def reference(params):
        phi = params
        for _ in range(3):
            gradient = loss_and_gradient(phi, task.support)[1]
            phi = jax.tree.map(
                lambda p, g, start: p - 0.2 * (g + strength * (p - start)), phi, gradient, params
            )
        return loss_and_gradient(phi, task.query)[0]

    def objective(params):
        adapted = adapt(
            make_loss(), params, {}, task.support, rule=optax.sgd(0.2), steps=3, proximal=strength
        )
        return make_loss()(adapted.params, {}, task.query, None)[0]

    value, gradient = jax.value_and_grad(objective)(to_jax(params))
    np.testing.assert_allclose(value, reference(params), rtol=1e-10)
    assert_trees_close(gradient, finite_differences(reference, params))


@pytest.mark.parametrize(("few", "many"), [(2, 8), (12, 24)], ids=["few", "many"])
def test_with_remat_memory_grows_less_with_the_steps(few, many):
    def loss_fn(params, state, batch, key):
        hidden = jnp.tanh(batch @ params["first"])
        return jnp.mean(jnp.tanh(hidden @ params["second"]) ** 2), (state, {})

    width, examples = 16, 4096
    params = {name: jnp.ones((width, width)) / width for name in ("first", "second")}
    batch = jnp.ones((examples, width))

    def temporary_bytes(steps, remat):
        def query_loss(params, batch):
            adapted = adapt(
                loss_fn, params, {}, batch, rule=optax.sgd(0.1), steps=steps, remat=remat
            )
            return loss_fn(adapted.params, {}, batch, None)[0]

        compiled = jax.jit(jax.grad(query_loss)).lower(params, batch).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    kept = temporary_bytes(many, False) - temporary_bytes(few, False)
    recomputed = temporary_bytes(many, True) - temporary_bytes(few, True)
    assert kept > 2 * (many - few) * batch.nbytes  # both layers' activations, at least
    assert recomputed < 0.15 * kept


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": -1}, "steps must be at least 0; got -1"),
        (
            {"gradient": "forward"},
            "gradient must be 'through', 'stop' or 'implicit'; got 'forward'",
        ),
        ({"proximal": -0.5}, "proximal must be .* at least 0; got -0.5"),
        ({"gradient": "implicit"}, "proximal must be positive with gradient='implicit'"),
        ({"mask": {"head": True}}, "mask must be a prefix of params"),
        ({"mask": lambda params: False}, "mask chooses no parameter"),
    ],
)
def test_wrong_options_are_named(options, message):
    arguments = {"rule": optax.sgd(0.1), "steps": 1, **options}
    with pytest.raises(ValueError, match=message):
        adapt(make_loss(), make_params(), {}, make_task().support, **arguments)
