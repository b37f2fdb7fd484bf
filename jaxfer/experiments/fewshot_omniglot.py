"""Few-shot learning on Omniglot by many methods, in one table: by metric, by black box, baselines.

Each method (--method, several at once) trains Conv4 on the training characters, picks its
checkpoint on held-out ones, and answers 1000 seeded episodes of characters never seen, at every
--test-way and --test-shot, by running batch statistics: no query has a part in another's answer.
Without Omniglot at hand the built-in glyphs stand in for it, and the results say so.

    python -m jaxfer.experiments.fewshot_omniglot --preset prototypical
    python -m jaxfer.experiments.fewshot_omniglot --preset matching
    python -m jaxfer.experiments.fewshot_omniglot --preset demo
    python -m jaxfer.experiments.fewshot_omniglot --preset all --out runs/fewshot_all

The first two train by the papers' recipes, the third takes a few minutes on two CPU cores, the last
trains every method at the same small budget. Published for prototypical networks are 98.8 and 96.0%
at 5- and 20-way 1-shot, 99.7 and 98.9% at 5-shot;
experiments/fewshot_omniglot/README.md has what was measured. --data takes a folder of your own
images too, one subfolder for each class. The run folder gets config.json, summary.json and
fewshot.png, and for each method a folder with its metrics, checkpoints and learning curve.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
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
    sample_labelled,
)
from jaxfer.evaluation import mean_interval
from jaxfer.experiments import episodic
from jaxfer.experiments.command_line import check_at_least, main
from jaxfer.experiments.few_shot import FewShotMethod, FewShotOptions, Problem, check_options
from jaxfer.experiments.few_shot_methods import chosen_methods, make_method
from jaxfer.experiments.few_shot_training import Trained, Validate, train_method
from jaxfer.experiments.maml_omniglot import Arrays, Judged, nearest_neighbour, summarise
from jaxfer.experiments.own_folder import (
    all_at_most,
    at_most,
    beside,
    cap_training,
    of_each,
    split_sizes,
)
from jaxfer.report import format_estimate, method_dots, table
from jaxfer.training.devices import Devices, configure_devices, replicate
from jaxfer.training.run_folder import hardware, open_run_folder, versions, write_summary
from jaxfer.typing import Key, Metrics, Task, UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(FewShotOptions):
    """The settings; the defaults are those of prototypical networks."""

    data: Annotated[str, tyro.conf.arg(metavar="auto|omniglot|tfds|glyphs|FOLDER")] = "auto"
    """Omniglot from the official zips (downloaded where there is a network), from a prepared TFDS,
    from a folder that holds either, a folder of your own with one subfolder for each class, or
    built-in generated glyphs. auto takes the first of these that is no folder of your own."""

    test_way: Annotated[tuple[int, ...], tyro.conf.arg(metavar="N...")] = (5, 20)
    """Classes in an episode of the test; validation goes by the first."""

    test_shot: Annotated[tuple[int, ...], tyro.conf.arg(metavar="N...")] = (1, 5)
    """Support images of each class in the test."""

    split: Literal["random", "alphabets"] = "random"
    """random: 1100 characters to train on, 100 to validate, 423 to test; 60, 20 and 20% of a
    folder of your own. alphabets: test on the 20 evaluation alphabets, validate on 5 background
    ones."""

    split_seed: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Seed of the split, apart from that of the run."""

    rotations: bool = True
    """Turn each character of an episode by a random multiple of 90 degrees, in training and test: 4
    times as many classes. --no-rotations leaves them upright."""


_PAPER = Config(steps=40_000, outer_schedule="cosine", validate_every=1000, checkpoint_every=1000)
PRESETS = {
    "prototypical": _PAPER,
    "matching": dataclasses.replace(_PAPER, method=("matching",), train_way=20),
    "demo": Config(
        method=("prototypical", "supervised"), steps=300, train_way=20, validate_every=150,
        checkpoint_every=150, validation_episodes=100, test_episodes=200, test_way=(5,),
    ),
    "all": Config(
        method=("all",), steps=2000, train_way=20, validate_every=500, test_way=(20, 5),
    ),
}  # fmt: skip
MAY_DIFFER = ("test_episodes", "test_seed", "chunk", "method")
SMOKE = {
    "steps": 4, "width": 8, "train_way": 6, "train_queries": 2, "queries": 2, "test_way": (4,),
    "test_shot": (1,), "validate_every": 2, "checkpoint_every": 2, "validation_episodes": 4,
    "test_episodes": 4,
}  # fmt: skip
BATCH = 256  # labelled images in a step of a method that trains on no episodes


class Protocol(NamedTuple):
    """Which episodes: of which part of the split, how many, of what shape, by which seed."""

    part: Literal["validation", "test"]
    episodes: int
    way: int
    shot: int
    queries: int
    seed: int
    rotations: bool

    def sample(self, arrays: Arrays, index: jax.Array | int) -> Task:
        """The episode of that index."""
        return sample_episode(
            jax.random.fold_in(jax.random.PRNGKey(self.seed), index),
            arrays.images,
            getattr(arrays.classes, self.part),
            way=self.way,
            shot=self.shot,
            queries=self.queries,
            rotations=self.rotations,
        )


def make_judge(
    answers: Mapping[str, meta.Answer], protocol: Protocol
) -> Callable[[Judged, Arrays, jax.Array], dict[str, Metrics]]:
    """Accuracy and loss of each way to answer, on one episode; and of comparing pixels."""

    def judge(judged: Judged, arrays: Arrays, index: jax.Array) -> dict[str, Metrics]:
        task = protocol.sample(arrays, index)
        found: dict[str, Metrics] = {}
        for name, answer in answers.items():
            logits, _ = answer(
                judged.params["params"], judged.state, task.support, task.query.x, train=False
            )
            loss, metrics = meta.classification_loss(logits, task.query.y)
            found[name] = {"loss": loss, **metrics}
        return found

    return judge


def make_sampler(config: Config, method: FewShotMethod) -> Callable[[Key, Arrays], Task]:
    """What a method sees in a step: an episode, or labelled images of all training classes."""

    def episode(key: Key, arrays: Arrays) -> Task:
        return sample_episode(
            key,
            arrays.images,
            jnp.asarray(arrays.classes.train),
            way=method.train_way,
            shot=config.shot,
            queries=config.train_queries,
            rotations=config.rotations,
        )

    def labelled(key: Key, arrays: Arrays) -> Task:
        return Task(
            *(
                sample_labelled(
                    half_key,
                    arrays.images,
                    jnp.asarray(arrays.classes.train),
                    count=max(1, BATCH // 2 // config.tasks),
                    rotations=config.rotations,
                )
                for half_key in jax.random.split(key)
            )
        )

    return episode if method.train_way else labelled


class Setting(NamedTuple):
    """What all methods of a run have in common."""

    config: Config
    devices: Devices
    arrays: Any
    classes: ClassSplit


Accuracies: TypeAlias = dict[tuple[str, int, int], np.ndarray]


def train_and_test(setting: Setting, name: str, path: Path) -> tuple[Trained, Accuracies]:
    """Trains one method; its accuracies by row, way and shot, each ``[runs, episodes]``."""
    config, devices, arrays, classes = setting
    turns = 4 if config.rotations else 1
    most_shots = max(config.shot, *config.test_shot)
    method = make_method(
        Problem(config, name, config.test_way[0], most_shots, turns * len(classes.train))
    )

    def evaluation(
        protocol: Protocol, answers: Mapping[str, meta.Answer]
    ) -> Callable[[Any], dict[str, Metrics]]:
        judge = make_judge(answers, protocol)
        evaluate = episodic.compile_episodes(judge, protocol.episodes, devices, chunk=config.chunk)
        return lambda run: evaluate(Judged(run.params, run.state), arrays)

    validation = Protocol(
        "validation", config.validation_episodes, config.test_way[0], config.test_shot[0],
        config.queries, config.test_seed + 1, config.rotations,
    )  # fmt: skip
    fresh = validation._replace(episodes=4 * validation.episodes, seed=config.test_seed + 2)
    judged_by, first_answer = next(iter(method.answers(validation.way).items()))

    def validator(protocol: Protocol) -> Validate:
        evaluate = evaluation(protocol, {judged_by: first_answer})
        return lambda run: {
            metric: jnp.mean(value, -1) for metric, value in evaluate(run)[judged_by].items()
        }

    trained = train_method(
        config, name, method, make_sampler(config, method), devices=devices, arrays=arrays,
        path=path, may_differ=MAY_DIFFER, chance=1 / config.test_way[0],
        validators=(validator(validation), validator(fresh)),
    )  # fmt: skip
    accuracy: Accuracies = {}
    for protocol in test_protocols(config):
        answers = method.answers(protocol.way)
        if answers:
            found = jax.device_get(evaluation(protocol, answers)(trained.judged))
            shape = protocol.way, protocol.shot
            accuracy |= {(row, *shape): metrics["accuracy"] for row, metrics in found.items()}
    if jax.process_index() == 0:
        named: dict[str, Any] = {
            f"{row} {way}-way {shot}-shot": found for (row, way, shot), found in accuracy.items()
        }
        np.savez(path / "test_accuracies.npz", **named)
    return trained, accuracy


def test_protocols(config: Config) -> list[Protocol]:
    """One for each shape of the test's episodes."""
    return [
        Protocol(
            "test", config.test_episodes, way, shot, config.queries, config.test_seed,
            config.rotations,
        )
        for way in config.test_way
        for shot in config.test_shot
    ]  # fmt: skip


def cap(config: Config, characters: CharacterSet) -> tuple[Config, tuple[int, int, int]]:
    """Episodes that a folder of one's own allows, saying so, and how many classes each part has."""
    count, examples = characters.images.shape[:2]
    sizes = split_sizes(count, least=min(config.test_way), flag="--test-way")
    shots = all_at_most("--test-shot", config.test_shot, examples - 1, of_each(examples))
    capped = dataclasses.replace(
        cap_training(config, classes=sizes[0], examples=examples),
        test_way=all_at_most(
            "--test-way", config.test_way, sizes[2], f"there are {sizes[2]} classes to test on"
        ),
        test_shot=shots,
        queries=at_most(
            "--queries", config.queries, examples - max(shots), beside(max(shots), examples)
        ),
    )
    return capped, sizes


def load(config: Config) -> tuple[Config, CharacterSet, ClassSplit]:
    """The characters and their split, and settings that go with them."""
    data_dir = None if config.data_dir is None else str(config.data_dir)
    characters = load_omniglot(config.data, data_dir, image_size=config.image_size)
    print(characters.origin)
    count = len(characters.images)
    if config.split == "alphabets":
        classes = alphabet_split(characters, seed=config.split_seed)
    elif characters.source == "folder":
        config, sizes = cap(config, characters)
        classes = random_class_split(count, sizes=sizes, seed=config.split_seed)
    else:
        classes = random_class_split(count, seed=config.split_seed)
    examples = characters.images.shape[1]
    asked = [(way, shot, classes.test) for way in config.test_way for shot in config.test_shot]
    asked.append((config.test_way[0], config.test_shot[0], classes.validation))
    for way, shot, part in asked:
        check_episode_shape(
            way=way, shot=shot, queries=config.queries, classes=len(part), examples=examples
        )
    if config.train_way > len(classes.train):
        raise UserError(
            f"--train-way is {config.train_way}, but there are only {len(classes.train)} classes "
            f"to train on; give at most {len(classes.train)}."
        )
    check_episode_shape(
        way=config.train_way, shot=config.shot, queries=config.train_queries,
        classes=len(classes.train), examples=examples,
    )  # fmt: skip
    return config, characters, classes


def compare_pixels(setting: Setting) -> Accuracies:
    """The baseline that learns nothing: the class of the support image with the nearest pixels."""
    config, devices, arrays, _ = setting
    found = {}
    for protocol in test_protocols(config):

        def judge(
            judged: Any, arrays: Arrays, index: jax.Array, protocol: Protocol = protocol
        ) -> jax.Array:
            task = protocol.sample(arrays, index)
            return jnp.mean(nearest_neighbour(task) == task.query.y) + 0 * judged

        evaluate = episodic.compile_episodes(judge, protocol.episodes, devices, chunk=16)
        accuracy = jax.device_get(evaluate(jnp.zeros(1), arrays))
        found["nearest pixels", protocol.way, protocol.shot] = accuracy
    return found


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
    check_at_least(config, split_seed=0)
    if not config.test_way or not config.test_shot:
        raise UserError("--test-way and --test-shot need at least one number each.")
    names = chosen_methods(config)
    devices = configure_devices(
        config.devices,
        divides=config.tasks,
        multihost=config.multihost,
        deterministic=config.deterministic,
    )
    config, characters, classes = load(config)
    arrays = replicate(Arrays(jnp.asarray(characters.images), classes), devices)
    setting = Setting(config, devices, arrays, classes)
    path = config.out or Path("runs/fewshot_omniglot")
    may_differ = (*MAY_DIFFER, *(["steps"] if config.outer_schedule == "constant" else []))
    with open_run_folder(path, config, resume=config.resume, may_differ=may_differ) as folder:
        accuracy = compare_pixels(setting)
        trained = {}
        for name in names:
            print(f"{name}:", flush=True)
            trained[name], found = train_and_test(setting, name, path / name)
            accuracy |= found
        print(results_table(config, accuracy, characters.source), flush=True)
        if jax.process_index() == 0:
            draw(config, accuracy, path)
        summary = {
            "test": {
                "protocol": {
                    "episodes": config.test_episodes,
                    "queries": config.queries,
                    "statistics": "running",
                },
                "results": [
                    {"method": row, "way": way, "shot": shot, **summarise(one)}
                    for (row, way, shot), one in accuracy.items()
                ],
                "runs": {name: one.runs(config) for name, one in trained.items()},
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
            "seconds": sum(one.seconds for one in trained.values()),
        }
        write_summary(folder, summary)
        print(f"In {path}: summary.json, fewshot.png, and a folder for each method.")
    return summary


def results_table(
    config: Config, accuracy: Mapping[tuple[str, int, int], np.ndarray], source: str
) -> str:
    """A row for each method, a column for each shape of the test's episodes."""
    shapes = [(way, shot) for way in config.test_way for shot in config.test_shot]

    def cell(row: str, way: int, shot: int) -> str | None:
        found = accuracy.get((row, way, shot))
        if found is None:
            return None
        return format_estimate(*mean_interval(found.mean(0)), percent=True)

    rows: Sequence[str] = list(dict.fromkeys(row for row, _, _ in accuracy))
    header = (
        f"accuracy %, {source}, {config.test_episodes} episodes",
        *(f"{way}-way {shot}-shot" for way, shot in shapes),
    )
    return table(header, [(row, *(cell(row, *shape) for shape in shapes)) for row in rows])


def draw(config: Config, accuracy: Accuracies, path: Path) -> None:
    """Every method's accuracies with their intervals."""
    results: dict[str, dict[str, tuple[float, float]]] = {}
    for (row, way, shot), found in accuracy.items():
        interval = mean_interval(found.mean(0))
        results.setdefault(row, {})[f"{way}-way {shot}-shot"] = interval
    title = f"{config.test_episodes} test episodes"
    method_dots(results, path / "fewshot.png", title=title)


if __name__ == "__main__":
    main(Config, run, PRESETS, smoke=SMOKE)
