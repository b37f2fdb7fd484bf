"""Rules with learned rates: hand-computed tables, any shape of rate, and their use by adapt."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxfer.meta import adapt, learned_rates, learned_step_rates

from .references import (
    assert_trees_close,
    descend,
    finite_differences,
    loss_and_gradient,
    make_loss,
    make_params,
    make_task,
    to_jax,
)


def test_learned_rates_are_scalars_or_of_the_shape_of_the_parameter():
    rates = {"a": jnp.array(0.5), "b": jnp.array([1.0, 0.0, -2.0])}
    grads = {"a": jnp.array([2.0, 4.0]), "b": jnp.array([3.0, 5.0, 7.0])}
    rule = learned_rates(rates)
    updates, state = rule.update(grads, rule.init(grads))
    np.testing.assert_array_equal(updates["a"], [-1.0, -2.0])
    np.testing.assert_array_equal(updates["b"], [-3.0, 0.0, 14.0])
    assert jax.tree.leaves(state) == []


def test_learned_rates_chain_with_other_transformations():
    rule = optax.chain(optax.clip(1.0), learned_rates({"w": 0.5}))
    updates, _ = rule.update({"w": jnp.array([9.0, -0.5])}, rule.init({"w": jnp.zeros(2)}))
    np.testing.assert_array_equal(updates["w"], [-0.5, 0.25])


def test_learned_step_rates_count_the_steps_and_keep_the_last():
    rule = learned_step_rates({"w": jnp.array([1.0, 0.5, 0.25]), "b": jnp.array([0.0, 2.0, 3.0])})
    grads = {"w": jnp.array([4.0, 8.0]), "b": jnp.array(1.0)}
    state, table = rule.init(grads), []
    for _ in range(5):
        updates, state = rule.update(grads, state)
        table.append([*updates["w"].tolist(), updates["b"].item()])
    assert table == [
        [-4.0, -8.0, 0.0],
        [-2.0, -4.0, -2.0],
        [-1.0, -2.0, -3.0],
        [-1.0, -2.0, -3.0],
        [-1.0, -2.0, -3.0],
    ]


@pytest.mark.slow
@pytest.mark.parametrize("steps", [2, pytest.param(12, marks=pytest.mark.thorough)])
def test_learned_step_rates_get_their_gradient_from_adapt(steps, x64):
    """Written out and as a scan, where the step is traced."""
    params, task = make_params(), make_task()
    rates = jax.tree.map(lambda leaf: np.linspace(0.05, 0.02, steps), params)

    def reference(rates):
        per_step = [
            jax.tree.map(lambda a, p, k=k: np.full(p.shape, a[k]), rates, params)
            for k in range(steps)
        ]
        adapted = descend(params, task.support, per_step)[-1]
        return loss_and_gradient(adapted, task.query)[0]

    def objective(rates):
        adapted = adapt(
            make_loss(), params, {}, task.support, rule=learned_step_rates(rates), steps=steps
        )
        return make_loss()(adapted.params, {}, task.query, None)[0]

    value, gradient = jax.value_and_grad(objective)(to_jax(rates))
    np.testing.assert_allclose(value, reference(rates), rtol=1e-10)
    assert_trees_close(gradient, finite_differences(reference, rates))


@pytest.mark.parametrize(
    ("rule", "rate"), [(learned_rates, 0.1), (learned_step_rates, np.array([0.1, 0.2]))]
)
def test_rates_of_another_structure_are_refused(rule, rate):
    rule = rule({"w": rate})
    with pytest.raises(ValueError):
        rule.update({"v": jnp.ones(2)}, rule.init(None))
    with pytest.raises(ValueError):
        rule.update({"w": jnp.ones(2), "v": jnp.ones(2)}, rule.init(None))
