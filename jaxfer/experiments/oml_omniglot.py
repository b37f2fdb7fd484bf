"""Learn hundreds of characters one image at a time, in one pass, and forget few: OML on Omniglot.

Online-aware meta-learning trains a representation on the background characters so that a small
network on top of it learns without interference. It is then tested as it was trained: unseen
characters come one after the other, 15 images of each, each seen once; asked are 5 others of every
character so far. Beside it stand a network pre-trained on all background characters at once, of
which the top learns online alike, and one that begins from scratch. Without Omniglot at hand the
built-in glyphs stand in for it, and the results say so.

    python -m jaxfer.experiments.oml_omniglot --preset published
    python -m jaxfer.experiments.oml_omniglot --preset cpu

The first is of the published size, 20,000 outer steps for a GPU, and has not been run; the goal is
.72 on held-out images after 200 characters and .59 after 600. The second has 28 pixels and 64
channels, 2000 steps, some half hour on two CPU cores: OML stands above pre-training, and that above
scratch. experiments/oml_omniglot/README.md has what was measured. The run folder gets config.json,
summary.json, accuracy.png, for each method test_accuracies_METHOD.npz, and for each that is trained
a folder with its metrics, checkpoints and learning curve.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from flax import nnx

from jaxfer import meta
from jaxfer.data import (
    CharacterSet,
    ClassSplit,
    background_split,
    load_omniglot,
    random_class_split,
    sample_labelled,
    sample_trajectory,
)
from jaxfer.experiments import episodic
from jaxfer.experiments.command_line import check_at_least, main
from jaxfer.experiments.maml_omniglot import Arrays, Judged
from jaxfer.experiments.oml_report import Outcome, describe_results, draw, results_table
from jaxfer.experiments.online_passes import Networks, Pass, make_judge
from jaxfer.experiments.own_folder import all_at_most, at_most, of_each, split_sizes
from jaxfer.models import Mlp, StridedEncoder, from_nnx
from jaxfer.report import learning_curve
from jaxfer.training.devices import Devices, configure_devices, replicate
from jaxfer.training.loop import Schedule, fit
from jaxfer.training.run_folder import hardware, open_run_folder, versions, write_summary
from jaxfer.training.state import TrainState, init_train_state
from jaxfer.typing import Key, Metrics, PyTree, Task, UserError

Method = Literal["oml", "pretraining", "scratch"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(episodic.EpisodeOptions):
    """The settings; the defaults are the published ones."""

    steps: Annotated[int, tyro.conf.arg(metavar="N")] = 20_000
    """How many optimiser steps to train in all, those before a --resume included."""

    data: Annotated[str, tyro.conf.arg(metavar="auto|omniglot|tfds|glyphs|FOLDER")] = "auto"
    """Omniglot from the official zips (downloaded where there is a network), from a prepared TFDS,
    from a folder that holds either, a folder of your own with one subfolder for each class (then
    60, 20 and 20% of them, at random), or built-in generated glyphs. auto takes the first of these
    that is no folder of your own."""

    method: tuple[Method, ...] = ("oml", "pretraining", "scratch")
    """What to compare. oml: meta-learned for online learning; pretraining: trained on all
    background characters at once; scratch: begins from random weights and learns all of them."""

    image_size: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 84
    """Height and width to which the 105 x 105 drawings are resized."""

    width: Annotated[int, tyro.conf.arg(metavar="N")] = 256
    """Channels of each of the six layers of the representation network."""

    prediction_width: Annotated[int, tyro.conf.arg(metavar="N")] = 1024
    """Units of the hidden layer of the prediction network."""

    trajectory: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """Characters in a trajectory of the meta-training."""

    shot: Annotated[int, tyro.conf.arg(metavar="N")] = 20
    """Images of each character in a trajectory of the meta-training."""

    queries: Annotated[int, tyro.conf.arg(metavar="N")] = 64
    """Images of any character that the outer loss is on, beside the trajectory."""

    tasks: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """Trajectories in an outer step."""

    inner_rate: Annotated[float, tyro.conf.arg(metavar="RATE")] = 0.03
    """Learning rate along a trajectory of the meta-training."""

    outer_rate: Annotated[float, tyro.conf.arg(metavar="RATE")] = 1e-4
    """Learning rate of Adam on both networks."""

    batch: Annotated[int, tyro.conf.arg(metavar="N")] = 256
    """Images in a step of the pre-training."""

    validation_classes: Annotated[int, tyro.conf.arg(metavar="N")] = 200
    """Background characters that checkpoint and online rates are chosen on, trained on by none."""

    test_classes: Annotated[tuple[int, ...], tyro.conf.arg(metavar="N...")] = (
        10, 50, 100, 200, 300, 400, 500, 600,
    )  # fmt: skip
    """After how many characters to ask, in ascending order."""

    test_shot: Annotated[int, tyro.conf.arg(metavar="N")] = 15
    """Images of each character to learn from in the test."""

    test_rates: Annotated[tuple[float, ...], tyro.conf.arg(metavar="RATE...")] = (
        0.03, 0.01, 0.003, 0.001, 0.0003,
    )  # fmt: skip
    """Rates of online learning in the test; for each number of characters that one is taken which
    was best on as many, or the most, validation characters."""

    test_episodes: Annotated[int, tyro.conf.arg(metavar="N")] = 50
    """Passes of the test, each over characters in an order of its own."""

    validation_episodes: Annotated[int, tyro.conf.arg(metavar="N")] = 5
    """Passes of a validation."""

    split_seed: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Seed of the choice of validation characters, apart from that of the run."""


PRESETS = {
    "published": Config(validate_every=1000, checkpoint_every=1000),
    "cpu": Config(
        steps=2000, image_size=28, width=64, prediction_width=256, outer_rate=1e-3,
        outer_schedule="cosine", validate_every=500, checkpoint_every=500,
    ),
}  # fmt: skip
SMOKE = {
    "steps": 2, "image_size": 28, "width": 4, "prediction_width": 8, "trajectory": 2, "shot": 3,
    "queries": 6, "batch": 8, "validation_classes": 6, "test_classes": (2, 4), "test_shot": 3,
    "test_rates": (0.03, 0.01), "test_episodes": 2, "validation_episodes": 2, "validate_every": 1,
    "checkpoint_every": 1,
}  # fmt: skip
MAY_DIFFER = (
    "test_classes", "test_shot", "test_rates", "test_episodes", "test_seed", "chunk", "method",
)  # fmt: skip


def make_networks(config: Config, outputs: int) -> Networks:
    """The two networks; small images are padded, the published 84 pixels are not."""
    padding: Literal["SAME", "VALID"] = "VALID" if config.image_size >= 84 else "SAME"

    def encoder(rngs: Any) -> StridedEncoder:
        return StridedEncoder(
            width=config.width, image_size=config.image_size, padding=padding, rngs=rngs
        )

    features = nnx.eval_shape(lambda: encoder(nnx.Rngs(0))).outputs
    sizes = [features, config.prediction_width, outputs]
    return Networks(from_nnx(encoder), from_nnx(lambda rngs: Mlp(sizes, rngs=rngs)))


class Setting(NamedTuple):
    """What all methods of a run have in common."""

    config: Config
    devices: Devices
    arrays: Any
    classes: ClassSplit
    networks: Networks


def make_learner(config: Config, name: Method, networks: Networks) -> meta.Learner:
    """What a method descends."""
    if name == "oml":
        learn = functools.partial(meta.learn_online_mlp, rate=config.inner_rate)
        return meta.oml(
            networks.represent, networks.prediction_loss, learn, reset=meta.reset_columns()
        )
    return meta.pretrained(networks.loss)


def make_sampler(config: Config, name: Method) -> Callable[[Key, Arrays], Task]:
    """A trajectory and a random batch, or a batch of any training characters."""

    def trajectory(key: Key, arrays: Arrays) -> Task:
        return sample_trajectory(
            key, arrays.images, jnp.asarray(arrays.classes.train),
            way=config.trajectory, shot=config.shot, random=config.queries,
        )  # fmt: skip

    def batch(key: Key, arrays: Arrays) -> Task:
        halves = (
            sample_labelled(
                half, arrays.images, jnp.asarray(arrays.classes.train),
                count=max(1, config.batch // 2 // config.tasks), rotations=False,
            )
            for half in jax.random.split(key)
        )  # fmt: skip
        return Task(*halves)

    return trajectory if name == "oml" else batch


def train(setting: Setting, name: Method, path: Path) -> tuple[Judged, np.ndarray, float]:
    """Trains one method with all its seeds: the parameters that validation chose, and when."""
    config, devices, arrays, classes, networks = setting
    learner = make_learner(config, name, networks)
    optimiser = episodic.make_optimiser(config)

    def init(key: Key) -> tuple[PyTree, PyTree]:
        params, state = networks.init(key)
        return learner.init(params), state

    start = init_train_state(init, optimiser, seeds=config.seeds)
    if name == "scratch":
        return Judged(start.params, start.state), np.full(config.runs, -1), 0.0
    step = episodic.make_outer_step(
        config, learner, optimiser, make_sampler(config, name), devices, vmapped=False
    )
    few = min(50, len(classes.validation))
    passes = Pass(
        "validation", (few,), config.test_shot, config.test_seed + 1, config.test_rates[:2]
    )
    evaluate = episodic.compile_episodes(
        make_judge(networks, passes, learn_all=False), config.validation_episodes, devices, chunk=1
    )

    def validate(run: TrainState) -> Metrics:
        accuracy = evaluate(Judged(run.params, run.state), arrays)["accuracy"]
        return {"accuracy": jnp.max(jnp.mean(accuracy[..., 0], axis=1), -1)}

    steady = config.outer_schedule == "constant"
    with open_run_folder(
        path, {**vars(config), "method": name}, resume=(path / "config.json").exists(),
        may_differ=(*MAY_DIFFER, *(["steps"] if steady else [])),
    ) as folder:  # fmt: skip
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
            runs_in_turn=True,
            validate=validate,
        )
        if jax.process_index() == 0:
            learning_curve(path / "metrics.jsonl", path / "learning_curve.png", title=name)
    best = fitted.train_state.best
    return Judged(best.params, best.state), np.asarray(best.step), fitted.seconds


def judge_method(setting: Setting, name: Method, path: Path) -> Outcome:
    """Trains a method, chooses its online rates on validation characters, and tests it."""
    config, devices, arrays, classes, networks = setting
    judged, step, seconds = train(setting, name, path)

    def after(passes: Pass, episodes: int) -> dict[str, np.ndarray]:
        judge = make_judge(networks, passes, learn_all=name == "scratch")
        evaluate = episodic.compile_episodes(judge, episodes, devices, chunk=1)
        return jax.device_get(evaluate(judged, arrays))  # [runs, passes, rates, counts]

    known = len(classes.validation)
    counts = tuple(count for count in config.test_classes if count < known) + (known,)
    tried = after(
        Pass("validation", counts, config.test_shot, config.test_seed + 2, config.test_rates),
        config.validation_episodes,
    )["accuracy"].mean((0, 1))  # fmt: skip
    rows = tried.argmax(0)  # [counts]
    chosen = [int(rows[min(i, len(counts) - 1)]) for i in range(len(config.test_classes))]
    # Only rates that some number of characters goes by are tested.
    used = sorted(set(chosen))
    tested = after(
        Pass(
            "test", config.test_classes, config.test_shot, config.test_seed,
            tuple(config.test_rates[row] for row in used),
        ),
        config.test_episodes,
    )  # fmt: skip
    columns = range(len(chosen))
    picked = {
        metric: np.stack([found[:, :, used.index(chosen[i]), i] for i in columns], -1)
        for metric, found in tested.items()
    }
    rates = tuple(config.test_rates[row] for row in chosen)
    return Outcome(picked["accuracy"], picked["trajectory"], rates, step, seconds)


def run(config: Config) -> dict[str, Any]:
    """Trains and tests every method, and writes everything into the run folder.

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
    if characters.source == "folder":
        config, sizes = cap(config, characters)
        classes = random_class_split(sum(sizes), sizes=sizes, seed=config.split_seed)
    else:
        classes = background_split(
            characters, validation_classes=config.validation_classes, seed=config.split_seed
        )
    check_passes(config, characters.images.shape[1], classes)
    networks = make_networks(config, max(len(part) for part in classes))
    arrays = replicate(Arrays(jnp.asarray(characters.images), classes), devices)
    setting = Setting(config, devices, arrays, classes, networks)
    path = config.out or Path("runs/oml_omniglot")
    may_differ = (*MAY_DIFFER, *(["steps"] if config.outer_schedule == "constant" else []))
    with open_run_folder(path, config, resume=config.resume, may_differ=may_differ) as folder:
        outcomes: dict[str, Outcome] = {}
        for name in dict.fromkeys(config.method):
            print(f"{name}:", flush=True)
            outcomes[name] = judge_method(setting, name, path / name)
        print(results_table(config.test_classes, outcomes, characters.source), flush=True)
        if jax.process_index() == 0:
            draw(config.test_classes, outcomes, path, passes=config.test_episodes)
        summary = {
            "test": {
                "protocol": {
                    "passes": config.test_episodes,
                    "shot": config.test_shot,
                    "held_out": characters.images.shape[1] - config.test_shot,
                },
                "results": describe_results(config.test_classes, outcomes),
                "runs": [
                    {"method": name, "seed": seed, "step": step}
                    for name, found in outcomes.items()
                    for seed, step in zip(config.seeds, found.step, strict=True)
                ],
            },
            "data": {
                "source": characters.source,
                "origin": characters.origin,
                "checksum": characters.checksum,
                "characters": {part: len(getattr(classes, part)) for part in classes._fields},
            },
            "config": config,
            "versions": versions(),
            "hardware": hardware(devices),
            "seconds": sum(found.seconds for found in outcomes.values()),
        }
        write_summary(folder, summary)
        print(f"In {path}: summary.json, accuracy.png, and a folder for each trained method.")
    return summary


def check_options(config: Config) -> None:
    """One sentence about a number that makes no sense, before anything is read."""
    positive = (
        "shot", "queries", "tasks", "width", "chunk", "validate_every", "checkpoint_every",
        "validation_episodes", "test_episodes", "prediction_width", "trajectory", "batch",
        "validation_classes", "test_shot",
    )  # fmt: skip
    check_at_least(
        config, **dict.fromkeys(positive, 1), outer_rate=0, inner_rate=0, test_seed=0, split_seed=0
    )
    for flag, values in (
        ("--test-classes", config.test_classes),
        ("--test-rates", config.test_rates),
    ):
        if not values or min(values) <= 0:
            raise UserError(f"{flag} is {values}; give at least one positive number.")
    if list(config.test_classes) != sorted(set(config.test_classes)):
        raise UserError(f"--test-classes is {config.test_classes}; give them in ascending order.")
    if not config.method:
        raise UserError("--method names none; give oml, pretraining or scratch.")


def cap(config: Config, characters: CharacterSet) -> tuple[Config, tuple[int, int, int]]:
    """Passes that a folder of one's own allows, saying so, and how many classes each part has."""
    count, examples = characters.images.shape[:2]
    train, fifth, test = split_sizes(count, least=2)
    validation = at_most(
        "--validation-classes", config.validation_classes, fifth, f"a fifth of {count} is {fifth}"
    )
    capped = dataclasses.replace(
        config,
        validation_classes=validation,
        test_classes=all_at_most(
            "--test-classes", config.test_classes, test, f"there are {test} to test on"
        ),
        shot=at_most("--shot", config.shot, examples, f"there are {examples} images of each class"),
        test_shot=at_most("--test-shot", config.test_shot, examples - 1, of_each(examples)),
    )
    return capped, (train + fifth - validation, validation, test)


def check_passes(config: Config, examples: int, classes: ClassSplit) -> None:
    """One sentence about trajectories that cannot be drawn, before anything is trained."""
    if config.test_classes[-1] > len(classes.test):
        raise UserError(
            f"--test-classes ends at {config.test_classes[-1]}, but there are only "
            f"{len(classes.test)} characters to test on; give at most {len(classes.test)}."
        )
    if config.trajectory > len(classes.train):
        raise UserError(
            f"--trajectory is {config.trajectory}, but there are only {len(classes.train)} "
            f"characters to train on; give at most {len(classes.train)}."
        )
    for flag, value, most in (
        ("--shot", config.shot, examples), ("--test-shot", config.test_shot, examples - 1),
    ):  # fmt: skip
        if value > most:
            raise UserError(
                f"{flag} is {value}, but each character has {examples} drawings; give at most "
                f"{most}."
            )


if __name__ == "__main__":
    main(Config, run, PRESETS, smoke=SMOKE)
