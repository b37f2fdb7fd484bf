r"""Fine-tune an encoder of images: a folder of classes, part of CIFAR-10, or handwritten digits.

Published weights, or those of pretrain_images, are fine-tuned in several ways (--methods), one
after the other, each with all its seeds, beside the same network from scratch and a linear probe.
The step that is reported is picked on a part of the training set.

    python -m jaxfer.experiments.finetune_images
    python -m jaxfer.experiments.finetune_images --data FOLDER --network resnet18 --color \
        --image-size 64 --model resnet18.safetensors
    python -m jaxfer.experiments.finetune_images --preset cifar10 --data-dir DIR
    python -m jaxfer.experiments.finetune_images --data tfds:mnist --data-dir DIR

FOLDER has a subfolder for each class; tfds:NAME is any set of labelled images that TFDS has
prepared in DIR, cifar10 is that, its official binary files or a part. The safetensors may be named
as timm, torchvision or transformers do. Without data, scikit-learn's digits are taken after
pre-training on generated characters, which runs first, so that something real runs with no network
at all; it takes some minutes on two cores. experiments/finetune_images/README.md has what was
measured. The run folder gets config.json, summary.json, confusion.png, saliency.png (the places
that single predictions turned on), of a vit also rollout.png (the patches that attention leads back
to), for each method a folder with its metrics.jsonl, learning_curve.png, TensorBoard events and
checkpoints, and model/, which predicts:

    import jaxfer
    print(jaxfer.predict("runs/finetune_images/model", ["photo.jpg"]).labels)
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from flax import nnx

from jaxfer.data import Domain, train_test_indices
from jaxfer.experiments import finetune_methods as methods
from jaxfer.experiments import finetune_options as options
from jaxfer.experiments import pretrain_images
from jaxfer.experiments.command_line import check_at_least, main
from jaxfer.experiments.finetune_run import Prepare, Task, compare
from jaxfer.experiments.finetune_saliency import draw_images, right_and_wrong
from jaxfer.experiments.image_data import read_images, shift_images
from jaxfer.inference import save_model
from jaxfer.models import ImageClassifier, find_model
from jaxfer.models.image_networks import (
    EncoderStart,
    image_input,
    image_network,
    load_image_encoder,
)
from jaxfer.typing import Key, PyTree, UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(options.FineTuningOptions):
    """The settings of a run; the defaults are for handwritten digits."""

    data: Annotated[str, tyro.conf.arg(metavar="digits|cifar10|tfds:NAME|FOLDER")] = "digits"
    """The images: a folder of classes, a name, or a data set that TFDS has prepared."""

    network: Annotated[str, tyro.conf.arg(metavar="NAME")] = "small"
    """The encoder: small, resnet18, resnet34, resnet50, mobilenet, vit-s or vit-b."""

    model: Annotated[str, tyro.conf.arg(metavar="auto|FILE|FOLDER|NAME")] = "auto"
    """Weights of the encoder, as safetensors: a file, a folder or a name of the Hugging Face hub.
    auto pre-trains on generated characters first, in pretrained/ below --out."""

    pretraining_steps: Annotated[int, tyro.conf.arg(metavar="N")] = 1000
    """How long auto pre-trains."""

    image_size: Annotated[int, tyro.conf.arg(metavar="N")] = 28
    """Side of the images, in pixels."""

    color: bool = False
    """Three channels instead of one."""

    few: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Train on that many images alone, the same share of each class, as where labels are dear."""

    flip: bool = False
    """Mirror half of the images in training; not for what has a left and a right, as letters."""

    skip_bad: bool = False
    """Leave out images that cannot be read."""

    rate: options.Rate = 5e-4
    """Learning rate of AdamW where all of the network trains."""

    scratch_rate: options.Rate = 1e-3
    """The same from random weights."""


PRESETS = {
    "cifar10": Config(data="cifar10", image_size=32, color=True, flip=True, steps=1000),
    "few-digits": Config(few=100),
}
SMOKE = {**options.SMOKE, "pretraining_steps": 4, "image_size": 16}


def read_data(config: Config) -> Domain:
    """The images, all of the training part or few of them."""
    domain = read_images(
        config.data, config.data_dir, image_size=config.image_size, color=config.color,
        skip_bad=config.skip_bad, seed=config.seed,
    )  # fmt: skip
    size = domain.train.x.shape[1]
    if size != config.image_size:
        raise UserError(f"{domain.name} has images of {size} pixels; give --image-size {size}.")
    if domain.train.x.shape[-1] == 3 and not config.color:
        raise UserError(f"{domain.name} is in color; add --color.")
    if config.few is None:
        return domain
    share = config.few / len(domain.train.y)
    if share >= 1:
        return domain
    _, some = train_test_indices(domain.train.y, test_share=share, seed=config.seed)
    train = type(domain.train)(domain.train.x[some], domain.train.y[some])
    origin = f"{domain.origin.rstrip('.')}, {len(some)} of them to train on."
    return domain._replace(train=train, origin=origin)


def find_weights(config: Config) -> Path:
    """The weights that were named, or those of a pre-training that runs now."""
    if config.model != "auto":
        return find_model(config.model)
    return pretrain_images.pretrained(
        config, (config.out or Path("runs/finetune_images")) / "pretrained",
        steps=config.pretraining_steps, network=config.network, image_size=config.image_size,
        color=config.color,
    )  # fmt: skip


def make_model(start: EncoderStart, classes: int) -> methods.Model:
    """The encoder with a head, and what the methods need to know of it."""
    network = start.network

    def build(rngs: nnx.Rngs) -> nnx.Module:
        return ImageClassifier(
            network.build(rngs), features=network.features, classes=classes, rngs=rngs
        )

    return methods.Model(
        build, start.params, {"encoder": start.state} if start.state else {}, network.low_rank,
        network.groups,
    )  # fmt: skip


def make_prepare(config: Config) -> Prepare:
    """From stored images to what the network takes, shifted at random where there is a key."""

    def prepare(x: PyTree, key: Key | None) -> PyTree:
        if key is not None:
            x = shift_images(x, key, pixels=config.image_size // 10, flip=config.flip)
        return image_input(x, color=config.color)

    return prepare


def run(config: Config) -> dict[str, Any]:
    """Fine-tunes in every way, judges each and writes everything into the run folder.

    Args:
      config: the settings.

    Returns:
      What ``summary.json`` holds.

    Raises:
      UserError: a setting, a file or the run folder is not as it must be.
    """
    options.check_options(config)
    check_at_least(config, image_size=8, pretraining_steps=1, few=2)
    images = read_data(config)
    network = image_network(config.network, image_size=config.image_size, color=config.color)
    weights = find_weights(config)
    start = load_image_encoder(weights, network)
    print(f"Encoder: {weights}, {start.report.table().splitlines()[0]}")
    model = make_model(start, len(images.classes))

    prepare = make_prepare(config)

    def save(folder: Path, params: PyTree, state: PyTree) -> None:
        save_model(
            folder, kind="image", classes=images.classes, params=params, state=state,
            settings={"network": config.network, "image_size": config.image_size,
                      "color": config.color, **start.network.numerics()},
        )  # fmt: skip

    def explain(folder: Path, params: PyTree, state: PyTree, logits: np.ndarray) -> None:
        places = right_and_wrong(logits, images.test.y, each=5)

        def prepared(x: PyTree) -> PyTree:
            return prepare(x, None)

        draw_images(folder, model.build, params, state, images, prepared, places, logits)

    return compare(config, Task(images, model, prepare, save, explain))


if __name__ == "__main__":
    main(Config, run, PRESETS, smoke=SMOKE)
