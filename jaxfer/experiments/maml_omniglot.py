"""Meta-learn Omniglot: a few gradient steps on a few drawings, and new characters are told apart.

MAML and eight relatives (--method) train Conv4 on episodes of characters, pick the checkpoint on
held-out ones, and are tested on 600 episodes of characters never seen. Without Omniglot at hand the
built-in glyphs stand in for it, and the results say so.

    python -m jaxfer.experiments.maml_omniglot                               5-way 1-shot, the paper's recipe
    python -m jaxfer.experiments.maml_omniglot --preset 20way                20-way 1-shot
    python -m jaxfer.experiments.maml_omniglot --preset 20way-maml++
    python -m jaxfer.experiments.maml_omniglot --out runs/maml_omniglot --resume --test-shot 5
                                                                             a finished run, tested at 5-shot

Expect 98 to 99% at 5-way 1-shot after 20,000 steps; experiments/maml_omniglot/README.md has what was
measured. The run folder gets config.json, metrics.jsonl, TensorBoard events, checkpoints,
summary.json, learning_curve.png and test_episodes.png.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

from jaxfer import meta
from jaxfer.data import (
    CharacterSet,
    ClassSplit,
    alphabet_split,
    check_episode_shape,
    load_omniglot,
    random_class_split,
    sample_episode,
)
from jaxfer.evaluation import mean_interval
from jaxfer.experiments.command_line import CommonOptions, main
from jaxfer.models import Conv4, Network, from_nnx
from jaxfer.report import episode_picture, format_estimate, learning_curve, table
from jaxfer.training.devices import (
    Devices,
    compile_evaluation,
    configure_devices,
    first,
    replicate,
)
from jaxfer.training.loop import Schedule, fit
from jaxfer.training.run_folder import hardware, open_run_folder, versions, write_summary
from jaxfer.training.state import Best, TrainState, init_train_state
from jaxfer.typing import Key, LabelledBatch, Metrics, PyTree, Task, UserError

Method = Literal[
    "maml", "fomaml", "anil", "boil", "reptile", "meta-sgd", "cavia", "imaml", "maml++"
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(CommonOptions):
    """The settings of a run; the defaults are the MAML paper's for 5-way 1-shot."""

    method: Method = "maml"
    """How to learn to adapt. fomaml: without second derivatives; anil: only the head adapts; boil:
    all but the head; reptile: towards each task's weights; meta-sgd: a learned rate per parameter;
    cavia: context parameters adapt; imaml: implicit gradient; maml++: learned rates per layer and
    step, per-step normalisation, multi-step loss."""

    data: Annotated[str, tyro.conf.arg(metavar="auto|omniglot|tfds|glyphs|FOLDER")] = "auto"
    """Omniglot from the official zips (downloaded where there is a network), from a prepared TFDS,
    from a folder that holds either, or built-in generated glyphs. auto takes the first it finds."""

    way: Annotated[int, tyro.conf.arg(metavar="N")] = 5
    """Characters in an episode."""

    shot: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """Support drawings of each character, to adapt to."""

    queries: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """Query drawings of each character, to be judged on."""

    tasks: Annotated[int, tyro.conf.arg(metavar="N")] = 32
    """Episodes in an outer step."""

    inner_steps: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """Inner gradient steps while training."""

    inner_rate: Annotated[float | None, tyro.conf.arg(metavar="RATE")] = None
    """Inner learning rate, on the mean cross-entropy. By default the method's: 2 for most (the
    paper's 0.4 and 0.1 are for a loss summed over 5 and 20 classes)."""

    outer_rate: Annotated[float, tyro.conf.arg(metavar="RATE")] = 1e-3
    """Learning rate of Adam on the meta-parameters."""

    outer_schedule: Literal["constant", "cosine"] = "constant"
    """How the outer rate goes on: stays, or falls to a hundredth along a cosine over --steps."""

    statistics: Literal["batch", "support"] = "batch"
    """What batch normalisation goes by when query drawings are classified: the statistics of the
    query batch (transductive, as in the paper), or those of the support set."""

    downsampling: Literal["stride", "max_pool"] = "stride"
    """How Conv4 halves its resolution: MAML's strides and spatial mean, or ProtoNets' pooling."""

    width: Annotated[int, tyro.conf.arg(metavar="N")] = 64
    """Channels of each block."""

    image_size: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 28
    """Height and width to which the 105 x 105 drawings are resized."""

    split: Literal["random", "alphabets"] = "random"
    """random: 1100 characters to train on, 100 to validate, 423 to test, as in the paper; alphabets:
    test on the 20 evaluation alphabets, validate on 5 background ones."""

    split_seed: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Seed of the split, apart from that of the run."""

    rotations: bool = True
    """Turn each character of an episode by a random multiple of 90 degrees, in training and test: 4
    times as many classes. --no-rotations leaves them upright."""

    remat: bool = False
    """Recompute each inner step's activations instead of keeping them: less memory, more time."""

    chunk: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Tasks vmapped at a time on each device. By default 1 on a CPU, all of them elsewhere."""

    proximal: Annotated[float, tyro.conf.arg(metavar="STRENGTH")] = 2.0
    """imaml: pull of the inner problem towards its start."""

    context: Annotated[int, tyro.conf.arg(metavar="N")] = 100
    """cavia: number of context parameters."""

    anneal_steps: Annotated[int, tyro.conf.arg(metavar="N")] = 1000
    """maml++: outer steps until only the loss after the last inner step counts."""

    first_order_steps: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """maml++: outer steps at the start without second derivatives."""

    validate_every: Annotated[int, tyro.conf.arg(metavar="N")] = 500
    """Outer steps between validations; the best validated parameters are tested."""

    checkpoint_every: Annotated[int, tyro.conf.arg(metavar="N")] = 500
    """Outer steps between checkpoints."""

    validation_episodes: Annotated[int, tyro.conf.arg(metavar="N")] = 300
    """Episodes of a validation."""

    test_episodes: Annotated[int, tyro.conf.arg(metavar="N")] = 600
    """Episodes of the test, the same for every run and method of the same shape."""

    test_seed: Annotated[int, tyro.conf.arg(metavar="N")] = 1_000_003
    """Seed of the test episodes."""

    test_inner_steps: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Inner steps in validation and test. By default 3 for a method trained with 1, as in the
    paper; as many as in training otherwise; 10 for reptile."""

    test_shot: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Support drawings in the test; by default as in training."""

    test_queries: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Query drawings in the test; by default as in training."""


_20WAY = Config(way=20, tasks=16, inner_steps=5, steps=20_000, outer_schedule="cosine")
PRESETS = {
    "5way": Config(steps=20_000, outer_schedule="cosine"),
    "20way": _20WAY,
    "20way-maml++": dataclasses.replace(_20WAY, method="maml++"),
    "demo": Config(steps=1000, validate_every=250, checkpoint_every=250, test_queries=5),
}
SMOKE = {
    "steps": 4, "tasks": 4, "width": 8, "validate_every": 2, "checkpoint_every": 2,
    "validation_episodes": 8, "test_episodes": 8,
}  # fmt: skip
MAY_DIFFER = ("steps", "test_episodes", "test_seed", "test_shot", "test_queries", "chunk", "remat")


class Arrays(NamedTuple):
    """What lies on every device: all images as uint8, and the classes of each split."""

    images: jax.Array
    classes: ClassSplit


def make_network(config: Config) -> Network:
    """Conv4, as the configuration has it."""
    # What the support set's statistics are must not depend on what was recorded before: momentum 0.
    return from_nnx(
        lambda rngs: Conv4(
            classes=config.way, width=config.width, image_size=config.image_size,
            downsampling=config.downsampling, context=config.context if config.method == "cavia" else 0,
            momentum=0.0, method="patches", rngs=rngs,
        )
    )  # fmt: skip


def make_learner(config: Config, network: Network, *, steps: int) -> meta.Learner:
    """The method, adapting by so many inner steps."""

    def loss_fn(train: bool, record: bool) -> meta.LossFn:
        def loss(
            params: PyTree, state: PyTree, batch: LabelledBatch, key: Key | None
        ) -> tuple[jax.Array, tuple[PyTree, Metrics]]:
            output, new_state = network.apply(params, state, batch.x, train=train, key=key)
            losses = optax.softmax_cross_entropy_with_integer_labels(output.logits, batch.y)
            accuracy = jnp.mean(jnp.argmax(output.logits, -1) == batch.y)
            return jnp.mean(losses), (new_state if record else state, {"accuracy": accuracy})

        return loss

    by_support = config.statistics == "support"
    losses: dict[str, Any] = {"loss_fn": loss_fn(True, record=by_support)}
    if by_support:
        losses["query_loss_fn"] = loss_fn(False, record=False)

    rate = config.inner_rate
    options: dict[str, Any] = {**losses, "steps": steps, "remat": config.remat}
    sgd = optax.sgd(2.0 if rate is None else rate)
    match config.method:
        case "maml":
            return meta.maml(rule=sgd, **options)
        case "fomaml":
            return meta.fomaml(rule=sgd, **options)
        case "anil":
            return meta.anil(rule=sgd, **options)
        case "boil":
            return meta.boil(rule=sgd, **options)
        case "imaml":
            return meta.imaml(rule=sgd, proximal=config.proximal, **options)
        case "cavia":
            return meta.cavia(rule=sgd, **options)
        case "reptile":
            return meta.reptile(rule=optax.adam(1e-3 if rate is None else rate, b1=0.0), **options)
        case "meta-sgd":
            return meta.meta_sgd(rate=2.0 if rate is None else rate, **options)
        case "maml++":
            return meta.maml_plus_plus(
                rate=2.0 if rate is None else rate,
                per_step=meta.by_path("norm"),
                anneal_steps=config.anneal_steps,
                first_order_steps=config.first_order_steps,
                **options,
            )


def make_step(
    config: Config, learner: meta.Learner, optimiser: optax.GradientTransformation, devices: Devices
) -> Callable[[TrainState, Arrays], tuple[TrainState, Metrics]]:
    """One outer step of one run: this device's share of the tasks, and the mean over all of them."""
    share = config.tasks // len(devices)
    chunk = task_chunk(config, devices)

    def step(run: TrainState, arrays: Arrays) -> tuple[TrainState, Metrics]:
        step_key = jax.random.fold_in(run.key, run.step)
        indices = jax.lax.axis_index("batch") * share + jnp.arange(share)

        def contribution(index: jax.Array) -> tuple[PyTree, Metrics]:
            key = jax.random.fold_in(step_key, index)
            task = sample_episode(
                key, arrays.images, arrays.classes.train,
                way=config.way, shot=config.shot, queries=config.queries, rotations=config.rotations,
            )  # fmt: skip
            result = learner.gradient(run.params, run.state, task, None, run.step)
            return result.grads, result.metrics

        grads, metrics = jax.lax.pmean(
            meta.mean_over_tasks(contribution, indices, chunk=chunk), "batch"
        )
        updates, opt_state = optimiser.update(grads, run.opt_state, run.params)
        params = optax.apply_updates(run.params, updates)
        return run._replace(params=params, opt_state=opt_state), metrics

    return step


class Judged(NamedTuple):
    """The parameters of one run that are put to a test."""

    params: PyTree
    state: PyTree


class Protocol(NamedTuple):
    """Which episodes: of which part of the split, how many, of what shape, by which seed."""

    part: Literal["validation", "test"]
    episodes: int
    shot: int
    queries: int
    seed: int


Answer: TypeAlias = Callable[[Judged, Arrays, jax.Array | int], tuple[Task, jax.Array]]


def make_answer(
    config: Config, learner: meta.Learner, network: Network, protocol: Protocol
) -> Answer:
    """One seeded episode, and the logits of its query drawings after adapting to its support."""

    def answer(judged: Judged, arrays: Arrays, index: jax.Array | int) -> tuple[Task, jax.Array]:
        task = sample_episode(
            jax.random.fold_in(jax.random.PRNGKey(protocol.seed), index),
            arrays.images,
            getattr(arrays.classes, protocol.part),
            way=config.way,
            shot=protocol.shot,
            queries=protocol.queries,
            rotations=config.rotations,
        )
        adapted = learner.adapt(judged.params, judged.state, task.support, None)
        output, _ = network.apply(
            adapted.params, adapted.state, task.query.x, train=config.statistics == "batch"
        )
        return task, output.logits

    return answer


def make_evaluation(
    answer: Answer, protocol: Protocol, devices: Devices, *, chunk: int | None
) -> Callable[[Judged, Arrays], dict[str, jax.Array]]:
    """Accuracy and loss of each episode ``[runs, episodes]``, every device answering its share."""
    share = -(-protocol.episodes // len(devices))
    at_once = min(chunk or (1 if devices[0].platform == "cpu" else 64), share)

    def evaluate(judged: Judged, arrays: Arrays) -> dict[str, jax.Array]:
        def one(index: jax.Array) -> dict[str, jax.Array]:
            task, logits = answer(judged, arrays, index)
            labels = task.query.y
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return {
                "accuracy": jnp.mean(jnp.argmax(logits, -1) == labels),
                "loss": jnp.mean(losses),
                "pixels": jnp.mean(nearest_neighbour(task) == labels),
            }

        indices = jax.lax.axis_index("batch") * share + jnp.arange(share)
        results = jax.lax.map(one, indices, batch_size=at_once)
        gathered = jax.lax.all_gather(results, "batch")
        return jax.tree.map(lambda leaf: leaf.reshape(-1)[: protocol.episodes], gathered)

    return compile_evaluation(evaluate, devices=devices)


def nearest_neighbour(task: Task) -> jax.Array:
    """The class of the support drawing with the nearest pixels: the baseline that learns nothing."""
    support, query = (batch.x.reshape(len(batch.x), -1) for batch in task)
    distances = jnp.sum(jnp.square(query[:, None] - support[None]), -1)
    return task.support.y[jnp.argmin(distances, -1)]


def task_chunk(config: Config, devices: Devices) -> int:
    """How many of a device's tasks are vmapped at a time."""
    share = config.tasks // len(devices)
    chunk = config.chunk or (1 if devices[0].platform == "cpu" else share)
    if share % chunk:
        raise UserError(f"--chunk {chunk} does not divide the {share} tasks of each device.")
    return chunk


def check(config: Config, characters: CharacterSet, classes: ClassSplit) -> None:
    """One sentence about a setting that cannot work, before anything is trained."""
    examples = characters.images.shape[1]
    for part, shot, queries in (
        ("train", config.shot, config.queries),
        ("validation", config.shot, config.queries),
        ("test", config.test_shot or config.shot, config.test_queries or config.queries),
    ):
        count = len(getattr(classes, part))
        check_episode_shape(
            way=config.way, shot=shot, queries=queries, classes=count, examples=examples
        )
    least = {"inner_steps": 1, "test_inner_steps": 0, "inner_rate": 0.0, "anneal_steps": 0}
    positive = ("tasks", "width", "validation_episodes", "test_episodes", "context", "chunk")
    for name in (*positive, *least):
        value = getattr(config, name)
        if value is not None and value < least.get(name, 1):
            flag = name.replace("_", "-")
            raise UserError(f"--{flag} is {value}; give at least {least.get(name, 1)}.")


def run(config: Config) -> dict[str, Any]:
    """Trains, tests and writes everything into the run folder.

    Args:
      config: the settings.

    Returns:
      What ``summary.json`` holds.

    Raises:
      UserError: a setting, a file or the run folder is not as it must be.
    """
    devices = configure_devices(
        config.devices,
        divides=config.tasks if config.tasks > 0 else None,
        multihost=config.multihost,
        deterministic=config.deterministic,
    )
    characters = load_omniglot(config.data, config.data_dir, image_size=config.image_size)
    print(characters.origin)
    if config.split == "random":
        classes = random_class_split(len(characters.images), seed=config.split_seed)
    else:
        classes = alphabet_split(characters, seed=config.split_seed)
    check(config, characters, classes)

    network = make_network(config)
    test_steps = config.test_inner_steps
    if test_steps is None:
        test_steps = {"reptile": 10}.get(config.method, max(3, config.inner_steps))
    learner = make_learner(config, network, steps=config.inner_steps)
    test_learner = make_learner(config, network, steps=test_steps)
    rate: optax.ScalarOrSchedule = config.outer_rate
    if config.outer_schedule == "cosine":
        rate = optax.cosine_decay_schedule(config.outer_rate, config.steps, alpha=0.01)
    optimiser = optax.adam(rate)

    def init(key: Key) -> tuple[PyTree, PyTree]:
        params, state = network.init(key)
        return learner.init(params), state

    start = init_train_state(init, optimiser, seeds=config.seeds)
    step = make_step(config, learner, optimiser, devices)
    arrays = replicate(Arrays(jnp.asarray(characters.images), classes), devices)

    validation = Protocol(
        "validation", config.validation_episodes, config.shot, config.queries, config.test_seed + 1
    )
    validate_episodes = make_evaluation(
        make_answer(config, test_learner, network, validation),
        validation,
        devices,
        chunk=config.chunk,
    )

    def validate(state: TrainState) -> Metrics:
        results = validate_episodes(Judged(state.params, state.state), arrays)
        return {name: jnp.mean(results[name], -1) for name in ("loss", "accuracy")}

    may_differ = MAY_DIFFER if config.outer_schedule == "constant" else MAY_DIFFER[1:]
    with open_run_folder(
        config.out, config, resume=config.resume, may_differ=may_differ
    ) as folder:
        fitted = fit(
            step,
            start,
            arrays,
            folder=folder,
            schedule=Schedule(
                steps=config.steps,
                steps_per_dispatch=min(25, config.validate_every, config.checkpoint_every),
                validate_every=config.validate_every,
                checkpoint_every=config.checkpoint_every,
            ),
            seeds=config.seeds,
            tasks_per_step=config.tasks,
            devices=devices,
            validate=validate,
        )
        protocol = Protocol(
            "test",
            config.test_episodes,
            config.test_shot or config.shot,
            config.test_queries or config.queries,
            config.test_seed,
        )
        answer = make_answer(config, test_learner, network, protocol)
        test = make_evaluation(answer, protocol, devices, chunk=config.chunk)
        best = fitted.train_state.best
        trained = jax.device_get(test(Judged(best.params, best.state), arrays))
        untrained = jax.device_get(test(Judged(start.params, start.state), arrays))
        print(
            results_table(config, protocol, trained, untrained, test_steps, characters.source),
            flush=True,
        )
        if jax.process_index() == 0:
            np.savez(folder.path / "test_accuracies.npz", accuracy=trained["accuracy"])
            draw(config, folder.path, answer, best, arrays, trained["accuracy"][0])
        summary = {
            "test": {
                **summarise(trained["accuracy"]),
                "episodes": protocol.episodes,
                "protocol": {
                    "way": config.way,
                    "shot": protocol.shot,
                    "queries": protocol.queries,
                    "inner_steps": test_steps,
                    "statistics": config.statistics,
                },
                "runs": [
                    {"seed": seed, **summarise(accuracy[None]), "step": step, "validation": score}
                    for seed, accuracy, step, score in zip(
                        config.seeds, trained["accuracy"], best.step, best.score, strict=True
                    )
                ],
                "baselines": {
                    "untrained": summarise(untrained["accuracy"]),
                    "nearest_pixels": summarise(trained["pixels"]),
                },
            },
            "data": {
                "source": characters.source,
                "origin": characters.origin,
                "checksum": characters.checksum,
                "split": config.split,
                "characters": {part: len(getattr(classes, part)) for part in classes._fields},
            },
            "config": config,
            "versions": versions(),
            "hardware": hardware(devices),
            "seconds": fitted.seconds,
        }
        write_summary(folder, summary)
        print(f"In {folder.path}: summary.json, learning_curve.png, episode_first.png, "
              "episode_hardest.png")  # fmt: skip
    return summary


def summarise(accuracy: np.ndarray) -> dict[str, float]:
    """Mean over runs and episodes ``[runs, episodes]`` with its interval over episodes."""
    interval = mean_interval(accuracy.mean(0))
    spread = {"std_over_runs": float(accuracy.mean(1).std(ddof=1))} if len(accuracy) > 1 else {}
    return {"accuracy": interval.mean, "ci95": interval.ci95, **spread}


def results_table(
    config: Config,
    protocol: Protocol,
    trained: Mapping[str, np.ndarray],
    untrained: Mapping[str, np.ndarray],
    steps: int,
    source: str,
) -> str:
    """The test accuracy beside what learns nothing, and what learns from the support set alone."""
    rows = [
        (f"{config.method}, {steps} inner steps", trained["accuracy"]),
        ("the same network untrained", untrained["accuracy"]),
        ("nearest support pixels", trained["pixels"]),
    ]
    head = f"{config.way}-way {protocol.shot}-shot, {source}, {config.statistics} statistics"
    cells = [
        (name, format_estimate(*mean_interval(accuracy.mean(0)), percent=True))
        for name, accuracy in rows
    ]
    return table((head, f"accuracy %, {protocol.episodes} test episodes"), cells)


def draw(
    config: Config, path: Path, answer: Answer, best: Best, arrays: Any, accuracy: np.ndarray
) -> None:
    """The learning curve, the first test episode, and the one with the most mistakes."""
    learning_curve(path / "metrics.jsonl", path / "learning_curve.png", chance=1 / config.way)
    one_run = Judged(*jax.tree.map(lambda leaf: leaf[0], (best.params, best.state)))
    ask = jax.jit(answer)
    for name, index in (("first", 0), ("hardest", int(np.argmin(accuracy)))):
        task, logits = ask(one_run, first(arrays), index)
        episode_picture(
            task.support.x,
            task.support.y,
            task.query.x,
            task.query.y,
            jnp.argmax(logits, -1),
            path / f"episode_{name}.png",
            title=f"Test episode {index}: {accuracy[index]:.0%} right after adapting",
        )


if __name__ == "__main__":
    main(Config, run, PRESETS, smoke=SMOKE)
