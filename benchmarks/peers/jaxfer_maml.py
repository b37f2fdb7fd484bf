"""jaxfer, as ``jaxfer.experiments.maml_omniglot`` runs it: episodes drawn inside the step, Adam."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from problem import (
    BLOCKS,
    FIRST_MOMENT_DECAY,
    INNER_RATE,
    OUTER_RATE,
    Episodes,
    Problem,
    Row,
    Weights,
)

from jaxfer import meta
from jaxfer.data import ClassSplit, draw_glyphs, sample_episode
from jaxfer.experiments import episodic, maml_omniglot
from jaxfer.training.devices import Devices, Step, compile_step, configure_devices, first, replicate
from jaxfer.training.state import TrainState, init_train_state
from jaxfer.typing import Key, PyTree, Task
from peers import Peer
from peers.accelerator import jax_device_bytes

device_bytes = jax_device_bytes


class OuterStep(NamedTuple):
    """The experiment's step of one run on one device, and what training starts it with."""

    step: Step
    start: TrainState
    arrays: Any
    sample: Callable[[Key, Any], Task]
    devices: Devices

    def mapped(self) -> tuple[Any, TrainState]:
        """The step over all devices, and its state there."""
        return compile_step(self.step, devices=self.devices), replicate(self.start, self.devices)


def start(row: Row, threads: int) -> str:
    """Gets one host device per thread, as far as they divide the tasks, or one accelerator."""
    del threads  # the process sees no other cores
    return devices_for(row)[0].platform


def devices_for(row: Row) -> Devices:
    """The experiment's devices; of several accelerators only the first, as PyTorch has it."""
    devices = configure_devices(divides=row.tasks)
    return devices if devices[0].platform == "cpu" else devices[:1]


def outer_step(row: Row, weights: Weights) -> OuterStep:
    """Puts the step together from the parts that the experiment puts it together from."""
    config = maml_omniglot.Config(
        way=row.way, shot=row.shot, queries=row.queries, tasks=row.tasks,
        inner_steps=row.inner_steps, inner_rate=INNER_RATE, outer_rate=OUTER_RATE,
        width=row.width, image_size=row.image_size, remat=row.remat,
    )  # fmt: skip
    devices = devices_for(row)
    network = maml_omniglot.make_network(config)
    learner: meta.Learner = episodic.make_learner(
        config,
        steps=config.inner_steps,
        rate=INNER_RATE,
        **maml_omniglot.make_losses(config, network),
    )
    optimiser = episodic.make_optimiser(config)

    def init(key: Key) -> tuple[PyTree, PyTree]:
        _, state = network.init(key)
        return learner.init(to_params(weights)), state

    def sample(key: Key, arrays: Any) -> Task:
        return sample_episode(
            key, arrays.images, arrays.classes.train,
            way=row.way, shot=row.shot, queries=row.queries, rotations=config.rotations,
        )  # fmt: skip

    step = episodic.make_outer_step(config, learner, optimiser, sample, devices)
    images = draw_glyphs(alphabets=5, characters=20, image_size=row.image_size).images
    everything = np.arange(len(images), dtype=np.int32)
    arrays = maml_omniglot.Arrays(jnp.asarray(images), ClassSplit(*[everything] * 3))
    begin = init_train_state(init, optimiser, seeds=[0])
    return OuterStep(step, begin, replicate(arrays, devices), sample, devices)


def build(problem: Problem) -> dict[str, Callable[[], Peer]]:
    """Compiles the step."""

    def patches() -> Peer:
        outer = outer_step(problem.row, problem.weights)
        mapped, state = outer.mapped()
        compiled = mapped.lower(state, outer.arrays).compile()
        memory = compiled.memory_analysis()

        def step(state: TrainState) -> tuple[TrainState, jax.Array]:
            state, metrics = compiled(state, outer.arrays)
            return state, metrics["loss"][0, 0, 0]

        return Peer(
            state,
            step,
            jax.block_until_ready,
            first_gradient,
            {
                "devices": len(outer.devices),
                "temp_bytes": memory.temp_size_in_bytes if memory else None,
                "shared": {"episodes": first_episodes(problem.row, outer)},
            },
        )

    return {"patches": patches}


def first_episodes(row: Row, outer: OuterStep) -> Episodes:
    """The episodes that the first step will draw, by the keys that the experiment uses."""
    arrays = first(outer.arrays)
    step_key = jax.random.fold_in(outer.start.key[0], outer.start.step[0])

    def draw(index: jax.Array) -> Task:
        return outer.sample(jax.random.split(jax.random.fold_in(step_key, index))[0], arrays)

    tasks = jax.device_get(jax.jit(jax.vmap(draw))(jnp.arange(row.tasks)))
    return Episodes(*tasks.support, *tasks.query)


def first_gradient(state: TrainState) -> Weights:
    """The meta-gradient of the first step."""
    moment = first(state).opt_state[0].mu["params"]
    gradient = jax.tree.map(lambda leaf: np.asarray(leaf)[0] / (1 - FIRST_MOMENT_DECAY), moment)
    return from_params(gradient)


def to_params(weights: Weights) -> PyTree:
    """The weights by jaxfer's names."""
    blocks = {
        f"block{i}": {
            "conv": {"kernel": weights[f"conv{i}"]},
            "norm": {"scale": weights[f"scale{i}"], "bias": weights[f"shift{i}"]},
        }
        for i in range(BLOCKS)
    }
    head = {"kernel": weights["head"], "bias": weights["bias"]}
    return jax.tree.map(jnp.asarray, {**blocks, "head": head})


def from_params(params: PyTree) -> Weights:
    """The weights by the benchmark's names."""
    weights = {"head": params["head"]["kernel"], "bias": params["head"]["bias"]}
    for i in range(BLOCKS):
        block = params[f"block{i}"]
        weights[f"conv{i}"] = block["conv"]["kernel"]
        weights[f"scale{i}"], weights[f"shift{i}"] = block["norm"]["scale"], block["norm"]["bias"]
    return weights
