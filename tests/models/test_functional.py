"""NNX and Linen modules as pure functions, under every transformation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from jaxfer.models import BatchNorm, from_linen, from_nnx


class Plain(nnx.Module):
    """Submodules in a list, batch normalisation, two dropouts."""

    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(2, 4, rngs=rngs), BatchNorm(4, momentum=0.5)])
        self.dropouts = nnx.List([nnx.Dropout(0.5, rngs=rngs) for _ in range(2)])
        self.head = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        for dropout in self.dropouts:
            x = dropout(x)
        return self.head(x)


class LinenPlain(linen.Module):
    @linen.compact
    def __call__(self, x, training):
        x = linen.Dense(4)(x)
        x = linen.BatchNorm(use_running_average=not training, momentum=0.5)(x)
        x = linen.Dropout(0.5, deterministic=not training)(x)
        return linen.Dense(3, name="head")(x)


X = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
NNX = from_nnx(Plain)
LINEN = from_linen(LinenPlain(), X, train_argument="training")
KEY = jax.random.key(5)

both = pytest.mark.parametrize("network", [NNX, LINEN], ids=["nnx", "linen"])


def leaf_types(tree):
    """The types of all containers of a tree."""
    if not isinstance(tree, dict):
        return {type(tree)}
    return {type(tree)}.union(*map(leaf_types, tree.values()))


@both
def test_parameters_and_state_are_plain_nested_dicts(network):
    params, state = network.init(jax.random.key(0))
    _, new_state = network.apply(params, state, X, train=True, key=KEY)
    array = type(jnp.zeros(0))
    for tree in (params, state, new_state):
        assert leaf_types(tree) == {dict, array}


def test_structure_of_an_nnx_module_is_that_of_its_attributes():
    params, state = NNX.init(jax.random.key(0))
    assert set(params) == {"layers", "head"}  # dropouts have no parameters
    assert set(params["layers"]) == {0, 1}
    assert params["layers"][0]["kernel"].shape == (2, 4)
    assert set(params["layers"][1]) == {"scale", "bias"}
    assert set(state) == {"layers"}
    assert set(state["layers"][1]) == {"mean", "variance"}


def test_structure_of_a_linen_module_is_that_of_its_collections():
    params, state = LINEN.init(jax.random.key(0))
    assert set(params) == {"Dense_0", "BatchNorm_0", "head"}
    assert set(state) == {"batch_stats"}
    assert set(state["batch_stats"]["BatchNorm_0"]) == {"mean", "var"}


@both
def test_init_is_a_pure_function_of_its_key(network):
    first, again, other = (network.init(jax.random.key(seed))[0] for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert np.all(first["head"]["kernel"] != other["head"]["kernel"])
    old_style = network.init(jax.random.PRNGKey(0))[0]
    np.testing.assert_array_equal(old_style["head"]["kernel"], first["head"]["kernel"])
    runs = jax.vmap(network.init)(jax.random.split(jax.random.key(0), 3))[0]
    assert runs["head"]["kernel"].shape == (3, 4, 3)


@both
def test_training_records_and_evaluation_uses_the_record(network):
    params, state = network.init(jax.random.key(0))
    before = jax.tree.map(np.array, state)
    _, recorded = network.apply(params, state, X, train=True, key=KEY)
    jax.tree.map(np.testing.assert_array_equal, state, before)  # the argument is left alone
    assert jax.tree.structure(recorded) == jax.tree.structure(state)
    assert all(
        np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (recorded, state)), strict=True)
    )

    first, unchanged = network.apply(params, recorded, X, train=False)
    jax.tree.map(np.testing.assert_array_equal, unchanged, recorded)
    # By the record, one example's answer is its own.
    alone, _ = network.apply(params, recorded, X[:1], train=False)
    np.testing.assert_allclose(alone[0], first[0], rtol=1e-5, atol=1e-6)
    by_start, _ = network.apply(params, state, X, train=False)
    assert np.abs(by_start - first).max() > 1e-3


def test_values_of_an_nnx_module_are_the_module_s_own():
    module = Plain(nnx.Rngs(jax.random.key(0)))
    params, state = NNX.init(jax.random.key(0))
    module.eval()
    output, _ = NNX.apply(params, state, X, train=False)
    np.testing.assert_allclose(output, module(X), rtol=1e-6)


def test_values_of_a_linen_module_are_the_module_s_own():
    params, state = LINEN.init(jax.random.key(0))
    output, recorded = LINEN.apply(params, state, X, train=True, key=KEY)
    expected, updated = LinenPlain().apply(
        {"params": params, **state}, X, True, rngs={"dropout": KEY}, mutable=["batch_stats"]
    )
    np.testing.assert_array_equal(output, expected)
    jax.tree.map(np.testing.assert_array_equal, recorded, updated)


@both
def test_dropout_is_a_pure_function_of_the_key(network):
    params, state = network.init(jax.random.key(0))

    def output(seed, train=True):
        return np.asarray(network.apply(params, state, X, train=train, key=jax.random.key(seed))[0])

    np.testing.assert_array_equal(output(1), output(1))
    assert np.abs(output(1) - output(2)).max() > 1e-2
    np.testing.assert_array_equal(output(1, train=False), output(2, train=False))
    np.testing.assert_array_equal(
        network.apply(params, state, X, train=False)[0], output(1, train=False)
    )


def test_every_dropout_draws_its_own_mask_and_drops_its_share():
    class Masks(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Dropout(0.25, rngs=rngs)
            self.second = nnx.Dropout(0.25, rngs=rngs)

        def __call__(self, x):
            return self.first(x), self.second(x)

    network = from_nnx(Masks)
    assert network.init(jax.random.key(0)) == ({}, {})
    first, second = network.apply({}, {}, jnp.ones(4000), train=True, key=KEY)[0]
    for mask in (first, second):
        assert set(np.unique(mask)) == {0.0, np.float32(1 / 0.75)}
        np.testing.assert_allclose(np.mean(mask == 0), 0.25, atol=0.04)
    np.testing.assert_allclose(np.mean((first == 0) & (second == 0)), 0.25**2, atol=0.02)


def test_a_builder_may_name_its_own_streams():
    network = from_nnx(lambda rngs: Plain(nnx.Rngs(params=rngs.params(), dropout=rngs.dropout())))
    params, state = network.init(jax.random.key(0))
    outputs = [
        network.apply(params, state, X, train=True, key=jax.random.key(s))[0] for s in (0, 1)
    ]
    assert np.abs(outputs[0] - outputs[1]).max() > 1e-2


def test_a_network_without_state_or_randomness():
    for network in (
        from_nnx(lambda rngs: nnx.Linear(2, 3, rngs=rngs)),
        from_linen(linen.Dense(3), X),
    ):
        params, state = network.init(jax.random.key(0))
        assert state == {}
        for key in (None, KEY):
            output, state = network.apply(params, {}, X, train=True, key=key)
            np.testing.assert_allclose(
                output, X @ params["kernel"] + params["bias"], rtol=1e-4, atol=1e-5
            )
            assert state == {}


def test_inputs_and_outputs_are_any_pytree():
    class Masked(nnx.Module):
        def __init__(self, rngs):
            self.linear = nnx.Linear(2, 3, rngs=rngs)

        def __call__(self, batch):
            y = self.linear(batch["tokens"]) * batch["mask"][:, None]
            return {"y": y, "sum": (y.sum(),)}

    network = from_nnx(Masked)
    params, _ = network.init(jax.random.key(0))
    output, _ = network.apply(params, {}, {"tokens": X, "mask": np.arange(6) < 2}, train=True)
    assert np.all(output["y"][2:] == 0)
    np.testing.assert_allclose(output["sum"][0], output["y"].sum(), rtol=1e-5)


def test_other_variables_than_parameters_are_state():
    class Count(nnx.Variable):
        pass

    class Counter(nnx.Module):
        def __init__(self, rngs):
            self.weight = nnx.Param(rngs.params.normal((2,)))
            self.calls = Count(jnp.zeros((), jnp.int32))

        def __call__(self, x):
            self.calls[...] += 1
            return x * self.weight[...]

    network = from_nnx(Counter)
    params, state = network.init(jax.random.key(0))
    assert (set(params), set(state)) == ({"weight"}, {"calls"})
    for _ in range(3):
        _, state = network.apply(params, state, X, train=True)
    assert state["calls"] == 3


@both
def test_compiled_scanned_and_vmapped_it_stays_itself(network):
    params, state = network.init(jax.random.key(0))
    batches, keys = jnp.stack([X, X + 1, 2 * X]), jax.random.split(KEY, 3)

    def step(state, batch_and_key):
        batch, key = batch_and_key
        output, state = network.apply(params, state, batch, train=True, key=key)
        return state, output

    expected, now = [], state
    for batch_and_key in zip(batches, keys, strict=True):
        now, output = step(now, batch_and_key)
        expected.append(output)
    last, outputs = jax.jit(lambda state: jax.lax.scan(step, state, (batches, keys)))(state)
    np.testing.assert_allclose(outputs, jnp.stack(expected), rtol=1e-4, atol=1e-5)
    for a, b in zip(jax.tree.leaves(last), jax.tree.leaves(now), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)

    # Every example of the vmapped axis has its own parameters, state and key.
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), (params, state))
    both_runs = jax.vmap(lambda p, s, k: network.apply(p, s, X, train=True, key=k)[0])
    for i, output in enumerate(both_runs(*stacked, keys[:2])):
        alone = jax.tree.map(lambda leaf, i=i: leaf[i], stacked)
        own, _ = network.apply(*alone, X, train=True, key=keys[i])
        np.testing.assert_allclose(output, own, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@both
def test_statistics_of_an_enclosing_gradient_pass_through_an_inner_one(network):
    """Adapting within a meta-gradient: parameters and state are both tracers of the outer level."""
    params, state = network.init(jax.random.key(0))

    def loss(params, state, x):
        output, state = network.apply(params, state, x, train=True, key=KEY)
        return jnp.mean(output**2), state

    def meta_loss(params):
        _, state_1 = loss(params, state, X)
        grads, state_2 = jax.grad(loss, has_aux=True)(params, state_1, X)
        adapted = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
        output, _ = network.apply(adapted, state_2, 2 * X, train=False)
        return jnp.mean(output**2)

    gradient = jax.grad(meta_loss)(params)
    direction = jax.tree.map(jnp.ones_like, params)
    slope = jax.jvp(meta_loss, (params,), (direction,))[1]
    total = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(gradient))
    assert np.isfinite(total)
    np.testing.assert_allclose(total, slope, rtol=1e-4)


def test_parameters_of_another_module_are_refused():
    params, state = NNX.init(jax.random.key(0))
    with pytest.raises(ValueError, match="tail"):
        NNX.apply({**params, "tail": params["head"]}, state, X, train=True)
