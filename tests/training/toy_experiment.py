"""A regression small enough to be stopped, killed and split in tests.

python toy_experiment.py --out DIR
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxfer.experiments.command_line import TrainingOptions, main
from jaxfer.training.devices import compile_evaluation, configure_devices, replicate
from jaxfer.training.loop import Schedule, fit
from jaxfer.training.run_folder import hardware, open_run_folder, write_summary
from jaxfer.training.state import init_train_state

TARGET = np.arange(3.0, dtype=np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainingOptions):
    """The toy's settings."""

    rate: float = 0.05
    """Learning rate."""
    tasks: int = 8
    """Examples in a step."""
    ballast: int = 1
    """Numbers that only make a checkpoint take long to write."""
    every: int = 10
    """Steps between checkpoints."""
    per_dispatch: int = 5
    """Steps in a dispatch."""


def make_step(config, devices):
    share = config.tasks // len(devices)
    optimiser = optax.adam(config.rate)

    def loss_fn(weights, x):
        return jnp.mean((x @ (weights - TARGET)) ** 2)

    def step(run, data):
        picked = jax.random.randint(
            jax.random.fold_in(run.key, run.step), (config.tasks,), 0, len(data)
        )
        mine = jax.lax.dynamic_slice_in_dim(picked, jax.lax.axis_index("batch") * share, share)
        loss, gradient = jax.value_and_grad(loss_fn)(run.params, data[mine])
        loss, gradient = jax.lax.pmean((loss, gradient), "batch")
        updates, opt_state = optimiser.update(gradient, run.opt_state)
        params = optax.apply_updates(run.params, updates)
        state = run.state + params.sum()
        return run._replace(params=params, state=state, opt_state=opt_state), {"loss": loss}

    def evaluate(run, data):
        return {"accuracy": jnp.exp(-loss_fn(run.params, data))}

    def init_one(key):
        return jax.random.normal(key, (3,)), jnp.zeros(config.ballast)

    state = init_train_state(init_one, optimiser, seeds=config.seeds)
    data = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    return step, evaluate, state, replicate(data, devices)


def run(config):
    devices = configure_devices(config.devices, divides=config.tasks, multihost=config.multihost)
    step, evaluate, state, data = make_step(config, devices)
    evaluate = compile_evaluation(evaluate, devices=devices)
    with open_run_folder(config.out, config, resume=config.resume, may_differ=["steps"]) as folder:
        fitted = fit(
            step,
            state,
            data,
            folder=folder,
            schedule=Schedule(config.steps, config.per_dispatch, 20, 20, config.every),
            seeds=config.seeds,
            tasks_per_step=config.tasks,
            devices=devices,
            validate=lambda train_state: evaluate(train_state, data),
        )
        summary = {"seconds": fitted.seconds, "hardware": hardware(devices)}
        write_summary(folder, summary | {"best": fitted.train_state.best.score})


if __name__ == "__main__":
    main(Config, run)
