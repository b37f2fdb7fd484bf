"""Runs start as they would alone, and remember the parameters that scored highest."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxfer.training.state import init_train_state, remember_best

OPTIMISER = optax.adam(0.1)


def init_one(key):
    # A decomposition: what is most likely to round differently when batched.
    return jax.nn.initializers.orthogonal()(key, (8, 8)), {"mean": jnp.zeros(2)}


def test_run_i_of_many_is_the_run_of_its_seed_bit_for_bit():
    many = init_train_state(init_one, OPTIMISER, seeds=[5, 6, 7])
    for run, seed in enumerate([5, 6, 7]):
        alone = init_train_state(init_one, OPTIMISER, seeds=[seed])
        for mine, theirs in zip(jax.tree.leaves(many), jax.tree.leaves(alone), strict=True):
            np.testing.assert_array_equal(mine[run], theirs[0])
    assert not np.array_equal(many.params[0], many.params[1])
    assert not np.array_equal(many.key[0], many.key[1])


def test_a_new_run():
    state = init_train_state(init_one, OPTIMISER, seeds=[0, 1])
    assert state.step.tolist() == [0, 0]
    assert state.alive.tolist() == [True, True]
    assert state.died.tolist() == [-1, -1]
    assert state.best.step.tolist() == [-1, -1]
    assert np.isneginf(state.best.score).all()
    assert isinstance(state.opt_state[0], optax.ScaleByAdamState)
    assert state.opt_state[0].mu.shape == (2, 8, 8)


def test_no_seeds():
    with pytest.raises(ValueError, match="seeds is empty"):
        init_train_state(init_one, OPTIMISER, seeds=[])


def test_the_best_is_kept_for_each_run():
    state = init_train_state(init_one, OPTIMISER, seeds=[0, 1, 2])
    state = remember_best(state._replace(step=jnp.full(3, 10)), jnp.array([0.5, 0.5, jnp.nan]))
    start = state.params
    state = state._replace(params=state.params + 1, step=jnp.full(3, 20))
    state = remember_best(state, jnp.array([0.4, 0.6, 0.1]))
    assert state.best.step.tolist() == [10, 20, 20]
    np.testing.assert_allclose(state.best.score, [0.5, 0.6, 0.1])
    np.testing.assert_array_equal(state.best.params[0], start[0])
    np.testing.assert_array_equal(state.best.params[1], start[1] + 1)


def test_an_equal_score_does_not_replace_an_earlier_one():
    state = init_train_state(init_one, OPTIMISER, seeds=[0])
    state = remember_best(state._replace(step=jnp.array([10])), jnp.array([0.5]))
    state = remember_best(state._replace(step=jnp.array([20])), jnp.array([0.5]))
    assert state.best.step.tolist() == [10]


def test_a_dead_run_remembers_nothing_new():
    state = init_train_state(init_one, OPTIMISER, seeds=[0])
    state = remember_best(state._replace(alive=jnp.array([False])), jnp.array([0.9]))
    assert state.best.step.tolist() == [-1]
