"""Prototypical networks by ``jaxfer.meta``, Conv4's convolutions in each of their ways."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from few_shot_problem import FIRST_MOMENT_DECAY, RATE, Problem, Row

from jaxfer import meta
from jaxfer.models import Conv4, from_nnx
from jaxfer.models.conv import Method as Convolution
from jaxfer.typing import LabelledBatch, Task
from peers import Peer
from peers.accelerator import jax_device_bytes
from peers.jaxfer_adversarial import by_name

device_bytes = jax_device_bytes


def start(row: Row, threads: int) -> str:
    """Wakes JAX's backend; XLA threads its products over the cores that the process sees."""
    del row, threads
    return jnp.zeros(()).device.platform


def build(problem: Problem) -> dict[str, Callable[[], Peer]]:
    """Convolutions as products of patches, or XLA's."""
    return {way: partial(jitted, problem, way) for way in ("patches", "lax")}


def jitted(problem: Problem, convolution: Convolution) -> Peer:
    """One step a call, as ``jaxfer.experiments.fewshot_omniglot`` puts it together."""
    row = problem.row
    network = from_nnx(
        lambda rngs: Conv4(
            classes=None, width=row.width, image_size=row.image_size, downsampling="max_pool",
            method=convolution, rngs=rngs,
        )
    )  # fmt: skip
    head = partial(meta.nearest_centroid, classes=row.way)
    learner = meta.conditional(meta.answer_by_features(network.apply, lambda _: head))
    optimiser = optax.adam(RATE, b1=FIRST_MOMENT_DECAY)
    params, state = network.init(jax.random.key(0))
    shown = row.way * row.shot
    labels = jnp.repeat(jnp.arange(row.way), row.shot)
    task = Task(
        LabelledBatch(jnp.asarray(problem.x[:shown]), labels),
        LabelledBatch(jnp.asarray(problem.x[shown:]), jnp.asarray(problem.y)),
    )

    @partial(jax.jit, donate_argnums=0)
    def step(carry: Any) -> tuple[Any, jax.Array]:
        trained, state, opt_state = carry
        result = learner.gradient(trained, state, task, None, 0)
        updates, opt_state = optimiser.update(result.grads, opt_state, trained)
        trained = optax.apply_updates(trained, updates)
        return (trained, result.state, opt_state), result.metrics["loss"]

    weights = by_name(params)
    trained = learner.init(params)
    return Peer(
        (trained, state, optimiser.init(trained)),
        step,
        jax.block_until_ready,
        first_gradient,
        {"shared": {"weights": weights}},
    )


def first_gradient(carry: Any) -> dict[str, np.ndarray]:
    """Of the first step, from Adam's moment."""
    moment = by_name(carry[2][0].mu["params"])
    return {name: value / (1 - FIRST_MOMENT_DECAY) for name, value in moment.items()}
