"""Regress sinusoids by a black box: the network reads ten points, and the curve is there.

A conditional neural process or SNAIL (--method) is trained on sinusoids of random amplitude and
phase and tested on 600 new ones at K = 5, 10 and 20 points: the tasks of maml_sinusoid, whose
learners take gradient steps instead. Everything is generated; two CPU cores take minutes.

    python -m jaxfer.experiments.fewshot_sinusoid
    python -m jaxfer.experiments.fewshot_sinusoid --method snail --out runs/sinusoid_snail

Compare with maml_sinusoid, where MAML's mean squared error at K = 10 is near 0.3 after one step and
0.1 after ten. experiments/fewshot_sinusoid/README.md has what was measured. The run folder gets
config.json, metrics.jsonl, TensorBoard events, checkpoints, summary.json, learning_curve.png and
curves.png.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from jaxfer import meta
from jaxfer.data import sample_sinusoid, sample_sinusoid_task
from jaxfer.data.sinusoids import INPUT
from jaxfer.experiments import episodic
from jaxfer.experiments.command_line import check_at_least, main
from jaxfer.experiments.few_shot import one_of, together
from jaxfer.experiments.maml_sinusoid import CURVES, SHOTS, TEST_QUERIES, Judged, summarise
from jaxfer.models import Mlp, Snail, from_nnx
from jaxfer.report import adaptation_curves, format_estimate, learning_curve, table
from jaxfer.training.devices import configure_devices, replicate
from jaxfer.training.loop import Schedule, fit
from jaxfer.training.run_folder import hardware, open_run_folder, versions, write_summary
from jaxfer.training.state import Best, TrainState, init_train_state
from jaxfer.typing import Key, Metrics, PyTree, Task, UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(episodic.EpisodeOptions):
    """The settings of a run."""

    method: Literal["neural-process", "snail"] = "neural-process"
    """neural-process: points are encoded one by one, averaged, and decoded. snail: they are read as
    a sequence, by convolutions that look back and attention."""

    steps: Annotated[int, tyro.conf.arg(metavar="N")] = 20_000
    """How many optimiser steps to train in all, those before a --resume included."""

    data: Annotated[str, tyro.conf.arg(metavar="sinusoids")] = "sinusoids"
    """Always generated."""

    shot: Annotated[int, tyro.conf.arg(metavar="K")] = 10
    """Support points of each sinusoid while training."""

    queries: Annotated[int, tyro.conf.arg(metavar="N")] = 10
    """Query points of each sinusoid while training."""

    tasks: Annotated[int, tyro.conf.arg(metavar="N")] = 24
    """Sinusoids in an outer step."""

    width: Annotated[int, tyro.conf.arg(metavar="N")] = 64
    """Units of each hidden layer; channels of each convolution."""

    devices: Annotated[int | None, tyro.conf.arg(metavar="N")] = 1
    """How many devices to split each step over, which has too little work to be worth it by
    default. It does not change what is computed, up to rounding."""

    validate_every: Annotated[int, tyro.conf.arg(metavar="N")] = 1000
    """Outer steps between validations; the best validated parameters are tested."""

    checkpoint_every: Annotated[int, tyro.conf.arg(metavar="N")] = 1000
    """Outer steps between checkpoints."""


PRESETS = {"short": Config(steps=5000), "snail": Config(method="snail")}


def make_method(
    config: Config,
) -> tuple[Callable[[Key], tuple[PyTree, PyTree]], meta.Answer, meta.OutputLoss]:
    """What starts the networks, how they answer, and their loss; the mean is the first output."""
    width = config.width
    if config.method == "snail":
        reader = from_nnx(
            lambda rngs: Snail(
                in_features=2, out_features=1, length=max(config.shot, *SHOTS) + 1, filters=width,
                keys=(16, 32, 64), rngs=rngs,
            )
        )  # fmt: skip

        def squared_error(outputs: Any, targets: Any) -> tuple[jax.Array, Metrics]:
            loss = jnp.mean(jnp.square(outputs - targets))
            return loss, {"mse": loss}

        def as_they_are(
            params: PyTree, state: PyTree, x: PyTree, *, train: bool, key: Key | None = None
        ) -> tuple[Any, PyTree]:
            return x, state

        answer = meta.answer_by_sequence(as_they_are, one_of("reader", reader))
        return together(reader=reader), answer, squared_error
    encoder = from_nnx(lambda rngs: Mlp([2, width, width, width], rngs=rngs))
    decoder = from_nnx(lambda rngs: Mlp([1 + width, width, width, 2], rngs=rngs))
    answer = meta.neural_process(
        lambda params, pairs: encoder.apply(params["encoder"], {}, pairs, train=False)[0],
        lambda params, both: decoder.apply(params["decoder"], {}, both, train=False)[0],
    )
    return together(encoder=encoder, decoder=decoder), answer, meta.gaussian_loss


def make_judge(
    answer: meta.Answer, loss_fn: meta.OutputLoss, *, shots: Sequence[int], seed: int
) -> Callable[[Judged, Any, jax.Array], dict[int, jax.Array]]:
    """Mean squared error on one new sinusoid, by number of support points."""

    def judge(judged: Judged, _: Any, index: jax.Array) -> dict[int, jax.Array]:
        key = jax.random.fold_in(jax.random.PRNGKey(seed), index)
        errors = {}
        for shot in shots:
            task = sample_sinusoid_task(key, shot=shot, queries=TEST_QUERIES)
            outputs, _ = answer(
                judged.params["params"], judged.state, task.support, task.query.x, train=False
            )
            errors[shot] = loss_fn(outputs, task.query.y)[1]["mse"]
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
    positive = (
        "shot", "queries", "tasks", "width", "chunk", "validate_every", "checkpoint_every",
        "validation_episodes", "test_episodes",
    )  # fmt: skip
    check_at_least(config, **dict.fromkeys(positive, 1), outer_rate=0, test_seed=0)
    if config.data != "sinusoids":
        raise UserError(f"--data is {config.data}; this experiment has only sinusoids.")
    devices = configure_devices(
        config.devices,
        divides=config.tasks,
        multihost=config.multihost,
        deterministic=config.deterministic,
    )
    begin, answer, loss_fn = make_method(config)
    learner = meta.conditional(answer, loss_fn)
    optimiser = episodic.make_optimiser(config)

    def init(key: Key) -> tuple[PyTree, PyTree]:
        params, state = begin(key)
        return learner.init(params), state

    def sample(key: Key, _: Any) -> Task:
        return sample_sinusoid_task(key, shot=config.shot, queries=config.queries)

    start = init_train_state(init, optimiser, seeds=config.seeds)
    step = episodic.make_outer_step(config, learner, optimiser, sample, devices, vmapped=True)
    nothing = replicate(jnp.zeros(()), devices)

    def evaluation(
        shots: Sequence[int], episodes: int, seed: int
    ) -> Callable[[TrainState | Best], dict[int, Any]]:
        judge = make_judge(answer, loss_fn, shots=shots, seed=seed)
        errors = episodic.compile_episodes(judge, episodes, devices, chunk=config.chunk or 100)
        return lambda run: jax.device_get(errors(Judged(run.params, run.state), nothing))

    validation = evaluation((config.shot,), config.validation_episodes, config.test_seed + 1)

    def validate(state: TrainState) -> Metrics:
        mse = validation(state)[config.shot].mean(-1)
        return {"mse": mse, "negative_mse": -mse}

    steady = config.outer_schedule == "constant"
    with open_run_folder(
        config.out or Path("runs/fewshot_sinusoid"), config, resume=config.resume,
        may_differ=("test_episodes", "test_seed", "chunk", *(["steps"] if steady else [])),
    ) as folder:  # fmt: skip
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
            score="negative_mse",
        )
        best = fitted.train_state.best
        test = evaluation(SHOTS, config.test_episodes, config.test_seed)
        trained, untrained = test(best), test(start)
        rows = [
            (name, *(_cell(errors[shot]) for shot in SHOTS))
            for name, errors in ((config.method, trained), ("untrained network", untrained))
        ]
        header = (f"MSE, {config.test_episodes} tasks", *(f"K = {shot}" for shot in SHOTS))
        print(table(header, rows), flush=True)
        if jax.process_index() == 0:
            draw(config, folder.path, Judged(best.params, best.state), answer)
        summary = {
            "test": {
                "episodes": config.test_episodes,
                "mean_squared_error": [
                    {"shot": shot, **summarise(errors)} for shot, errors in trained.items()
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
        print(f"In {folder.path}: summary.json, learning_curve.png, curves.png")
    return summary


def _cell(errors: np.ndarray) -> str:
    result = summarise(errors)
    return format_estimate(result["mse"], result["ci95"])


def draw(config: Config, path: Path, judged: Judged, answer: meta.Answer) -> None:
    """The learning curve, and what a few new sinusoids look like after K points."""
    learning_curve(path / "metrics.jsonl", path / "learning_curve.png", names=["loss", "mse"])
    one_run = jax.tree.map(lambda leaf: leaf[0], judged)
    x = jnp.linspace(*INPUT, 200)[:, None]
    keys = [
        jax.random.fold_in(jax.random.PRNGKey(config.test_seed), index) for index in range(CURVES)
    ]
    tasks = [sample_sinusoid_task(key, shot=config.shot, queries=1) for key in keys]
    ask = jax.jit(
        lambda support: answer(one_run.params["params"], one_run.state, support, x, train=False)[0]
    )
    functions = [sample_sinusoid(jax.random.split(key)[0]) for key in keys]
    adaptation_curves(
        x[:, 0],
        [function(x[:, 0]) for function in functions],
        [task.support.x[:, 0] for task in tasks],
        [task.support.y[:, 0] for task in tasks],
        {0: [ask(task.support)[:, 0] for task in tasks]},
        path / "curves.png",
        labels={0: config.method},
        title=f"{config.method}: new sinusoids from {config.shot} points",
    )


if __name__ == "__main__":
    main(Config, run, PRESETS, smoke=episodic.SMOKE)
