"""A walk by factors is the walk that writes its weights each time, and so is the gradient of it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxfer import meta
from jaxfer.models import Mlp, from_nnx
from jaxfer.typing import LabelledBatch

from .references import assert_trees_close, finite_differences, to_jax

RATE = 0.3
SIZES = {"one": (3, 4), "two": (3, 5, 4), "three": (3, 6, 5, 4)}
each_depth = pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)


def make_params(sizes, seed=0):
    draw = np.random.default_rng(seed).normal
    names = [*(f"layer{i}" for i in range(len(sizes) - 2)), "head"]
    pairs = zip(names, sizes[:-1], sizes[1:], strict=True)
    return {name: {"kernel": draw(size=(a, b)), "bias": draw(size=b)} for name, a, b in pairs}


def make_trajectory(sizes, examples=7, seed=1):
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(examples, sizes[0]))
    return LabelledBatch(x, draw.integers(0, sizes[-1], examples).astype(np.int32))


def forward(params, x):
    """Inputs of all layers, and the logits."""
    inputs = [x]
    for name in sorted(set(params) - {"head"}):
        inputs.append(np.maximum(inputs[-1] @ params[name]["kernel"] + params[name]["bias"], 0))
    return inputs, inputs[-1] @ params["head"]["kernel"] + params["head"]["bias"]


def cross_entropy(logits, label):
    shifted = logits - logits.max()
    return np.log(np.exp(shifted).sum()) - shifted[label]


def walk_by_numpy(params, trajectory, rate):
    """Each example's own step, all weights written, by the chain rule in a loop."""
    params = jax.tree.map(np.array, params)
    names, losses = [*sorted(set(params) - {"head"}), "head"], []
    for x, y in zip(trajectory.x, trajectory.y, strict=True):
        inputs, logits = forward(params, x)
        losses.append(cross_entropy(logits, y))
        exponentials = np.exp(logits - logits.max())
        error = exponentials / exponentials.sum() - np.eye(len(logits))[y]
        for name, h in zip(reversed(names), reversed(inputs), strict=True):
            given = params[name]["kernel"] @ error
            params[name]["kernel"] = params[name]["kernel"] - rate * np.outer(h, error)
            params[name]["bias"] = params[name]["bias"] - rate * error
            error = given * (h > 0)
    return params, losses


@each_depth
@pytest.mark.parametrize("block", [1, 3, 7, 32])
def test_a_walk_is_the_plain_loop(sizes, block, x64):
    params, trajectory = make_params(sizes), make_trajectory(sizes)
    found = meta.learn_online_mlp(
        to_jax(params), {"kept": 1}, to_jax(trajectory), rate=RATE, block=block
    )
    expected, losses = walk_by_numpy(params, trajectory, RATE)
    assert_trees_close(found.params, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found.info.losses, losses, rtol=1e-10)
    assert found.state == {"kept": 1}


@each_depth
@pytest.mark.parametrize("block", [4, 32])
def test_its_gradient_is_that_of_finite_differences(sizes, block, x64):
    trajectory, asked = make_trajectory(sizes), make_trajectory(sizes, seed=2)
    start = {"params": make_params(sizes), "x": trajectory.x, "rate": np.array(RATE)}

    def by_jax(start):
        walked = LabelledBatch(start["x"], jnp.asarray(trajectory.y))
        found = meta.learn_online_mlp(start["params"], {}, walked, rate=start["rate"], block=block)
        x = jnp.asarray(asked.x)
        for name in sorted(set(found.params) - {"head"}):
            x = nnx.relu(x @ found.params[name]["kernel"] + found.params[name]["bias"])
        logits = x @ found.params["head"]["kernel"] + found.params["head"]["bias"]
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.asarray(asked.y))
        return losses.mean() + 0.5 * found.info.losses.sum()

    def by_numpy(start):
        walked = LabelledBatch(start["x"], trajectory.y)
        learned, losses = walk_by_numpy(start["params"], walked, start["rate"])
        pairs = zip(asked.x, asked.y, strict=True)
        return np.mean([cross_entropy(forward(learned, x)[1], y) for x, y in pairs]) + 0.5 * sum(
            losses
        )

    found = jax.jit(jax.grad(by_jax))(to_jax(start))
    assert_trees_close(found, finite_differences(by_numpy, start), rtol=1e-6, atol=1e-8)


def test_it_takes_any_loss_and_differentiates_what_that_is_given(x64):
    sizes = SIZES["two"]
    params, x = to_jax(make_params(sizes)), jnp.asarray(make_trajectory(sizes).x)
    y = jnp.asarray(np.random.default_rng(3).normal(size=(len(x), sizes[-1])))
    network = from_nnx(lambda rngs: Mlp(sizes, rngs=rngs))

    def loss_fn(params, state, batch, key):
        outputs, _ = network.apply(params, {}, batch.x, train=False)
        return jnp.sum((outputs - batch.y) ** 2), (state, {})

    def squared(outputs, y):
        return jnp.sum((outputs - y) ** 2)

    def by_factors(params, y):
        walked = LabelledBatch(x, y)
        return meta.learn_online_mlp(params, {}, walked, rate=0.01, loss=squared).params

    def by_scan(params, y):
        return meta.learn_online(
            loss_fn, params, {}, LabelledBatch(x, y), rule=optax.sgd(0.01)
        ).params

    def total(walk):
        return lambda *args: sum(jnp.sum(leaf**3) for leaf in jax.tree.leaves(walk(*args)))

    found, expected = (jax.grad(total(walk), (0, 1))(params, y) for walk in (by_factors, by_scan))
    assert_trees_close(found, expected, rtol=1e-9, atol=1e-12)


def test_it_composes_with_vmap(x64):
    sizes = SIZES["two"]
    trajectories = [to_jax(make_trajectory(sizes, seed=seed)) for seed in range(3)]
    params, rates = to_jax(make_params(sizes)), jnp.array([0.1, 0.2, 0.3])

    def gradient(trajectory, rate):
        def total(params):
            learned = meta.learn_online_mlp(params, {}, trajectory, rate=rate).params
            return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(learned))

        return jax.grad(total)(params)

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *trajectories)
    together = jax.jit(jax.vmap(gradient))(stacked, rates)
    for i, trajectory in enumerate(trajectories):
        alone = gradient(trajectory, rates[i])
        assert_trees_close(jax.tree.map(lambda x, i=i: x[i], together), alone, rtol=1e-10)


def test_the_gradient_keeps_no_kernel_of_any_step():
    sizes, examples = (256, 256, 512), 20
    trajectory = LabelledBatch(jnp.ones((examples, sizes[0])), jnp.zeros(examples, jnp.int32))
    network = from_nnx(lambda rngs: Mlp(sizes, rngs=rngs))
    params, _ = network.init(jax.random.key(0))

    def total(params):
        learned = meta.learn_online_mlp(params, {}, trajectory, rate=0.1).params
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(learned))

    memory = jax.jit(jax.grad(total)).lower(params).compile().memory_analysis()
    of_all_kernels = 4 * sum(a * b for a, b in zip(sizes[:-1], sizes[1:], strict=True))
    # Kept once for each step they would take twenty times of_all_kernels.
    assert memory.temp_size_in_bytes < 6 * of_all_kernels


def test_what_cannot_be():
    sizes = SIZES["two"]
    params, trajectory = to_jax(make_params(sizes)), to_jax(make_trajectory(sizes))
    none = jax.tree.map(lambda x: x[:0], trajectory)
    with pytest.raises(ValueError, match="trajectory must hold at least one example"):
        meta.learn_online_mlp(params, {}, none, rate=RATE)
    with pytest.raises(ValueError, match="block must be at least 1; got 0"):
        meta.learn_online_mlp(params, {}, trajectory, rate=RATE, block=0)
    with pytest.raises(ValueError, match="an Mlp without context.* got .*context"):
        meta.learn_online_mlp({**params, "context": jnp.zeros(1)}, {}, trajectory, rate=RATE)
