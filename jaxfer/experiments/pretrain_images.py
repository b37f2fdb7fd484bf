"""Pre-train an encoder of images: with labels, by rotations, or by two views of each (SimCLR).

    python -m jaxfer.experiments.pretrain_images
    python -m jaxfer.experiments.pretrain_images --method simclr --data FOLDER --network resnet18
    python -m jaxfer.experiments.pretrain_images --method rotation --data cifar10 --data-dir DIR
    python -m jaxfer.experiments.pretrain_images --data tfds:mnist --data-dir DIR

FOLDER has a subfolder for each class, which rotation and simclr do not look at; tfds:NAME is any
set of labelled images that TFDS has prepared in DIR, cifar10 is that or its official binary files.
Without data, characters are generated, which needs no network. The default takes some minutes on
two cores. The run folder gets config.json, summary.json, metrics.jsonl, learning_curve.png,
TensorBoard events, checkpoints/ and model/, whose model.safetensors finetune_images and
finetune_speech start from by --model.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

from jaxfer.data import Domain
from jaxfer.experiments.command_line import TrainingOptions, check_at_least, main
from jaxfer.experiments.image_data import (
    characters_domain,
    random_view,
    read_images,
    shift_images,
)
from jaxfer.inference import save_model
from jaxfer.losses import nt_xent
from jaxfer.models import ImageClassifier, from_nnx
from jaxfer.models.image_networks import image_input, image_network
from jaxfer.report import learning_curve
from jaxfer.training import (
    Schedule,
    TrainState,
    compile_evaluation,
    configure_devices,
    fit,
    hardware,
    init_train_state,
    open_run_folder,
    replicate,
    versions,
    write_summary,
)
from jaxfer.typing import Metrics, PyTree, UserError

VALIDATION = 512  # held-out images that a validation looks at


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainingOptions):
    """The settings of a run; the defaults are for generated characters."""

    method: Literal["supervised", "rotation", "simclr"] = "supervised"
    """What is learned: the labels, by how many quarter turns an image was rotated, or which two
    views are of the same image."""

    data: Annotated[str, tyro.conf.arg(metavar="characters|digits|cifar10|tfds:NAME|FOLDER")] = (
        "characters"
    )
    """The images: a folder of classes, a name, or a data set that TFDS has prepared."""

    network: Annotated[str, tyro.conf.arg(metavar="NAME")] = "small"
    """The encoder: small, resnet18, resnet34, resnet50, mobilenet, vit-s or vit-b."""

    image_size: Annotated[int, tyro.conf.arg(metavar="N")] = 28
    """Side of the images, in pixels."""

    color: bool = False
    """Three channels instead of one."""

    batch: Annotated[int, tyro.conf.arg(metavar="N")] = 64
    """Images in a step."""

    rate: Annotated[float, tyro.conf.arg(metavar="RATE")] = 1e-3
    """Learning rate of AdamW, after a warm-up along a cosine to 0."""

    temperature: float = 0.5
    """Of simclr's loss."""

    skip_bad: bool = False
    """Leave out images that cannot be read."""

    validate_every: Annotated[int, tyro.conf.arg(metavar="N")] = 200
    """Steps between validations."""

    checkpoint_every: Annotated[int, tyro.conf.arg(metavar="N")] = 500
    """Steps between checkpoints."""


PRESETS: dict[str, Config] = {
    "simclr": Config(method="simclr", batch=128),
    "rotation": Config(method="rotation"),
}
SMOKE = {"steps": 4, "batch": 8, "validate_every": 2, "checkpoint_every": 2, "image_size": 16}

Views = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def read_data(config: Config) -> Domain:
    """The images, of one channel or three."""
    if config.data == "characters":
        domain = characters_domain(
            image_size=config.image_size, small=config.smoke, seed=config.seed
        )  # fmt: skip
    else:
        domain = read_images(
            config.data, config.data_dir, image_size=config.image_size, color=config.color,
            skip_bad=config.skip_bad, seed=config.seed,
        )  # fmt: skip
    if domain.train.x.shape[-1] == 3 and not config.color:
        raise UserError(f"{domain.name} is in color; add --color.")
    return domain


def make_loss(config: Config, classes: int) -> tuple[int, Callable[..., tuple[Any, jax.Array]]]:
    """Outputs of the head, and ``loss(apply, x, y, key) -> (loss, accuracy)`` of uint8 images."""
    name = config.method

    def inputs(x: jax.Array) -> jax.Array:
        return image_input(x, color=config.color)

    def supervised(apply: Any, x: jax.Array, y: jax.Array, key: jax.Array | None) -> Any:
        if key is not None:
            x = shift_images(x, key, pixels=config.image_size // 10)
        logits = apply(inputs(x)).logits
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
        return loss, jnp.mean(jnp.argmax(logits, -1) == y)

    def rotation(apply: Any, x: jax.Array, y: jax.Array, key: jax.Array | None) -> Any:
        turns = jnp.arange(len(x)) % 4
        turned = jnp.stack([jnp.rot90(x, k, axes=(1, 2)) for k in range(4)])
        return supervised(apply, turned[turns, jnp.arange(len(x))], turns, key)

    def simclr(apply: Any, x: jax.Array, y: jax.Array, key: jax.Array | None) -> Any:
        keys = jax.random.split(jax.random.key(0) if key is None else key)
        views = jnp.concatenate([random_view(inputs(x), each) for each in keys])
        first, second = jnp.split(apply(views).logits, 2)
        loss = nt_xent(first, second, temperature=config.temperature)
        unit = [v / (jnp.linalg.norm(v, axis=1, keepdims=True) + 1e-6) for v in (first, second)]
        found = jnp.argmax(unit[0] @ unit[1].T, axis=1) == jnp.arange(len(first))
        return loss, jnp.mean(found)

    outputs = {"supervised": classes, "rotation": 4, "simclr": 128}
    return outputs[name], {"supervised": supervised, "rotation": rotation, "simclr": simclr}[name]


def run(config: Config) -> dict[str, Any]:
    """Pre-trains, and writes the encoder and everything else into the run folder.

    Args:
      config: the settings.

    Returns:
      What ``summary.json`` holds.

    Raises:
      UserError: a setting, a file or the run folder is not as it must be.
    """
    check_at_least(config, batch=4, rate=0, temperature=1e-3, image_size=8, validate_every=1)
    devices = configure_devices(
        config.devices, divides=config.batch, unit="images", multihost=config.multihost,
        deterministic=config.deterministic,
    )  # fmt: skip
    domain = read_data(config)
    print(domain.origin)
    described = image_network(config.network, image_size=config.image_size, color=config.color)
    outputs, loss_of = make_loss(config, len(domain.classes))
    network = from_nnx(
        lambda rngs: ImageClassifier(
            described.build(rngs), features=described.features, classes=outputs, rngs=rngs
        )
    )
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, config.rate, max(1, config.steps // 20), max(2, config.steps)
    )
    optimiser = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=1e-4)
    )  # fmt: skip
    share = config.batch // len(devices)

    def step(state: TrainState, images: tuple[jax.Array, ...]) -> tuple[TrainState, Metrics]:
        x, y, *_ = images
        index_key, view_key = jax.random.split(jax.random.fold_in(state.key, state.step))
        places = jax.random.randint(index_key, (config.batch,), 0, len(x))
        device = jax.lax.axis_index("batch")
        places = jax.lax.dynamic_slice_in_dim(places, device * share, share)
        view_key = jax.random.fold_in(view_key, device)

        def loss_fn(params: Any) -> Any:
            new = state.state

            def apply(batch: jax.Array) -> Any:
                nonlocal new
                output, new = network.apply(params, state.state, batch, train=True, key=view_key)
                return output

            loss, right = loss_of(apply, x[places], y[places], view_key)
            return loss, (new, right)

        (loss, (new, right)), gradient = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        gradient, new, loss, right = jax.lax.pmean((gradient, new, loss, right), "batch")
        updates, opt_state = optimiser.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        found = state._replace(params=params, state=new, opt_state=opt_state)
        return found, {"loss": loss, "accuracy": right}

    def judge(state: tuple[PyTree, PyTree], images: tuple[jax.Array, ...]) -> Metrics:
        *_, x, y = images

        def apply(batch: jax.Array) -> Any:
            return network.apply(*state, batch, train=False)[0]

        loss, right = loss_of(apply, x, y, None)
        return {"loss": loss, "accuracy": right, "score": -loss}

    order = np.random.default_rng(config.seed).permutation(len(domain.test.y))[:VALIDATION]
    data = (*domain.train, domain.test.x[order], domain.test.y[order])
    on_devices = replicate(tuple(jnp.asarray(part) for part in data), devices)
    in_turn = devices[0].platform == "cpu"
    validate = compile_evaluation(judge, devices=devices, runs_in_turn=in_turn)
    path = config.out or Path("runs/pretrain_images")
    with open_run_folder(path, config, resume=config.resume, may_differ=("steps",)) as folder:
        fitted = fit(
            step,
            init_train_state(network.init, optimiser, seeds=config.seeds),
            on_devices,
            folder=folder,
            schedule=Schedule(
                steps=config.steps,
                steps_per_dispatch=min(10, config.validate_every, config.checkpoint_every),
                validate_every=config.validate_every,
                checkpoint_every=config.checkpoint_every,
            ),
            seeds=config.seeds,
            tasks_per_step=config.batch,
            unit="images",
            devices=devices,
            runs_in_turn=in_turn,
            validate=lambda state: validate((state.params, state.state), on_devices),
            score="score",
        )
        if jax.process_index() == 0:
            learning_curve(
                path / "metrics.jsonl", path / "learning_curve.png", title=config.method,
                step_name="step",
            )  # fmt: skip
        best = fitted.train_state.best
        chosen = int(np.argmax(np.asarray(best.score)))
        params, state = jax.tree.map(
            lambda leaf: np.asarray(leaf[chosen]), (best.params, best.state)
        )  # fmt: skip
        names = domain.classes if config.method == "supervised" else tuple(map(str, range(outputs)))
        save_model(
            path / "model", kind="image", classes=names, params=params, state=state,
            settings={"network": config.network, "image_size": config.image_size,
                      "color": config.color, **described.numerics()},
        )  # fmt: skip
        summary = {
            "validation_loss": (-np.asarray(best.score)).tolist(),
            "picked_step": np.asarray(best.step).tolist(),
            "data": {"source": domain.name, "origin": domain.origin, "checksum": domain.checksum},
            "config": config,
            "versions": versions(),
            "hardware": hardware(devices),
            "seconds": fitted.seconds,
        }
        print(f"The encoder is in {path / 'model' / 'model.safetensors'}.")
        write_summary(folder, summary)
    return summary


def pretrained(options: TrainingOptions, folder: Path, *, steps: int, **settings: Any) -> Path:
    """The model of a pre-training in a folder, which runs now, or goes on, if it is not there.

    Args:
      options: of the run that needs it: its seed, devices, and whether it is a smoke run.
      folder: of the pre-training's own.
      steps: how long it trains.
      settings: others of :class:`Config`.

    Returns:
      The folder of the model.
    """
    model = folder / "model"
    if not (model / "jaxfer.json").is_file():
        config = Config(
            out=folder, seed=options.seed, devices=options.devices, smoke=options.smoke,
            steps=steps, batch=8 if options.smoke else Config.batch,
            resume=(folder / "config.json").is_file(), **settings,
        )  # fmt: skip
        print(f"Pre-training on generated characters, {config.method}:")
        run(config)
    return model


if __name__ == "__main__":
    main(Config, run, PRESETS, smoke=SMOKE)
