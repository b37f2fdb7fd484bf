"""One-shot classification within an alphabet, as Lake et al. ask people: 20 characters, one look.

A network is trained on background alphabets alone, then meets 20 runs: 20 drawings of 20 characters
of one new alphabet, and 20 others by another hand, each to be matched alone. The error is the mean
over the 400 trials; people make 4.5%, the published simple convolutional network 13.5% from 30
alphabets and 23.2% from 5. With --lake-runs the published runs are read; without, runs of the same
protocol are made of the evaluation alphabets, and the results say so.

    python -m jaxfer.experiments.oneshot_lake --preset all --lake-runs all_runs.zip
    python -m jaxfer.experiments.oneshot_lake --preset five-a --lake-runs all_runs.zip
    python -m jaxfer.experiments.oneshot_lake --preset develop

The first two train five seeds, from all 30 background alphabets (an hour and a half of a CPU core)
and from one of the two published sets of 5 (half of that), and answer by ten views of each drawing;
the last holds 5 alphabets out of the 30 and makes its runs of them: choose settings by it.
experiments/oneshot_lake/README.md has what was measured. The run folder gets config.json,
summary.json, run_first.png, and for each method a folder with metrics, checkpoints and learning
curve.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from jaxfer.data import (
    CharacterSet,
    LakeRuns,
    check_episode_shape,
    load_omniglot,
    make_lake_runs,
    random_class_split,
    read_lake_runs,
    sample_episode,
    warp_images,
)
from jaxfer.evaluation import seed_interval
from jaxfer.experiments import episodic
from jaxfer.experiments.command_line import check_at_least, main
from jaxfer.experiments.few_shot import FewShotMethod, FewShotOptions, Problem, check_options
from jaxfer.experiments.few_shot_methods import chosen_methods, make_method
from jaxfer.experiments.few_shot_training import Trained, Validate, train_method
from jaxfer.experiments.lake_answers import answer_run
from jaxfer.experiments.maml_omniglot import Judged
from jaxfer.experiments.own_folder import cap_training, split_sizes
from jaxfer.report import episode_picture, format_estimate, table
from jaxfer.training.devices import Devices, configure_devices, first, replicate
from jaxfer.training.run_folder import hardware, open_run_folder, versions, write_summary
from jaxfer.typing import Key, Metrics, Task, UserError

PEOPLE = 0.045
PUBLISHED = {
    "five-a": ("Balinese", "Early_Aramaic", "Greek", "Korean", "Latin"),
    "five-b": ("Greek", "Japanese_(katakana)", "Latin", "Sanskrit", "Tagalog"),
}
"""The two published sets of five background alphabets."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(FewShotOptions):
    """The settings of a run."""

    data: Annotated[str, tyro.conf.arg(metavar="auto|omniglot|tfds|glyphs|FOLDER")] = "auto"
    """Omniglot from the official zips (downloaded where there is a network), from a prepared TFDS,
    from a folder that holds either, a folder of your own as GROUP/CLASS/IMAGE, or as CLASS/IMAGE,
    of which classes are held out and tested on in the place of alphabets, or built-in generated
    glyphs. auto takes the first of these that is no folder of your own."""

    lake_runs: Annotated[Path | None, tyro.conf.arg(metavar="DIR|ZIP")] = None
    """The published runs, all_runs.zip or a folder. By default runs of the same protocol are made
    of the alphabets that are tested."""

    alphabets: Literal["all", "five-a", "five-b"] = "all"
    """Background alphabets to train on: all 30, or one of the two published sets of 5."""

    held_out: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Background alphabets, of those chosen, to validate on instead of training on them; 0 trains
    on all and takes the last parameters."""

    test_on: Literal["evaluation", "held-out"] = "evaluation"
    """Which alphabets runs are made of: the 20 for evaluation, or those held out. Choose settings
    by held-out."""

    method: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME...")] = ("prototypical",)
    """Which methods to train, one after the other, for one table; all stands for every one that
    trains on episodes."""

    runs: Annotated[int, tyro.conf.arg(metavar="N")] = 5
    """How many to train side by side, with seeds SEED, SEED + 1, ...; results are then given with
    their mean and spread."""

    within: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.5
    """Share of the training episodes that are of one alphabet."""

    rotations: bool = False
    """Turn each character of a training episode by a random multiple of 90 degrees."""

    warp: Annotated[float, tyro.conf.arg(metavar="STRENGTH")] = 1.0
    """How far training images are turned, sheared, scaled and moved, in multiples of 10 degrees, 10
    degrees, 20% and 7%; 0 leaves them as they are."""

    elastic: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.015
    """Standard deviation of the elastic displacement of training images, as a share of their side;
    0 for none."""

    train_way: Annotated[int, tyro.conf.arg(metavar="N")] = 40
    """Characters in an episode to train on."""

    views: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """Versions of the drawings by whose mean a run is answered: as they are, and warped as in
    training. A finished run can be asked again with --resume."""

    test_runs: Annotated[int, tyro.conf.arg(metavar="N")] = 20
    """Runs to make, where none are read."""

    split_seed: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Seed of the choice of alphabets to hold out."""


_FULL = Config(
    steps=4500, train_way=60, train_queries=2, outer_rate=6e-3, outer_schedule="cosine",
    validate_every=500, checkpoint_every=500, views=10,
)  # fmt: skip
_FIVE = dataclasses.replace(_FULL, steps=2000, rotations=True, warp=1.5, elastic=0.02)
PRESETS = {
    "all": _FULL,
    "five-a": dataclasses.replace(_FIVE, alphabets="five-a"),
    "five-b": dataclasses.replace(_FIVE, alphabets="five-b"),
    "develop": dataclasses.replace(
        _FULL, held_out=5, test_on="held-out", runs=1, steps=500, test_runs=100, views=1
    ),
}
SMOKE = {
    "steps": 4, "runs": 2, "width": 8, "image_size": 28, "train_way": 6, "train_queries": 2,
    "test_runs": 2, "validate_every": 2, "checkpoint_every": 2, "validation_episodes": 2,
}  # fmt: skip
MAY_DIFFER = ("test_seed", "lake_runs", "test_runs", "views", "chunk", "method")
WAY = 20


class Arrays(NamedTuple):
    """What lies on every device.

    Attributes:
      images: all characters, uint8 ``[classes, examples, height, width]``.
      train: the classes to train on, int32 ``[c]``.
      groups: the alphabet of each of them, int32 ``[c]``.
      validation, test: uint8 ``[runs, 20, height, width]`` shown and asked, and the answers.
    """

    images: jax.Array
    train: jax.Array
    groups: jax.Array
    validation: tuple[jax.Array, jax.Array, jax.Array]
    test: tuple[jax.Array, jax.Array, jax.Array]


class Alphabets(NamedTuple):
    """Which characters are for what, int32 each."""

    train: np.ndarray
    held_out: np.ndarray
    evaluation: np.ndarray


def choose_alphabets(config: Config, characters: CharacterSet) -> Alphabets:
    """Splits the characters by alphabet, as the settings say."""
    of = np.array(characters.alphabets)
    background = np.unique(of[characters.background])
    evaluation = np.flatnonzero(~characters.background)
    if config.alphabets != "all":
        wanted = PUBLISHED[config.alphabets]
        missing = sorted(set(wanted) - set(background))
        if missing:
            raise UserError(
                f"--alphabets {config.alphabets} needs Omniglot's background alphabets; "
                f"{', '.join(missing)} are not in this data. Give --alphabets all."
            )
        background = np.array(wanted)
    one_group = characters.source == "folder" and len(background) == 1
    if not one_group and not 0 <= config.held_out < len(background):
        raise UserError(
            f"--held-out is {config.held_out}, and there are {len(background)} background "
            f"alphabets; give 0 to {len(background) - 1}."
        )
    if config.test_on == "held-out" and not config.held_out:
        raise UserError("--test-on held-out needs alphabets held out: give --held-out 5, say.")
    if one_group:
        return classes_of_one_group(config, len(of))
    if config.test_on == "evaluation" and not len(evaluation) and config.lake_runs is None:
        raise UserError(
            "These data have no evaluation alphabets to make runs of; give --lake-runs, or "
            "--held-out N --test-on held-out."
        )
    held_out = np.random.default_rng(config.split_seed).choice(
        background, config.held_out, replace=False
    )
    train = np.isin(of, np.setdiff1d(background, held_out))
    return Alphabets(
        *(
            np.sort(part).astype(np.int32)
            for part in (
                np.flatnonzero(train), np.flatnonzero(np.isin(of, held_out)), evaluation,
            )
        )
    )  # fmt: skip


def classes_of_one_group(config: Config, classes: int) -> Alphabets:
    """Classes in the place of alphabets, where a folder of one's own has no groups of them."""
    sizes = split_sizes(classes, least=2)
    split = random_class_split(classes, sizes=sizes, seed=config.split_seed)
    held_out = split.validation if config.held_out else split.validation[:0]
    evaluation = split.test if config.lake_runs is None else split.test[:0]
    every = np.arange(classes, dtype=np.int32)
    train = np.setdiff1d(every, np.concatenate([held_out, evaluation]))
    print(
        f"The classes lie in one group, so that classes stand in the place of alphabets: "
        f"{len(train)} to train on, {len(held_out)} held out, {len(evaluation)} to test on."
    )
    return Alphabets(train, held_out, evaluation)


def make_sampler(config: Config, method: FewShotMethod) -> Any:
    """Warped episodes, some of them of one alphabet."""

    def sample(key: Key, arrays: Arrays) -> Task:
        episode_key, *warp_keys = jax.random.split(key, 3)
        task = sample_episode(
            episode_key, arrays.images, arrays.train, way=method.train_way, shot=config.shot,
            queries=config.train_queries, rotations=config.rotations, groups=arrays.groups,
            within=config.within,
        )  # fmt: skip
        return Task(
            *(batch._replace(x=warped(config, key, batch.x))
              for key, batch in zip(warp_keys, task, strict=True))
        )  # fmt: skip

    return sample


def warped(config: Config, key: Key, x: jax.Array) -> jax.Array:
    """Images as the settings warp them; each alone."""
    if not config.warp and not config.elastic:
        return x
    return warp_images(
        key, x, rotation=10 * config.warp, shear=10 * config.warp, scale=0.2 * config.warp,
        shift=0.07 * config.warp, elastic=config.elastic,
    )  # fmt: skip


def make_ask(config: Config) -> Callable[..., jax.Array]:
    """How a run is asked: by as many views as the settings say."""
    return partial(answer_run, views=config.views, warp=partial(warped, config))


class Setting(NamedTuple):
    """What all methods of a run have in common."""

    config: Config
    devices: Devices
    arrays: Any
    classes: int
    test_way: int


def make_test(setting: Setting, method: FewShotMethod, part: Literal["validation", "test"]) -> Any:
    """The accuracy of each way to answer in each trial, ``[runs, lake runs, items]``."""
    config, devices, arrays, _, way = setting
    answers = method.answers(way)
    ask = make_ask(config)

    def judge(judged: Judged, arrays: Arrays, index: jax.Array) -> Metrics:
        shown, asked, right = (leaf[index] for leaf in getattr(arrays, part))
        found = {row: ask(answer, judged, shown, asked) for row, answer in answers.items()}
        return {row: (logits.argmax(-1) == right).astype(float) for row, logits in found.items()}

    count = len(first(arrays).test[0] if part == "test" else first(arrays).validation[0])
    evaluate = episodic.compile_episodes(judge, count, devices, chunk=1)
    return lambda judged: evaluate(Judged(judged.params, judged.state), arrays)


def train_and_test(
    setting: Setting, name: str, path: Path
) -> tuple[Trained, dict[str, np.ndarray]]:
    """Trains one method; whether it was right, by row ``[runs, lake runs, items]``."""
    config, devices, arrays, classes, way = setting
    method = make_method(Problem(config, name, way, config.shot, classes))
    validators = None
    if config.held_out:
        evaluate = make_test(setting, method, "validation")
        row = next(iter(method.answers(way)))

        def validate(run: Any) -> Metrics:
            return {"accuracy": jnp.mean(evaluate(run)[row], (1, 2))}

        both: tuple[Validate, Validate] = (validate, validate)
        validators = both
    trained = train_method(
        config, name, method, make_sampler(config, method), devices=devices, arrays=arrays,
        path=path, may_differ=MAY_DIFFER, chance=1 / way, validators=validators,
    )  # fmt: skip
    found = jax.device_get(make_test(setting, method, "test")(trained.judged))
    if jax.process_index() == 0:
        named: dict[str, Any] = found
        np.savez(path / "test_trials.npz", **named)
        draw(setting, method, trained, path)
    return trained, found


def draw(setting: Setting, method: FewShotMethod, trained: Trained, path: Path) -> None:
    """The first run, as the first seed answers it."""
    config, arrays = setting.config, first(setting.arrays)
    judged = Judged(*jax.tree.map(lambda leaf: leaf[0], tuple(trained.judged)))
    shown, asked, right = (leaf[0] for leaf in arrays.test)
    row, answer = next(iter(method.answers(setting.test_way).items()))
    logits = jax.jit(partial(make_ask(config), answer))(judged, shown, asked)
    episode_picture(
        shown, np.arange(len(shown)), asked, right, jnp.argmax(logits, -1), path / "run_first.png",
        title=f"{row}, first run",
    )  # fmt: skip


def make_runs(
    config: Config, characters: CharacterSet, chosen: Alphabets
) -> tuple[LakeRuns, LakeRuns]:
    """The runs to validate by and to test on; the former are the latter where none are held out."""
    if config.lake_runs is not None:
        test = read_lake_runs(config.lake_runs, image_size=config.image_size)
    else:
        pool = chosen.evaluation if config.test_on == "evaluation" else chosen.held_out
        test = _made(config, characters, pool, config.test_seed)
    if not config.held_out:
        return test, test
    return _made(config, characters, chosen.held_out, config.test_seed + 1), test


def _made(config: Config, characters: CharacterSet, pool: np.ndarray, seed: int) -> LakeRuns:
    _, counts = np.unique(np.array(characters.alphabets)[pool], return_counts=True)
    # Made-up or own alphabets may be smaller than Omniglot's.
    way = int(min(WAY, counts.max()))
    if way < 2:
        raise UserError(
            f"The {len(counts)} groups to make runs of have one class each, and a run needs two: "
            "put classes that are alike into one folder, as GROUP/CLASS/IMAGE."
        )
    return make_lake_runs(characters, pool, runs=config.test_runs, way=way, seed=seed)


def check_ways(config: Config, names: Sequence[str], test_way: int, classes: int) -> None:
    """One sentence about a network made for more classes than there are to train on."""
    if test_way <= classes:
        return
    for name in names:
        way = make_method(Problem(config, name, test_way, config.shot, classes)).train_way
        if way > classes:
            raise UserError(
                f"--method {name} trains on episodes of {way} classes, as many as a run has, but "
                f"there are only {classes} to train on; leave it out."
            )


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
    check_at_least(
        config, split_seed=0, held_out=0, warp=0, elastic=0, within=0, test_runs=1, views=1
    )
    if config.warp > 4:
        raise UserError(f"--warp is {config.warp}; give at most 4, which shears by 40 degrees.")
    if config.elastic >= 1:
        raise UserError(f"--elastic is {config.elastic}; give a share below 1, such as 0.015.")
    if config.within > 1:
        raise UserError(f"--within is {config.within}; give a share from 0 to 1.")
    names = chosen_methods(config, only_on_episodes=True)
    devices = configure_devices(
        config.devices,
        divides=config.tasks,
        multihost=config.multihost,
        deterministic=config.deterministic,
    )
    data_dir = None if config.data_dir is None else str(config.data_dir)
    characters = load_omniglot(config.data, data_dir, image_size=config.image_size)
    print(characters.origin)
    chosen = choose_alphabets(config, characters)
    count, examples = len(chosen.train), characters.images.shape[1]
    if characters.source == "folder":
        config = cap_training(config, classes=count, examples=examples)
    if config.train_way > count:
        raise UserError(
            f"--train-way is {config.train_way}, but there are only {count} characters to train "
            f"on; give at most {count}."
        )
    check_episode_shape(
        way=config.train_way, shot=config.shot, queries=config.train_queries, classes=count,
        examples=examples,
    )  # fmt: skip
    validation, test = make_runs(config, characters, chosen)
    print(test.origin)
    test_way, turns = test.training.shape[1], 4 if config.rotations else 1
    check_ways(config, names, test_way, count)
    _, groups = np.unique(np.array(characters.alphabets)[chosen.train], return_inverse=True)
    arrays = Arrays(
        jnp.asarray(characters.images),
        jnp.asarray(chosen.train),
        jnp.asarray(groups.astype(np.int32)),
        validation=as_arrays(validation),
        test=as_arrays(test),
    )
    setting = Setting(config, devices, replicate(arrays, devices), turns * count, test_way)
    path = config.out or Path("runs/oneshot_lake")
    may_differ = (*MAY_DIFFER, *(["steps"] if config.outer_schedule == "constant" else []))
    with open_run_folder(path, config, resume=config.resume, may_differ=may_differ) as folder:
        right = {"nearest pixels": compare_pixels(test)}
        trained = {}
        for name in names:
            print(f"{name}:", flush=True)
            trained[name], found = train_and_test(setting, name, path / name)
            right |= found
        print(results_table(config, right, test), flush=True)
        summary = {
            "test": {
                "protocol": {
                    "runs": len(test.names),
                    "way": test.training.shape[1],
                    "trials": test.answers.size,
                    "statistics": "running",
                },
                "results": [{"method": row, **summarise(found)} for row, found in right.items()],
                "runs": {name: one.runs(config) for name, one in trained.items()},
            },
            "data": {
                "source": characters.source,
                "origin": characters.origin,
                "checksum": characters.checksum,
                "runs": test.origin,
                "runs_checksum": test.checksum,
                "characters": {part: len(found) for part, found in chosen._asdict().items()},
            },
            "config": config,
            "versions": versions(),
            "hardware": hardware(devices),
            "seconds": sum(one.seconds for one in trained.values()),
        }
        write_summary(folder, summary)
        print(f"In {path}: summary.json, and a folder for each method.")
    return summary


def as_arrays(runs: LakeRuns) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What is shown, what is asked, and the answers."""
    return jnp.asarray(runs.training), jnp.asarray(runs.test), jnp.asarray(runs.answers)


def compare_pixels(runs: LakeRuns) -> np.ndarray:
    """Whether the drawing with the nearest pixels is right, ``[1, lake runs, items]``."""
    shown, asked = (
        images.reshape(*images.shape[:2], -1).astype(np.float32)
        for images in (runs.training, runs.test)
    )
    distances = np.square(asked[:, :, None] - shown[:, None]).sum(-1)
    return (distances.argmin(-1) == runs.answers)[None].astype(float)


def summarise(right: np.ndarray) -> dict[str, Any]:
    """The error over all trials of each seed, its mean and its interval over seeds."""
    errors = 1 - right.mean((1, 2))
    interval = seed_interval(errors)
    return {"error": interval.mean, "ci95": interval.ci95, "errors": errors.tolist()}


def results_table(config: Config, right: Mapping[str, np.ndarray], runs: LakeRuns) -> str:
    """The error of each method beside those of people."""
    rows = []
    for name, found in right.items():
        result = summarise(found)
        ci95 = result["ci95"] if len(found) > 1 else None
        rows.append((name, format_estimate(result["error"], ci95, percent=True)))
    rows.append(("people, on the published runs", f"{100 * PEOPLE:.1f}"))
    head = f"{runs.training.shape[1]}-way one-shot, {len(runs.names)} runs, {config.runs} seeds"
    return table((head, "error %"), rows)


if __name__ == "__main__":
    main(Config, run, PRESETS, smoke=SMOKE)
