"""Meta-learn to regress sinusoids: after ten points and one gradient step the curve is there.

MAML and its relatives (--method) train a small network on sinusoids of random amplitude and phase,
and are tested on 600 new ones at K = 5, 10 and 20 points. Everything is generated; two CPU cores
take a few minutes.

    python -m jaxfer.experiments.maml_sinusoid
    python -m jaxfer.experiments.maml_sinusoid --method cavia --out runs/sinusoid_cavia
    python -m jaxfer.experiments.maml_sinusoid --inner-steps 0 --out runs/sinusoid_joint

The last trains one network for all tasks and tunes it on each: the paper's baseline. Expect a mean
squared error near 0.3 after one step and 0.1 after ten at K = 10, where the baseline has 2.1 and
1.5; experiments/maml_sinusoid/README.md has what was measured. The run folder gets config.json,
metrics.jsonl, TensorBoard events, checkpoints, summary.json, learning_curve.png and
adapted_curves.png.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from jaxfer import meta
from jaxfer.data import sample_sinusoid, sample_sinusoid_task
from jaxfer.data.sinusoids import INPUT
from jaxfer.evaluation import mean_interval
from jaxfer.experiments import episodic
from jaxfer.experiments.command_line import main
from jaxfer.models import Mlp, Network, from_nnx
from jaxfer.report import adaptation_curves, format_estimate, learning_curve, table
from jaxfer.training.devices import configure_devices, replicate
from jaxfer.training.loop import Schedule, fit
from jaxfer.training.run_folder import hardware, open_run_folder, versions, write_summary
from jaxfer.training.state import Best, TrainState, init_train_state
from jaxfer.typing import Key, LabelledBatch, Metrics, PyTree, Task, UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(episodic.EpisodicOptions):
    """The settings of a run; the defaults are the MAML paper's, with 24 tasks instead of 25."""

    steps: Annotated[int, tyro.conf.arg(metavar="N")] = 70_000
    """How many optimiser steps to train in all, those before a --resume included."""

    data: Annotated[str, tyro.conf.arg(metavar="sinusoids")] = "sinusoids"
    """Always generated."""

    shot: Annotated[int, tyro.conf.arg(metavar="K")] = 10
    """Support points of each sinusoid while training."""

    queries: Annotated[int, tyro.conf.arg(metavar="N")] = 10
    """Query points of each sinusoid while training."""

    tasks: Annotated[int, tyro.conf.arg(metavar="N")] = 24
    """Sinusoids in an outer step."""

    width: Annotated[int, tyro.conf.arg(metavar="N")] = 40
    """Units of each of the two hidden layers."""

    context: Annotated[int, tyro.conf.arg(metavar="N")] = 4
    """cavia: number of context parameters."""

    devices: Annotated[int | None, tyro.conf.arg(metavar="N")] = 1
    """How many devices to split each step over, which has too little work to be worth it by
    default. It does not change what is computed, up to rounding."""

    validate_every: Annotated[int, tyro.conf.arg(metavar="N")] = 1000
    """Outer steps between validations; the best validated parameters are tested."""

    checkpoint_every: Annotated[int, tyro.conf.arg(metavar="N")] = 1000
    """Outer steps between checkpoints."""


PRESETS = {
    "short": Config(steps=10_000),
    "5-steps": Config(inner_steps=5, inner_rate=0.01),
}
# The paper's 0.01 for MAML and CAVIA's 1 on its context; Adam's rate inside Reptile.
INNER_RATES = {"cavia": 1.0, "reptile": 1e-3}
INNER_RATE = 0.01
SHOTS = (5, 10, 20)
STEPS = (0, 1, 10)
TEST_QUERIES = 100
CURVES = 4


class Judged(NamedTuple):
    """The parameters of one run that are put to a test."""

    params: PyTree
    state: PyTree


def make_network(config: Config) -> Network:
    """Two hidden layers of ReLU."""
    context = config.context if config.method == "cavia" else 0
    sizes = [1, config.width, config.width, 1]
    return from_nnx(lambda rngs: Mlp(sizes, context=context, rngs=rngs))


def make_loss(network: Network) -> meta.LossFn:
    """Mean squared error."""

    def loss_fn(
        params: PyTree, state: PyTree, batch: LabelledBatch, key: Key | None
    ) -> tuple[jax.Array, tuple[PyTree, Metrics]]:
        prediction, state = network.apply(params, state, batch.x, train=True, key=key)
        return jnp.mean(jnp.square(prediction - batch.y)), (state, {})

    return loss_fn


Errors: TypeAlias = dict[tuple[int, int], Any]
Learners: TypeAlias = Callable[[int], meta.Learner]


def make_judge(
    learner: Learners,
    loss_fn: meta.LossFn,
    *,
    shots: Sequence[int],
    steps: Sequence[int],
    seed: int,
) -> Callable[[Judged, Any, jax.Array], Errors]:
    """Mean squared error on one new sinusoid, by number of support points and of inner steps."""

    def judge(judged: Judged, _: Any, index: jax.Array) -> Errors:
        key = jax.random.fold_in(jax.random.PRNGKey(seed), index)
        errors = {}
        for shot in shots:
            task = sample_sinusoid_task(key, shot=shot, queries=TEST_QUERIES)
            for count in steps:
                adapted = learner(count).adapt(judged.params, judged.state, task.support, None)
                loss, _ = loss_fn(adapted.params, adapted.state, task.query, None)
                errors[shot, count] = loss
        return errors

    return judge


def run(config: Config) -> dict[str, Any]:
    """Trains, tests and writes everything into the run folder.

    Args:
      config: the settings.

    Returns:
      What ``summary.json`` holds.

    Raises:
      UserError: a setting or the run folder is not as it must be.
    """
    episodic.check_options(config)
    if config.data != "sinusoids":
        raise UserError(f"--data is {config.data}; this experiment has only sinusoids.")
    devices = configure_devices(
        config.devices,
        divides=config.tasks,
        multihost=config.multihost,
        deterministic=config.deterministic,
    )
    network = make_network(config)
    loss_fn = make_loss(network)

    def learner(steps: int) -> meta.Learner:
        rate = INNER_RATES.get(config.method, INNER_RATE)
        return episodic.make_learner(config, loss_fn, rate=rate, steps=steps)

    optimiser = episodic.make_optimiser(config)

    def init(key: Key) -> tuple[PyTree, PyTree]:
        params, state = network.init(key)
        return learner(config.inner_steps).init(params), state

    def sample(key: Key, _: Any) -> Task:
        return sample_sinusoid_task(key, shot=config.shot, queries=config.queries)

    start = init_train_state(init, optimiser, seeds=config.seeds)
    step = episodic.make_outer_step(
        config, learner(config.inner_steps), optimiser, sample, devices, vmapped=True
    )
    nothing = replicate(jnp.zeros(()), devices)

    def evaluation(
        shots: Sequence[int], steps: Sequence[int], episodes: int, seed: int
    ) -> Callable[[TrainState | Best], Errors]:
        judge = make_judge(learner, loss_fn, shots=shots, steps=steps, seed=seed)
        errors = episodic.compile_episodes(judge, episodes, devices, chunk=config.chunk or 100)
        return lambda run: jax.device_get(errors(Judged(run.params, run.state), nothing))

    shown = (config.shot, max(1, config.inner_steps))
    validation_errors = evaluation(
        shown[:1], shown[1:], config.validation_episodes, config.test_seed + 1
    )

    def validate(state: TrainState) -> Metrics:
        loss = validation_errors(state)[shown].mean(-1)
        return {"loss": loss, "negative_loss": -loss}

    may_differ = (*episodic.MAY_DIFFER, *(["steps"] * (config.outer_schedule == "constant")))
    with open_run_folder(
        config.out or Path("runs/maml_sinusoid"),
        config,
        resume=config.resume,
        may_differ=may_differ,
    ) as folder:
        fitted = fit(
            step,
            start,
            nothing,
            folder=folder,
            schedule=Schedule(
                steps=config.steps,
                steps_per_dispatch=min(250, config.validate_every, config.checkpoint_every),
                log_every=250,
                validate_every=config.validate_every,
                checkpoint_every=config.checkpoint_every,
            ),
            seeds=config.seeds,
            tasks_per_step=config.tasks,
            devices=devices,
            validate=validate,
            score="negative_loss",
        )
        best = fitted.train_state.best
        test_errors = evaluation(SHOTS, STEPS, config.test_episodes, config.test_seed)
        trained = test_errors(best)
        results = {
            f"{config.method}, trained with {config.inner_steps} steps": trained,
            "untrained network": test_errors(start),
        }
        print(results_table(results, config.test_episodes), flush=True)
        if jax.process_index() == 0:
            draw(config, folder.path, Judged(best.params, best.state), learner, network)
        summary = {
            "test": {
                "episodes": config.test_episodes,
                "mean_squared_error": [
                    {"shot": shot, "inner_steps": steps, **summarise(errors)}
                    for (shot, steps), errors in trained.items()
                ],
                "runs": [
                    {"seed": seed, "step": step, "validation": -score}
                    for seed, step, score in zip(config.seeds, best.step, best.score, strict=True)
                ],
            },
            "data": {"source": "sinusoids", "origin": "Generated.", "checksum": None},
            "config": config,
            "versions": versions(),
            "hardware": hardware(devices),
            "seconds": fitted.seconds,
        }
        write_summary(folder, summary)
        print(f"In {folder.path}: summary.json, learning_curve.png, adapted_curves.png")
    return summary


def summarise(errors: np.ndarray) -> dict[str, Any]:
    """Mean over runs and tasks ``[runs, tasks]`` with its interval over tasks.

    Adapting can diverge on a few points; such a task is counted, and left out of the mean.
    """
    finite = np.isfinite(errors).all(0)
    interval = mean_interval(errors[:, finite].mean(0)) if finite.any() else (None, None)
    return {"mse": interval[0], "ci95": interval[1], "diverged": int((~finite).sum())}


def results_table(results: Mapping[str, Errors], episodes: int) -> str:
    """Mean squared error by number of points and of inner steps."""

    def cell(errors: np.ndarray) -> str:
        result = summarise(errors)
        if result["mse"] is None:
            return "diverged"
        note = f" ({result['diverged']} diverged)" if result["diverged"] else ""
        return format_estimate(result["mse"], result["ci95"]) + note

    rows = [
        (name, f"{shot}", *(cell(errors[shot, steps]) for steps in STEPS))
        for name, errors in results.items()
        for shot in SHOTS
    ]
    header = (f"MSE, {episodes} tasks", "K", *(f"{steps} steps" for steps in STEPS))
    return table(header, rows)


def draw(
    config: Config,
    path: Path,
    judged: Judged,
    learner: Learners,
    network: Network,
) -> None:
    """The learning curve, and what a few new sinusoids look like after 0, 1 and 10 steps."""
    learning_curve(path / "metrics.jsonl", path / "learning_curve.png", names=["loss"])
    one_run = jax.tree.map(lambda leaf: leaf[0], judged)
    x = jnp.linspace(*INPUT, 200)[:, None]
    keys = [
        jax.random.fold_in(jax.random.PRNGKey(config.test_seed), index) for index in range(CURVES)
    ]
    tasks = [sample_sinusoid_task(key, shot=config.shot, queries=1) for key in keys]
    predictions: dict[int, list[jax.Array]] = {}
    for steps in STEPS:
        adapt = jax.jit(learner(steps).adapt)
        predictions[steps] = []
        for task in tasks:
            adapted = adapt(one_run.params, one_run.state, task.support, None)
            y, _ = network.apply(adapted.params, adapted.state, x, train=False)
            predictions[steps].append(y[:, 0])
    functions = [sample_sinusoid(jax.random.split(key)[0]) for key in keys]
    adaptation_curves(
        x[:, 0],
        [function(x[:, 0]) for function in functions],
        [task.support.x[:, 0] for task in tasks],
        [task.support.y[:, 0] for task in tasks],
        predictions,
        path / "adapted_curves.png",
        title=f"{config.method}: new sinusoids from {config.shot} points",
    )


if __name__ == "__main__":
    main(Config, run, PRESETS, smoke=episodic.SMOKE)
