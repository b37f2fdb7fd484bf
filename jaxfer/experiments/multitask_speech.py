"""Hear which digit is said and who says it: two tasks, on one encoder or on two.

Both are learned from the same recordings, each task alone by a network of its own (alone), or both
by one encoder of spectrograms with two heads, whose losses are summed (sum), weighed by trained
uncertainties (uncertainty), or whose gradients are kept from working against each other (pcgrad).
Each method is trained with all its seeds; the step that is reported is picked on a part of the
training set. The test is the official one: of each speaker and digit the recordings 0 to 4.

    python -m jaxfer.experiments.multitask_speech
    python -m jaxfer.experiments.multitask_speech --data-dir DIR
    python -m jaxfer.experiments.multitask_speech --preset few --data-dir DIR

DIR holds the Free Spoken Digit Dataset, as its recordings/7_theo_12.wav or as an npz. Without it
six synthetic voices say the digits, which the output announces. On all recordings the default takes
about six minutes. few trains on 5 recordings of each speaker and digit.
experiments/multitask_speech/README.md has what was measured: one encoder trains half as many
numbers, and after 600 steps on all recordings it is worse at digits than two: 93.6 (sum), 87.9
(uncertainty) and 93.1 (pcgrad) beside 97.1%. The run folder gets config.json, summary.json,
methods.png, confusion_digit.png, confusion_speaker.png, for each network a folder with its
metrics.jsonl, learning_curve.png, TensorBoard events and checkpoints, and model/digit and
model/speaker, which predict:

    import jaxfer
    print(jaxfer.predict("runs/multitask_speech/model/speaker", ["seven.wav"]).labels)
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from jax.flatten_util import ravel_pytree

from jaxfer.adapters import count_parameters
from jaxfer.data import Domain, blank_stripes
from jaxfer.evaluation import accuracy
from jaxfer.experiments import uda_speech
from jaxfer.experiments.command_line import TrainingOptions, check_at_least, main
from jaxfer.experiments.multitask_network import Examples, Heard, Parts, make_network
from jaxfer.experiments.multitask_report import Trained, report, save
from jaxfer.losses import project_conflicting, uncertainty_weighted
from jaxfer.models import Network
from jaxfer.report import learning_curve
from jaxfer.training import (
    Schedule,
    TrainState,
    configure_devices,
    fit,
    hardware,
    init_train_state,
    open_run_folder,
    replicate,
    versions,
    write_summary,
)
from jaxfer.training.devices import Devices, Step
from jaxfer.typing import Key, Metrics, PyTree, UserError

Method = Literal["alone", "sum", "uncertainty", "pcgrad"]
TASKS = ("digit", "speaker")
HELD_OUT = 1000  # recordings of the training set that validate, at most a fifth of it


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainingOptions):
    """The settings of a run."""

    data: Annotated[str, tyro.conf.arg(metavar="auto|formants|FOLDER")] = "auto"
    """Where the recordings are; auto looks in --data-dir, JAXFER_DATA_DIR and the cache, and takes
    synthetic voices (formants) where there are none."""

    methods: Annotated[tuple[Method, ...], tyro.conf.arg(metavar="NAME...")] = (
        "alone", "sum", "uncertainty", "pcgrad",
    )  # fmt: skip
    """What to compare, one after the other: alone (a network for each task), sum, uncertainty and
    pcgrad (one encoder for both)."""

    few: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Train on that many recordings of each speaker and digit alone, those that validate included,
    as where labels are dear."""

    takes: Annotated[int, tyro.conf.arg(metavar="N")] = 15
    """Of synthetic voices: recordings of each digit, a fifth of them for the test."""

    mels: Annotated[int, tyro.conf.arg(metavar="N")] = 40
    """Bands of a spectrogram."""

    features: Annotated[int, tyro.conf.arg(metavar="N")] = 128
    """Outputs of the encoder."""

    masks: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """Stripes in time, and as many in frequency, that are blanked in training; 0 for none."""

    runs: Annotated[int, tyro.conf.arg(metavar="N")] = 3
    """How many runs of each method, with seeds SEED, SEED + 1, ...; results are given with their
    mean and spread."""

    steps: Annotated[int, tyro.conf.arg(metavar="N")] = 600
    """How many optimiser steps to train each network, those before a --resume included."""

    batch: Annotated[int, tyro.conf.arg(metavar="N")] = 32
    """Recordings in a step."""

    rate: Annotated[float, tyro.conf.arg(metavar="RATE")] = 1e-3
    """Learning rate of Adam; it falls to a hundredth along a cosine over --steps."""

    variance_rate: Annotated[float, tyro.conf.arg(metavar="RATE")] = 1e-2
    """The same for the logarithms of the variances of uncertainty, which begin at 0 and have far to
    go: the best variance is twice the loss."""

    validate_every: Annotated[int, tyro.conf.arg(metavar="N")] = 50
    """Steps between validations, of which the best is kept: by the mean accuracy of the tasks that
    a network learns."""

    checkpoint_every: Annotated[int, tyro.conf.arg(metavar="N")] = 500
    """Steps between checkpoints."""


PRESETS = {"few": Config(few=5, steps=300)}
SMOKE = {
    "data": "formants", "takes": 2, "mels": 16, "features": 8, "steps": 4, "runs": 2, "batch": 8,
    "validate_every": 2, "checkpoint_every": 2, "methods": ("alone", "uncertainty", "pcgrad"),
}  # fmt: skip


def split(config: Config, domains: Mapping[str, Domain]) -> Parts:
    """The recordings of all speakers, some of the training set held out; the seed draws which."""
    draw = np.random.default_rng(config.seed)
    kept, test = [], []
    for number, domain in enumerate(domains.values()):
        x, y = domain.train
        places = draw.permutation(len(y))
        if config.few is not None:
            of_each = [places[y[places] == digit][: config.few] for digit in np.unique(y)]
            places = draw.permutation(np.concatenate(of_each))
        kept.append((x[places], y[places], np.full(len(places), number)))
        test.append((*domain.test, np.full(len(domain.test.y), number)))

    def examples(arrays: Sequence[np.ndarray], places: np.ndarray | slice) -> Examples:
        x, digit, speaker = (jnp.asarray(array[places]) for array in arrays)
        return Examples(x, {"digit": digit, "speaker": speaker})

    train, tested = (
        [np.concatenate(part) for part in zip(*some, strict=True)] for some in (kept, test)
    )
    order = draw.permutation(len(train[0]))
    count = min(HELD_OUT, max(1, len(order) // 5))
    return Parts(
        examples(train, order[count:]), examples(train, order[:count]),
        examples(tested, slice(None)),
    )  # fmt: skip


def make_init(method: Method, network: Network, tasks: Sequence[str]) -> Callable[[Key], Any]:
    """The network's parameters, and for uncertainty the logarithm of each task's variance."""

    def init(key: Key) -> tuple[PyTree, PyTree]:
        params, state = network.init(key)
        weighted = {"log_variances": jnp.zeros(len(tasks))} if method == "uncertainty" else {}
        return {"network": params, **weighted}, state

    return init


def make_optimiser(config: Config) -> optax.GradientTransformation:
    """Adam along a cosine, at a rate of their own for variances, if there are any."""
    faster = optax.scale(config.variance_rate / config.rate)
    return optax.chain(
        optax.adam(optax.cosine_decay_schedule(config.rate, config.steps, 0.01)),
        optax.masked(faster, lambda params: {name: name == "log_variances" for name in params}),
    )


def apart(gradients: Sequence[PyTree], key: Key) -> tuple[PyTree, Metrics]:
    """PCGrad on the encoder, which tasks share; a head's gradient is that of its task.

    Also whether the gradients of two tasks on the encoder conflicted, and their cosine.
    """
    shared = [gradient["network"]["encoder"] for gradient in gradients]
    summed: Any = jax.tree.map(lambda *leaves: sum(leaves), *gradients)
    summed = {"network": {**summed["network"], "encoder": project_conflicting(shared, key)}}
    first, second = (ravel_pytree(gradient)[0] for gradient in shared)
    cosine = first @ second / (jnp.linalg.norm(first) * jnp.linalg.norm(second) + 1e-12)
    return summed, {"conflict": (cosine < 0).astype(jnp.float32), "cosine": cosine}


def make_step(
    config: Config,
    method: Method,
    heard: Heard,
    optimiser: optax.GradientTransformation,
    devices: Devices,
) -> Step:
    """One step of one run: a batch by index, the tasks' losses, one gradient or one of each."""
    tasks, network = heard.tasks, heard.network
    share = config.batch // len(devices)

    def step(run: TrainState, parts: Parts) -> tuple[TrainState, Metrics]:
        keys = jax.random.split(jax.random.fold_in(run.key, run.step), 4)
        indices = jax.random.randint(keys[0], (config.batch,), 0, len(parts.train.x))
        place = jax.lax.axis_index("batch")
        indices = jax.lax.dynamic_slice_in_dim(indices, place * share, share)
        x, y = jax.tree.map(lambda leaf: leaf[indices], tuple(parts.train))
        if config.masks:
            mask_key = jax.random.fold_in(keys[1], place)
            x = blank_stripes(x, mask_key, masks=config.masks)

        def losses_of(params: PyTree) -> tuple[jax.Array, tuple[PyTree, Metrics]]:
            key = jax.random.fold_in(keys[2], place)
            logits, state = network.apply(params["network"], run.state, x, train=True, key=key)
            losses = [
                optax.softmax_cross_entropy_with_integer_labels(logits[task], y[task]).mean()
                for task in tasks
            ]
            right = {f"{task}_accuracy": accuracy(logits[task], y[task]) for task in tasks}
            return jnp.stack(losses), (state, right)

        def whole(params: PyTree) -> tuple[jax.Array, tuple[jax.Array, PyTree, Metrics]]:
            losses, (state, right) = losses_of(params)
            if method == "uncertainty":
                return uncertainty_weighted(losses, params["log_variances"]), (losses, state, right)
            return jnp.sum(losses), (losses, state, right)

        shown: Metrics = {}
        if method == "pcgrad":
            losses, pull, (state, right) = jax.vjp(losses_of, run.params, has_aux=True)
            each = [pull(row)[0] for row in jnp.eye(len(tasks))]
            gradient, shown = apart(jax.lax.pmean(each, "batch"), keys[3])
        else:
            gradient, (losses, state, right) = jax.grad(whole, has_aux=True)(run.params)
            gradient = jax.lax.pmean(gradient, "batch")
        losses, state, right = jax.lax.pmean((losses, state, right), "batch")
        updates, opt_state = optimiser.update(gradient, run.opt_state, run.params)
        params = optax.apply_updates(run.params, updates)
        if method == "uncertainty":
            variances = jnp.exp(params["log_variances"])
            shown = {f"{task}_variance": variances[i] for i, task in enumerate(tasks)}
        return run._replace(params=params, state=state, opt_state=opt_state), {
            "loss": jnp.sum(losses),
            **{f"{task}_loss": losses[i] for i, task in enumerate(tasks)},
            **right,
            **shown,
        }

    return step


def train(
    config: Config, method: Method, heard: Heard, parts: Parts, *, path: Path, devices: Devices
) -> Trained:
    """Trains a network with all its seeds, and judges what validation picked.

    ``parts`` lie on the devices.
    """
    tasks = heard.tasks
    optimiser = make_optimiser(config)
    start = init_train_state(
        make_init(method, heard.network, tasks), optimiser, seeds=config.seeds
    )  # fmt: skip
    with open_run_folder(
        path, {**vars(config), "method": method, "tasks": list(tasks)},
        resume=(path / "config.json").exists(), may_differ=("methods",),
    ) as folder:  # fmt: skip
        fitted = fit(
            make_step(config, method, heard, optimiser, devices),
            start,
            parts,
            folder=folder,
            schedule=Schedule(
                steps=config.steps,
                steps_per_dispatch=min(10, config.validate_every, config.checkpoint_every),
                log_every=config.validate_every,
                validate_every=config.validate_every,
                checkpoint_every=config.checkpoint_every,
            ),
            seeds=config.seeds,
            tasks_per_step=config.batch,
            unit="recordings",
            devices=devices,
            runs_in_turn=devices[0].platform == "cpu",
            validate=lambda run: heard.validate((run.params["network"], run.state), parts),
        )
        if jax.process_index() == 0:
            learning_curve(
                path / "metrics.jsonl", path / "learning_curve.png", step_name="step",
                names=("loss", *(f"{task}_accuracy" for task in tasks)),
                title=f"{method}: {' and '.join(tasks)}",
            )  # fmt: skip
    best = fitted.train_state.best
    return Trained(
        logits=jax.device_get(heard.test((best.params["network"], best.state), parts)),
        params=jax.device_get(best.params),
        state=jax.device_get(best.state),
        validation=np.asarray(best.score),
        steps=np.asarray(best.step),
        parameters=count_parameters(start.params) // len(config.seeds),
        seconds=fitted.seconds,
        metrics=path / "metrics.jsonl",
    )


def run(config: Config) -> dict[str, Any]:
    """Trains every method, judges it and writes everything into the run folder.

    Args:
      config: the settings.

    Returns:
      What ``summary.json`` holds.

    Raises:
      UserError: a setting, a file or the run folder is not as it must be.
    """
    check_at_least(
        config, takes=2, mels=8, features=1, masks=0, batch=1, few=2, rate=1e-9, variance_rate=0,
        validate_every=1, checkpoint_every=1,
    )  # fmt: skip
    if not config.methods:
        raise UserError("--methods names none; there are: alone, sum, uncertainty, pcgrad.")
    if config.mels > uda_speech.MOST_MELS:
        raise UserError(f"--mels is {config.mels}; give at most {uda_speech.MOST_MELS}.")
    devices = configure_devices(
        config.devices, divides=config.batch, unit="recordings", multihost=config.multihost,
        deterministic=config.deterministic,
    )  # fmt: skip
    voices = uda_speech.read_speakers(
        uda_speech.Config(data=config.data, data_dir=config.data_dir, takes=config.takes)
    )
    domains = {name: uda_speech.in_log_mel(each, config.mels) for name, each in voices.items()}
    first = next(iter(domains.values()))
    origin = first.origin.replace(first.name, ", ".join(domains), 1)
    classes = {"digit": first.classes, "speaker": tuple(domains)}
    parts = split(config, domains)
    counts = ", ".join(f"{len(part.x)} {name}" for name, part in parts._asdict().items())
    print(f"{origin} Recordings: {counts}.")
    path = config.out or Path("runs/multitask_speech")
    found: dict[str, list[Trained]] = {}
    on_devices, networks = replicate(parts, devices), {}
    with open_run_folder(path, config, resume=config.resume, may_differ=("methods",)) as folder:
        for method in dict.fromkeys(config.methods):
            places: dict[Path, tuple[str, ...]] = {path / method: TASKS}
            if method == "alone":
                places = {path / method / task: (task,) for task in TASKS}
            found[method] = []
            for place, tasks in places.items():
                print(f"\n{' '.join(place.relative_to(path).parts)}", flush=True)
                if tasks not in networks:
                    networks[tasks] = make_network(
                        tasks,
                        classes,
                        mels=config.mels,
                        features=config.features,
                        devices=devices,
                    )
                heard = networks[tasks]
                found[method].append(
                    train(config, method, heard, on_devices, path=place, devices=devices)
                )
        truth = {task: np.asarray(labels) for task, labels in parts.test.y.items()}
        chosen = save(
            found, classes, folder.path / "model",
            mels=config.mels, features=config.features, samples=voices[first.name].train.x.shape[1],
        )  # fmt: skip
        summary = {
            **report(found, truth, classes, folder.path),
            "saved": chosen,
            "data": {
                "origin": origin,
                "checksum": {name: domain.checksum for name, domain in domains.items()},
                "recordings": {name: len(part.x) for name, part in parts._asdict().items()},
            },
            "config": config,
            "versions": versions(),
            "hardware": hardware(devices),
            "seconds": sum(each.seconds for some in found.values() for each in some),
        }
        print(f"The models of {chosen}, which validated best, are in {folder.path / 'model'}.")
        write_summary(folder, summary)
    return summary


if __name__ == "__main__":
    main(Config, run, PRESETS, smoke=SMOKE)
