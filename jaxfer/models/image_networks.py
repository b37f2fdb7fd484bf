"""Networks of images by name: how they are built, and what methods need to know of their layers."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxfer.models.functional import from_nnx
from jaxfer.models.image_spellings import RESNET, VIT, mobilenet_spellings
from jaxfer.models.loading import LoadReport, Spelling, load_tensors, own_spelling
from jaxfer.models.mobilenet import MobileNetConfig, MobileNetV2
from jaxfer.models.resnet import (
    RESNET18,
    RESNET34,
    RESNET50,
    ResNet,
    ResNetConfig,
    normalize_images,
)
from jaxfer.models.tensor_files import read_tensors
from jaxfer.models.vit import VIT_BASE, VIT_SMALL, ViT
from jaxfer.typing import PyTree, UserError

NAMES = ("small", "resnet18", "resnet34", "resnet50", "mobilenet", "vit-s", "vit-b")

# A file that jaxfer wrote holds the head that the encoder was trained with, too.
_SAVED = Spelling("jaxfer (a model with its head)", own_spelling, ("encoder.",), ("head.*",))


class ImageNetwork(NamedTuple):
    """An encoder of images.

    Attributes:
      build: ``build(rngs)``, the encoder.
      features: how many it gives.
      spellings: of published weights.
      low_rank: patterns of layers that LoRA corrects, below ``encoder``.
      groups: patterns of parameters from the input to the output, ``head/*`` last.
      channels: of the images, 3 or 1.

    >>> ImageNetwork(None, 512, (), (), ("head/*",), 3).features
    512
    """

    build: Callable[[nnx.Rngs], nnx.Module]
    features: int
    spellings: tuple[Spelling, ...]
    low_rank: tuple[str, ...]
    groups: tuple[str, ...]
    channels: int


def image_network(name: str, *, image_size: int, color: bool) -> ImageNetwork:
    """A network by its name.

    Args:
      name: ``small`` (a ResNet of one block a stage, 16 to 128 channels, for small images),
        ``resnet18``, ``resnet34``, ``resnet50``, ``mobilenet`` (V2), ``vit-s`` or ``vit-b`` (with
        patches of 16 pixels).
      image_size: side of the images, in pixels.
      color: three channels instead of one. Published weights are for three.

    Returns:
      The network.

    Raises:
      UserError: there is none of that name, or it does not take images of that size.

    >>> image_network("resnet50", image_size=64, color=True).features
    2048
    """
    channels = 3 if color else 1
    if name not in NAMES:
        raise UserError(f"There is no network {name!r}; there are: {', '.join(NAMES)}.")
    if name.startswith("vit"):
        if image_size % 16:
            raise UserError(f"{name} takes images of a multiple of 16 pixels, not {image_size}.")
        config = VIT_SMALL if name == "vit-s" else VIT_BASE
        sizes = config._replace(image_size=image_size, in_features=channels)
        blocks = tuple(f"encoder/block{i}/*" for i in range(sizes.layers))
        first = ("encoder/patches/*", "encoder/class_token", "encoder/positions")
        return ImageNetwork(
            lambda rngs: ViT(sizes, rngs=rngs), sizes.width, VIT,
            ("*/attention/query", "*/attention/value"),
            (*first, *blocks, "encoder/norm/*", "head/*"), channels,
        )  # fmt: skip
    if name == "mobilenet":
        mobile = MobileNetConfig(in_features=channels)
        total = sum(blocks for _, _, blocks, _ in mobile.stages)
        return ImageNetwork(
            lambda rngs: MobileNetV2(mobile, rngs=rngs), mobile.features,
            mobilenet_spellings(mobile), ("*/expand", "*/project"),
            ("encoder/stem*", *(f"encoder/block{i}/*" for i in range(total)), "encoder/last*",
             "head/*"), channels,
        )  # fmt: skip
    resnets = {
        "small": ResNetConfig((1, 1, 1, 1), (16, 32, 64, 128), small_images=True),
        "resnet18": RESNET18, "resnet34": RESNET34, "resnet50": RESNET50,
    }  # fmt: skip
    resnet = resnets[name]._replace(in_features=channels)
    stages = tuple(f"encoder/stage{i}_*" for i in range(4))
    return ImageNetwork(
        lambda rngs: ResNet(resnet, rngs=rngs), resnet.features, RESNET, ("*/conv[012]",),
        ("encoder/conv/*", "encoder/norm/*", *stages, "head/*"), channels,
    )  # fmt: skip


class EncoderStart(NamedTuple):
    """Where an encoder of images begins.

    Attributes:
      params, state: of the encoder.
      report: what went where.

    >>> EncoderStart({}, {}, None).state
    {}
    """

    params: PyTree
    state: PyTree
    report: LoadReport


def load_image_encoder(path: str | Path, network: ImageNetwork) -> EncoderStart:
    """Loads published weights, or those that ``pretrain_images`` wrote, into an encoder.

    Args:
      path: a safetensors file, or a folder with one.
      network: what they are of.

    Returns:
      Parameters and batch statistics.

    Raises:
      UserError: they cannot be read, or do not fit in every parameter.

    >>> load_image_encoder("no.safetensors", image_network("small", image_size=8, color=False))
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: no.safetensors does not exist; name a safetensors file, or a folder \
with one.
    """
    shapes, statistics = jax.eval_shape(from_nnx(network.build).init, jax.random.key(0))
    params, state, report = load_tensors(
        read_tensors(path), shapes, statistics, [*network.spellings, _SAVED], origin=str(path)
    )
    params, state = jax.tree.map(np.asarray, (params, state))
    return EncoderStart(params, state, report)


def image_input(x: jax.Array, *, color: bool) -> jax.Array:
    """Stored images as an encoder takes them.

    Args:
      x: uint8 ``[n, height, width, channels]``.
      color: as ImageNet's weights want them, see :func:`normalize_images`; otherwise brought from
        0 to 255 to -2 to 2.

    Returns:
      float32 of the same height and width, with 3 channels or 1.

    >>> image_input(jnp.full((1, 1, 1, 1), 255, jnp.uint8), color=False).ravel()
    Array([2.], dtype=float32)
    """
    if color:
        return normalize_images(x)
    return (x.astype(jnp.float32) / 255 - 0.5) * 4
