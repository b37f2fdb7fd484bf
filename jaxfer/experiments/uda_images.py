"""Adapt a classifier of images to the user's own images, whose labels it never sees.

--source and --target are folders with a subfolder for each class, or zips of such folders. A target
may hold its images directly, without classes: then no accuracy is claimed. Several methods
(--methods) are trained one after the other, each with all its seeds, beside source-only and
training on the target's labels, the bounds between which they stand. The step that is reported is
picked without target labels.

    python -m jaxfer.experiments.uda_images
    python -m jaxfer.experiments.uda_images --preset photographs --source DIR --target DIR
    python -m jaxfer.experiments.uda_images --preset photographs --source A.zip/shop --target B.zip
    python -m jaxfer.experiments.uda_images --preset large --source DIR --target DIR
    python -m jaxfer.experiments.uda_images --source A --target B --network resnet18 --model FILE

The first needs no folder: half of scikit-learn's digits, and the other half blurred and of little
contrast, which the output announces; it takes about four minutes on two cores. A full run is
--preset photographs, 1000 steps a method on images of 64 x 64: about twenty minutes there.
--preset large (96 x 96, a network four times as wide, 5000 steps) would take days on two cores and
belongs on a GPU. The last begins from published weights, or your own, see --model. What was
measured stands in experiments/uda_images/README.md. The run folder gets config.json, summary.json,
methods.png, learning_curves.png, features.png, confusion.png, and for each method a folder with its
metrics.jsonl, TensorBoard events and checkpoints.
"""

import dataclasses
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from flax import nnx

from jaxfer.adaptation import Classifier
from jaxfer.adapters import linear_feature_map
from jaxfer.adapters.domain_statistics import DomainStatistics
from jaxfer.data import (
    Digits,
    Domain,
    load_image_pair,
    lower_contrast,
    make_domain,
    sharp_and_blurred_digits,
    train_test_indices,
)
from jaxfer.data.mnist import CLASSES
from jaxfer.experiments import adaptation_methods as methods
from jaxfer.experiments.adaptation_run import Prepare, Shift, compare
from jaxfer.experiments.command_line import check_at_least, check_shares, main
from jaxfer.models import from_nnx
from jaxfer.models.conv4 import ConvBlock
from jaxfer.models.image_networks import image_input, image_network, load_image_encoder
from jaxfer.models.published import find_model
from jaxfer.typing import Key, LabelledBatch, PyTree, UserError

Change = Literal["crop", "flip", "color"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(methods.AdaptationOptions):
    """The settings of a run; the defaults are for the built-in digits."""

    source: Annotated[str | None, tyro.conf.arg(metavar="DIR")] = None
    """Labelled images: a folder with a subfolder for each class, a zip, or a folder in a zip. A
    relative path is also looked for in --data-dir and JAXFER_DATA_DIR."""

    target: Annotated[str | None, tyro.conf.arg(metavar="DIR")] = None
    """Images to adapt to, in the same subfolders to be judged by them, or in none."""

    image_size: Annotated[int, tyro.conf.arg(metavar="N")] = 16
    """Side that images are brought to, in pixels; at least 16."""

    grey: bool = False
    """One channel instead of three."""

    skip_bad: bool = False
    """Leave out images that cannot be read, and say how many and which."""

    test_share: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.2
    """Part of each class that is kept for the test."""

    augment: Annotated[tuple[Change, ...], tyro.conf.arg(metavar="crop|flip|color")] = ("crop",)
    """Random changes in training: crops of the enlarged image, mirroring, brightness with
    contrast and saturation."""

    network: Annotated[str, tyro.conf.arg(metavar="conv|NAME")] = "conv"
    """conv: four convolutions. Or a network of finetune_images: small, resnet18, resnet34,
    resnet50, mobilenet, vit-s, vit-b."""

    model: Annotated[str | None, tyro.conf.arg(metavar="FILE|FOLDER")] = None
    """Weights that --network begins with: safetensors, published or as pretrain_images writes them.
    By default it begins from random ones."""

    width: Annotated[int, tyro.conf.arg(metavar="N")] = 16
    """conv: channels of the first convolution, each of the others having twice as many."""

    dropout: float = 0.0
    """conv: share of the features that is set to zero in training."""

    statistics: DomainStatistics = "separate"
    """Which batch the statistics are of: both domains as one (joint), each by itself (per_domain),
    each with a record of its own (separate), or the recorded ones (frozen). One record of two
    domains suits neither where light or contrast differ much."""

    methods: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME...")] = (
        "dann",
        "cdan+e",
        "dan",
        "mcc",
    )
    """Which methods to train, one after the other; source-only always comes first, and training on
    the target's labels last, as the bounds between which they stand."""

    steps: Annotated[int, tyro.conf.arg(metavar="N")] = 300
    """How many optimiser steps to train each method, those before a --resume included."""


_PHOTOGRAPHS = Config(image_size=64, augment=("crop", "flip", "color"), steps=1000, batch=32)
PRESETS = {
    "photographs": _PHOTOGRAPHS,
    "large": dataclasses.replace(_PHOTOGRAPHS, image_size=96, width=64, steps=5000, batch=64),
}
SMOKE = {**methods.SMOKE, "width": 2}
MARGIN = 1 / 8  # of the side, that is added on each side before a crop
COLOR = 0.4  # factors of brightness, contrast and saturation lie between 1 - this and 1 + this
BLUR, CONTRAST = 0.7, 3  # of the built-in target: pixels of 8 x 8, and a severity


class ImageEncoder(nnx.Module):
    """Four blocks of a convolution, batch normalisation, ReLU and a 2 x 2 maximum; the mean."""

    def __init__(self, *, channels: int, width: int, dropout: float, rngs: nnx.Rngs) -> None:
        widths = [channels, width, 2 * width, 4 * width, 8 * width]
        for i in range(4):
            block = ConvBlock(widths[i], widths[i + 1], downsampling="max_pool", rngs=rngs)
            setattr(self, f"block{i}", block)
        self.dropout = nnx.Dropout(dropout, rngs=rngs) if dropout else None

    def __call__(self, x: jax.Array) -> jax.Array:
        for i in range(4):
            x = getattr(self, f"block{i}")(x)
        x = x.mean((1, 2))
        return x if self.dropout is None else self.dropout(x)


def find_images(option: str, given: str, config: Config) -> Path:
    """A folder, a zip or a folder in a zip: as it is given, or in a folder of data."""
    path = Path(given).expanduser()
    named = os.environ.get("JAXFER_DATA_DIR")
    folders = [config.data_dir, Path(named) if named else None]
    places = [path, *(folder.expanduser() / path for folder in folders if folder is not None)]
    for place in places:
        inside_zip = any(part.suffix == ".zip" and part.is_file() for part in place.parents)
        if place.exists() or inside_zip:
            return place
    beside = "".join(f", nor is {place}" for place in places[1:] if place != path)
    raise UserError(
        f"{option} is {given}, which does not exist{beside}; give a folder with a subfolder of "
        "images for each class, or a zip of one."
    )


def read_domains(config: Config) -> tuple[Domain, Domain]:
    """The user's two folders, or digits where none are given."""
    if config.source is None and config.target is None:
        return digits(config)
    if config.source is None or config.target is None:
        given, missing = ("source", "target") if config.target is None else ("target", "source")
        raise UserError(f"--{given} is given and --{missing} is not; give both, or none.")
    source, target = (
        find_images(f"--{side}", given, config)
        for side, given in (("source", config.source), ("target", config.target))
    )
    if source.resolve() == target.resolve():
        raise UserError(f"--source and --target are both {source}; name two different ones.")
    return load_image_pair(
        source, target, image_size=config.image_size, color=not config.grey,
        skip_bad=config.skip_bad, test_share=config.test_share,
    )  # fmt: skip


def digits(config: Config) -> tuple[Domain, Domain]:
    """Sharp digits and, of the other half, blurred ones of little contrast, a channel each."""
    sharp, blurred = sharp_and_blurred_digits(seed=0, sigma=BLUR)

    def domain(name: str, half: Digits) -> Domain:
        # Pixels repeated, so that four blocks can halve what they see.
        times = -(-config.image_size // 8)
        images = np.kron(np.rint(255 * half.images).astype(np.uint8), np.ones((times, times)))
        images = images[:, : config.image_size, : config.image_size, None].astype(np.uint8)
        indices = train_test_indices(half.labels, test_share=config.test_share, seed=0)
        parts = [LabelledBatch(images[part], half.labels[part]) for part in indices]
        return make_domain(name, *parts, classes=CLASSES, origin=half.origin)

    target = domain("blurred", blurred)
    train, test = (
        LabelledBatch(lower_contrast(part.x, severity=CONTRAST), part.y)
        for part in (target.train, target.test)
    )
    origin = f"{target.origin.rstrip('.')} and contrast of severity {CONTRAST}."
    return domain("sharp", sharp), make_domain(
        "blurred", train, test, classes=target.classes, origin=origin
    )


def random_crop(x: jax.Array, key: Key) -> jax.Array:
    """A window of each image, at a random place, once its margins are mirrored outwards."""
    side = x.shape[1]
    margin = max(1, round(MARGIN * side))
    padded = jnp.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)), mode="reflect")
    places = jax.random.randint(key, (len(x), 2), 0, 2 * margin + 1)

    def cut(image: jax.Array, place: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (place[0], place[1], 0), x.shape[1:])

    return jax.vmap(cut)(padded, places)


def random_flip(x: jax.Array, key: Key) -> jax.Array:
    """Half of the images mirrored, left to right."""
    return jnp.where(jax.random.bernoulli(key, shape=(len(x), 1, 1, 1)), x[:, :, ::-1], x)


def random_color(x: jax.Array, key: Key) -> jax.Array:
    """Brightness, contrast and saturation of each image in [0, 1], by a random factor each."""
    factors = jax.random.uniform(key, (3, len(x), 1, 1, 1), minval=1 - COLOR, maxval=1 + COLOR)
    x = x * factors[0]
    middle = jnp.mean(x, (1, 2, 3), keepdims=True)
    x = middle + factors[1] * (x - middle)
    grey = jnp.mean(x, -1, keepdims=True)
    return jnp.clip(grey + factors[2] * (x - grey), 0, 1)


def make_prepare(config: Config) -> Prepare:
    """From uint8 to what the network takes, [-1, 1] for conv, with random changes in training."""

    def prepare(images: PyTree, key: Key | None) -> PyTree:
        x = jnp.asarray(images, jnp.float32) / 255
        if key is not None:
            changes = {"crop": random_crop, "flip": random_flip, "color": random_color}
            keys = jax.random.split(key, len(changes))
            for (name, change), change_key in zip(changes.items(), keys, strict=True):
                x = change(x, change_key) if name in config.augment else x
        if config.network == "conv":
            return 2 * x - 1
        return image_input(255 * x, color=x.shape[-1] == 3)

    return prepare


def make_classifier(config: Config, channels: int, classes: int) -> tuple[Classifier, int]:
    """The network, and how many features it has."""
    if config.network == "conv":
        features = 8 * config.width
        encoder = from_nnx(
            lambda rngs: ImageEncoder(
                channels=channels, width=config.width, dropout=config.dropout, rngs=rngs
            )
        )
    else:
        network = image_network(config.network, image_size=config.image_size, color=channels == 3)
        if config.model is None:
            encoder = from_nnx(network.build)
        else:
            start = load_image_encoder(find_model(config.model), network)
            print(f"Encoder: {config.model}, {start.report.table().splitlines()[0]}")
            # With the padding and epsilon that the weights presuppose.
            encoder = from_nnx(start.network.build)
            encoder = encoder._replace(init=lambda key: (start.params, start.state))
        features = network.features
    head = linear_feature_map(features, classes)
    return Classifier(encoder, head, config.statistics), features


def run(config: Config) -> dict[str, Any]:
    """Trains every method, judges it and writes everything into the run folder.

    Args:
      config: the settings.

    Returns:
      What ``summary.json`` holds.

    Raises:
      UserError: a setting, a folder or the run folder is not as it must be.
    """
    methods.check_options(config)
    check_at_least(config, image_size=16, width=1, test_share=0.01)
    check_shares(config, "dropout", "test_share")
    if config.model is not None and config.network == "conv":
        raise UserError(f"--model is {config.model}; say by --network what it is the weights of.")
    source, target = read_domains(config)
    channels, classes = source.train.x.shape[-1], len(source.classes)
    classifier, features = make_classifier(config, channels, classes)
    return compare(config, Shift(source, target, classifier, features, make_prepare(config), True))


if __name__ == "__main__":
    main(Config, run, PRESETS, smoke=SMOKE)
