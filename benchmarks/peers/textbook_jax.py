"""MAML as JAX tutorials write it: ``vmap`` over tasks of ``grad`` of a loss with ``lax.conv``."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from problem import (
    BLOCKS,
    EPSILON,
    FIRST_MOMENT_DECAY,
    INNER_RATE,
    OUTER_RATE,
    Problem,
    Row,
    Weights,
)

from peers import Peer
from peers.accelerator import jax_device_bytes

device_bytes = jax_device_bytes


def start(row: Row, threads: int) -> str:
    """Wakes JAX's backend; XLA threads its operations over the cores that the process sees."""
    del row, threads
    return jnp.zeros(()).device.platform


def logits(weights: Any, x: jax.Array) -> jax.Array:
    """Conv4 with strides, batch statistics and the mean over space."""
    for i in range(BLOCKS):
        kernel = weights[f"conv{i}"]
        dimensions = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=dimensions)
        x = (x - x.mean((0, 1, 2))) * jax.lax.rsqrt(x.var((0, 1, 2)) + EPSILON)
        x = jax.nn.relu(x * weights[f"scale{i}"] + weights[f"shift{i}"])
    return x.mean((1, 2)) @ weights["head"] + weights["bias"]


def build(problem: Problem) -> dict[str, Callable[[], Peer]]:
    """Compiles the step."""

    def loss(weights: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(logits(weights, x), y).mean()

    def query_loss(weights: Any, episode: Any) -> jax.Array:
        support_x, support_y, query_x, query_y = episode
        for _ in range(problem.row.inner_steps):
            gradient = jax.grad(loss)(weights, support_x, support_y)
            weights = jax.tree.map(lambda w, g: w - INNER_RATE * g, weights, gradient)
        return loss(weights, query_x, query_y)

    optimiser = optax.adam(OUTER_RATE)

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state: Any, episodes: Any) -> Any:
        weights, moments = state
        value, gradient = jax.value_and_grad(
            lambda weights: jax.vmap(query_loss, (None, 0))(weights, tuple(episodes)).mean()
        )(weights)
        updates, moments = optimiser.update(gradient, moments)
        return (optax.apply_updates(weights, updates), moments), value

    def vmapped() -> Peer:
        episodes = jax.tree.map(jnp.asarray, problem.episodes)
        weights = {name: jnp.asarray(value) for name, value in problem.weights.items()}
        state = (weights, optimiser.init(weights))
        compiled = step.lower(state, episodes).compile()
        memory = compiled.memory_analysis()
        return Peer(
            state,
            lambda state: compiled(state, episodes),
            jax.block_until_ready,
            first_gradient,
            {"temp_bytes": memory.temp_size_in_bytes if memory else None},
        )

    return {"vmap": vmapped}


def first_gradient(state: Any) -> Weights:
    """The meta-gradient of the first step."""
    return {k: np.asarray(v) / (1 - FIRST_MOMENT_DECAY) for k, v in state[1][0].mu.items()}
