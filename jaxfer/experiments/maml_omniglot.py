"""Meta-learn Omniglot: a few gradient steps on a few drawings, and new characters are told apart.

MAML and eight relatives (--method) train Conv4 on episodes of characters, pick the checkpoint on
held-out ones, and are tested on 600 episodes of characters never seen. Without Omniglot at hand the
built-in glyphs stand in for it, and the results say so.

    python -m jaxfer.experiments.maml_omniglot --preset 5way
    python -m jaxfer.experiments.maml_omniglot --preset 20way
    python -m jaxfer.experiments.maml_omniglot --preset 20way-maml++
    python -m jaxfer.experiments.maml_omniglot --preset 5way --resume --test-shot 5

The first three train by the papers' recipes, 20,000 outer steps each; the last tests the finished
5-way run at 5-shot.

Expect 98 to 99% at 5-way 1-shot after 20,000 steps; experiments/maml_omniglot/README.md has what
was measured. The run folder gets config.json, metrics.jsonl, TensorBoard events, checkpoints,
summary.json, learning_curve.png, episode_first.png and episode_hardest.png.
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
from jaxfer.adapters import by_path
from jaxfer.data import (
    ClassSplit,
    alphabet_split,
    check_episode_shape,
    load_omniglot,
    random_class_split,
    sample_episode,
)
from jaxfer.evaluation import mean_interval
from jaxfer.experiments import episodic
from jaxfer.experiments.command_line import check_at_least, main
from jaxfer.experiments.own_folder import split_sizes
from jaxfer.models import Conv4, Network, from_nnx
from jaxfer.report import episode_picture, format_estimate, learning_curve, table
from jaxfer.training.devices import configure_devices, first, replicate
from jaxfer.training.loop import Schedule, fit
from jaxfer.training.run_folder import hardware, open_run_folder, versions, write_summary
from jaxfer.training.state import Best, TrainState, init_train_state, remember_best
from jaxfer.typing import Key, LabelledBatch, Metrics, PyTree, Task, UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(episodic.EpisodicOptions):
    """The settings of a run; the defaults are the MAML paper's for 5-way 1-shot."""

    data: Annotated[str, tyro.conf.arg(metavar="auto|omniglot|tfds|glyphs|FOLDER")] = "auto"
    """Omniglot from the official zips (downloaded where there is a network), from a prepared TFDS,
    from a folder that holds either, a folder of your own with one subfolder for each class, or
    built-in generated glyphs. auto takes the first of these that is no folder of your own."""

    way: Annotated[int, tyro.conf.arg(metavar="N")] = 5
    """Characters in an episode."""

    statistics: Literal["batch", "support"] = "batch"
    """What batch normalisation goes by when query drawings are classified: the statistics of the
    query batch (transductive, as in the paper), or those of the support set."""

    downsampling: Literal["stride", "max_pool"] = "stride"
    """How Conv4 halves its resolution: MAML's strides and spatial mean, or ProtoNets' pooling."""

    image_size: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 28
    """Height and width to which the 105 x 105 drawings are resized."""

    split: Literal["random", "alphabets"] = "random"
    """random: 1100 characters to train on, 100 to validate, 423 to test, as in the paper; 60, 20
    and 20% of a folder of your own. alphabets: test on the 20 evaluation alphabets, validate on 5
    background ones."""

    split_seed: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Seed of the split, apart from that of the run."""

    rotations: bool = True
    """Turn each character of an episode by a random multiple of 90 degrees, in training and test: 4
    times as many classes. --no-rotations leaves them upright."""

    test_inner_steps: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Inner steps in validation and test. By default 3 for a method trained with 1, as in the
    paper; as many as in training otherwise; 10 for reptile."""

    test_shot: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Support drawings in the test; by default as in training."""

    test_queries: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Query drawings in the test; by default as in training."""


# The paper's 0.4 (5-way) and 0.1 (20-way) act on a loss summed over the classes: 2 on its mean.
INNER_RATES = {"reptile": 1e-3}
INNER_RATE = 2.0

_20WAY = Config(way=20, tasks=16, inner_steps=5, steps=20_000, outer_schedule="cosine")
PRESETS = {
    "5way": Config(steps=20_000, outer_schedule="cosine"),
    "20way": _20WAY,
    "20way-maml++": dataclasses.replace(_20WAY, method="maml++"),
    "demo": Config(steps=1000, validate_every=250, checkpoint_every=250, test_queries=5),
}
MAY_DIFFER = (*episodic.MAY_DIFFER, "test_shot", "test_queries")


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
            downsampling=config.downsampling, context=config.context if config.method == "cavia"
            else 0, momentum=0.0, method="patches", rngs=rngs,
        )
    )  # fmt: skip


def make_losses(config: Config, network: Network) -> dict[str, meta.LossFn]:
    """Mean cross-entropy on support and query batches, as the statistics have it."""

    def loss_fn(train: bool, record: bool) -> meta.LossFn:
        def loss(
            params: PyTree, state: PyTree, batch: LabelledBatch, key: Key | None
        ) -> tuple[jax.Array, tuple[PyTree, Metrics]]:
            output, recorded = network.apply(params, state, batch.x, train=train, key=key)
            losses = optax.softmax_cross_entropy_with_integer_labels(output.logits, batch.y)
            accuracy = jnp.mean(jnp.argmax(output.logits, -1) == batch.y)
            return jnp.mean(losses), (recorded if record else state, {"accuracy": accuracy})

        return loss

    if config.statistics == "batch":  # nothing is recorded, since nothing recorded is ever used
        return {"loss_fn": loss_fn(train=True, record=False)}
    return {
        "loss_fn": loss_fn(train=True, record=True),
        "query_loss_fn": loss_fn(train=False, record=False),
    }


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


def make_judge(answer: Answer) -> Callable[[Judged, Arrays, jax.Array], Metrics]:
    """Accuracy and loss on one episode, and the accuracy of comparing pixels."""

    def judge(judged: Judged, arrays: Arrays, index: jax.Array) -> Metrics:
        task, logits = answer(judged, arrays, index)
        labels = task.query.y
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return {
            "accuracy": jnp.mean(jnp.argmax(logits, -1) == labels),
            "loss": jnp.mean(losses),
            "pixels": jnp.mean(nearest_neighbour(task) == labels),
        }

    return judge


def nearest_neighbour(task: Task) -> jax.Array:
    """The class of the support drawing with the nearest pixels, a baseline that learns nothing."""
    support, query = (batch.x.reshape(len(batch.x), -1) for batch in task)
    distances = jnp.sum(jnp.square(query[:, None] - support[None]), -1)
    return task.support.y[jnp.argmin(distances, -1)]


def check_options(config: Config) -> None:
    """One sentence about a number that makes no sense, before anything is read."""
    episodic.check_options(config)
    check_at_least(config, test_inner_steps=0, split_seed=0, test_shot=1, test_queries=1)
    if config.downsampling == "max_pool" and config.image_size < 16:
        raise UserError(f"--image-size is {config.image_size}; give at least 16 for max_pool.")


def check_episodes(config: Config, examples: int, classes: ClassSplit) -> None:
    """One sentence about episodes that cannot be drawn, before anything is trained."""
    for part, shot, queries in (
        ("train", config.shot, config.queries),
        ("validation", config.shot, config.queries),
        ("test", config.test_shot or config.shot, config.test_queries or config.queries),
    ):
        check_episode_shape(
            way=config.way,
            shot=shot,
            queries=queries,
            classes=len(getattr(classes, part)),
            examples=examples,
        )


def run(config: Config) -> dict[str, Any]:
    """Trains, tests and writes everything into the run folder.

    Args:
      config: the settings.

    Returns:
      What ``summary.json`` holds.

    Raises:
      UserError: a setting, a file or the run folder is not as it must be.
    """
    check_options(config)
    devices = configure_devices(
        config.devices,
        divides=config.tasks,
        multihost=config.multihost,
        deterministic=config.deterministic,
    )
    data_dir = None if config.data_dir is None else str(config.data_dir)
    characters = load_omniglot(config.data, data_dir, image_size=config.image_size)
    print(characters.origin)
    count = len(characters.images)
    if config.split == "alphabets":
        classes = alphabet_split(characters, seed=config.split_seed)
    elif characters.source == "folder":
        sizes = split_sizes(count, least=config.way, flag="--way")
        classes = random_class_split(count, sizes=sizes, seed=config.split_seed)
    else:
        classes = random_class_split(count, seed=config.split_seed)
    check_episodes(config, characters.images.shape[1], classes)

    network = make_network(config)
    test_steps = config.test_inner_steps
    if test_steps is None:
        test_steps = {"reptile": 10}.get(config.method, max(3, config.inner_steps))
    learner, test_learner = (
        episodic.make_learner(
            config,
            steps=steps,
            rate=INNER_RATES.get(config.method, INNER_RATE),
            per_step=by_path("norm"),
            **make_losses(config, network),
        )
        for steps in (config.inner_steps, test_steps)
    )
    optimiser = episodic.make_optimiser(config)

    def init(key: Key) -> tuple[PyTree, PyTree]:
        params, state = network.init(key)
        return learner.init(params), state

    start = init_train_state(init, optimiser, seeds=config.seeds)

    def sample(key: Key, arrays: Arrays) -> Task:
        return sample_episode(
            key,
            arrays.images,
            jnp.asarray(arrays.classes.train),
            way=config.way,
            shot=config.shot,
            queries=config.queries,
            rotations=config.rotations,
        )

    step = episodic.make_outer_step(config, learner, optimiser, sample, devices)
    arrays = replicate(Arrays(jnp.asarray(characters.images), classes), devices)

    validation = Protocol(
        "validation", config.validation_episodes, config.shot, config.queries, config.test_seed + 1
    )

    def validator(protocol: Protocol) -> Callable[[TrainState | Best], dict[str, jax.Array]]:
        answer = make_answer(config, test_learner, network, protocol)
        evaluate = episodic.compile_episodes(
            make_judge(answer), protocol.episodes, devices, chunk=config.chunk
        )

        def validate(run: TrainState | Best) -> dict[str, jax.Array]:
            results = evaluate(Judged(run.params, run.state), arrays)
            return {name: jnp.mean(results[name], -1) for name in ("loss", "accuracy")}

        return validate

    may_differ = MAY_DIFFER if config.outer_schedule == "cosine" else (*MAY_DIFFER, "steps")
    with open_run_folder(
        config.out or Path("runs/maml_omniglot"),
        config,
        resume=config.resume,
        may_differ=may_differ,
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
            validate=validator(validation),
        )
        protocol = Protocol(
            "test",
            config.test_episodes,
            config.test_shot or config.shot,
            config.test_queries or config.queries,
            config.test_seed,
        )
        answer = make_answer(config, test_learner, network, protocol)
        test = episodic.compile_episodes(
            make_judge(answer), protocol.episodes, devices, chunk=config.chunk
        )
        # The best of many noisy validations is partly luck: more, fresh episodes decide between it
        # and the last parameters.
        fresh = validation._replace(episodes=4 * validation.episodes, seed=config.test_seed + 2)
        recheck, last = validator(fresh), fitted.train_state
        rechecked = last.best._replace(score=recheck(last.best)["accuracy"])
        best = remember_best(last._replace(best=rechecked), recheck(last)["accuracy"]).best
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
            title=f"Test episode {index}, after adapting",
        )


if __name__ == "__main__":
    main(Config, run, PRESETS, smoke=episodic.SMOKE)
