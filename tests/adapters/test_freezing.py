"""Patterns of paths, counts, and what freezing saves: gradients, optimiser state, weight decay."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxfer.adapters import (
    by_pattern,
    count_parameters,
    depth_of_groups,
    merge,
    parameter_table,
    partition,
    path_name,
    scale_by_depth,
    thaw_by_depth,
)


class Layer(NamedTuple):
    kernel: jax.Array
    bias: jax.Array


def network(width=8, layers=4):
    draw = np.random.default_rng(0)
    one = lambda: Layer(draw.normal(size=(width, width)).astype("f4"), np.zeros(width, "f4"))  # noqa: E731
    return {"blocks": [one() for _ in range(layers)], "head": {"kernel": np.ones((width, 2), "f4")}}


def loss(params, x):
    for layer in params["blocks"]:
        x = jnp.tanh(x @ layer.kernel + layer.bias)
    return jnp.sum(jnp.square(x @ params["head"]["kernel"]))


def test_a_pattern_is_of_the_whole_path():
    params = network()
    names = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    assert names[:2] == ["blocks/0/kernel", "blocks/0/bias"] and names[-1] == "head/kernel"

    def chosen(*patterns, **options):
        leaves = jax.tree.leaves(by_pattern(*patterns, **options)(params))
        return [name for name, leaf in zip(names, leaves, strict=True) if leaf]

    assert chosen("head/*") == ["head/kernel"]
    assert chosen("blocks/[13]/bias") == ["blocks/1/bias", "blocks/3/bias"]
    assert chosen("*/bias", "head/*") == [*(f"blocks/{i}/bias" for i in range(4)), "head/kernel"]
    assert chosen("blocks/*", invert=True) == ["head/kernel"]
    with pytest.raises(ValueError, match="pattern 'kernel' matches no parameter; there are blocks"):
        chosen("kernel")
    with pytest.raises(ValueError, match="at least one pattern"):
        by_pattern()


def test_the_table_counts_every_parameter_once():
    params = network()
    assert count_parameters(params) == 4 * (64 + 8) + 16
    lines = parameter_table(params, by_pattern("head/*", "*/bias"), depth=1).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["blocks", "32", "256"],
        ["head", "16", "0"],
        ["all", "48", "256"],
    ]
    with pytest.raises(ValueError, match="depth must be at least 1"):
        parameter_table(params, depth=0)


def test_of_the_frozen_half_nothing_is_computed_kept_or_decayed():
    params, x = network(width=64), np.ones((16, 64), np.float32)
    mask = by_pattern("blocks/3/*", "head/*")
    trained, frozen = partition(params, mask)

    def operations(f, *arguments):
        compiled = jax.jit(f).lower(*arguments).compile()
        return compiled.cost_analysis()["flops"]

    forward = operations(loss, params, x)
    whole = operations(jax.grad(loss), params, x)
    half = operations(jax.grad(lambda t, f, x: loss(merge(t, f), x)), trained, frozen, x)
    # Forward, and backward through one block of four where all four take twice the forward.
    assert whole > 2.5 * forward
    assert half < 1.8 * forward

    optimiser = optax.adamw(0.1, weight_decay=0.1)
    state = optimiser.init(trained)
    assert count_parameters(state[0].mu) == count_parameters(trained)
    gradient = jax.grad(lambda t: loss(merge(t, frozen), x))(trained)
    updates, _ = optimiser.update(gradient, state, trained)
    moved = merge(optax.apply_updates(trained, updates), frozen)
    for before, after, chosen in zip(
        *map(jax.tree.leaves, (params, moved, mask(params))), strict=True
    ):
        assert np.array_equal(before, after) != chosen


def test_rates_fall_with_depth_and_groups_thaw_from_the_head():
    params = network(layers=2)
    depths = depth_of_groups(["blocks/0/*", "blocks/1/*", "head/*"])(params)
    ones = jax.tree.map(jnp.ones_like, params)
    scaled, _ = scale_by_depth(depths, decay=0.5).update(ones, optax.EmptyState())
    assert [leaf.max().item() for leaf in jax.tree.leaves(scaled)] == [0.25, 0.25, 0.5, 0.5, 1]
    thaw = thaw_by_depth(depths, every=3)
    state, first_moved = thaw.init(params), {}
    for step in range(8):
        updates, state = thaw.update(ones, state)
        for path, leaf in jax.tree_util.tree_leaves_with_path(updates):
            if leaf.any():
                first_moved.setdefault(path_name(path), step)
    assert first_moved == {
        "head/kernel": 0,
        **{f"blocks/1/{name}": 3 for name in ("kernel", "bias")},
        **{f"blocks/0/{name}": 6 for name in ("kernel", "bias")},
    }
    with pytest.raises(ValueError, match="no group matches the parameter head/kernel"):
        depth_of_groups(["blocks/*"])(params)
    with pytest.raises(ValueError, match="decay must be a finite number"):
        scale_by_depth(depths, decay=0.0)
