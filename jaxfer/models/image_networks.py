"""Networks of images by name: how they are built, and what methods need to know of their layers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxfer.models.functional import from_nnx
from jaxfer.models.image_numerics import find_numerics
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
from jaxfer.models.vit import VIT_BASE, VIT_SMALL, ViT, ViTConfig
from jaxfer.typing import PyTree, UserError

NAMES = ("small", "resnet18", "resnet34", "resnet50", "mobilenet", "vit-s", "vit-b")

# A file that jaxfer wrote holds the head that the encoder was trained with, too.
_SAVED = Spelling("jaxfer (a model with its head)", own_spelling, ("encoder.",), ("head.*",))


class ImageNetwork(NamedTuple):
    """An encoder of images.

    Attributes:
      config: its sizes, and what its weights presuppose, see :meth:`numerics`.
      features: how many it gives.
      spellings: of published weights.
      low_rank: patterns of layers that LoRA corrects, below ``encoder``.
      groups: patterns of parameters from the input to the output, ``head/*`` last.
      channels: of the images, 3 or 1.

    >>> ImageNetwork(ViTConfig(width=512), 512, (), (), ("head/*",), 3).numerics()
    {'epsilon': 1e-06}
    """

    config: ResNetConfig | MobileNetConfig | ViTConfig
    features: int
    spellings: tuple[Spelling, ...]
    low_rank: tuple[str, ...]
    groups: tuple[str, ...]
    channels: int

    def build(self, rngs: nnx.Rngs) -> nnx.Module:
        """The encoder."""
        if isinstance(self.config, ViTConfig):
            return ViT(self.config, rngs=rngs)
        if isinstance(self.config, MobileNetConfig):
            return MobileNetV2(self.config, rngs=rngs)
        return ResNet(self.config, rngs=rngs)

    def numerics(self) -> dict[str, Any]:
        """What weights presuppose and their shapes do not show.

        Returns:
          ``padding`` of convolutions and ``epsilon`` of normalisations, where networks of the kind
          differ in them.
        """
        return {
            name: value
            for name, value in self.config._asdict().items()
            if name in ("padding", "epsilon")
        }

    def with_numerics(self, numerics: Mapping[str, Any]) -> "ImageNetwork":
        """The same network with other numerics.

        Args:
          numerics: some of :meth:`numerics`; what else it holds is passed over.

        Returns:
          The network.

        Raises:
          UserError: a padding is not known, or an epsilon is no positive number.
        """
        new = {name: numerics[name] for name in self.numerics() if name in numerics}
        if new.get("padding", "SAME") not in ("SAME", "SYMMETRIC"):
            raise UserError(f"padding must be SAME or SYMMETRIC; it is {new['padding']!r}.")
        epsilon = new.get("epsilon", 1.0)
        if isinstance(epsilon, bool) or not isinstance(epsilon, (int, float)) or not epsilon > 0:
            raise UserError(f"epsilon must be a number above 0; it is {epsilon!r}.")
        return self._replace(config=self.config._replace(**new))


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
            sizes, sizes.width, VIT,
            ("*/attention/query", "*/attention/value"),
            (*first, *blocks, "encoder/norm/*", "head/*"), channels,
        )  # fmt: skip
    if name == "mobilenet":
        mobile = MobileNetConfig(in_features=channels)
        total = sum(blocks for _, _, blocks, _ in mobile.stages)
        return ImageNetwork(
            mobile, mobile.features,
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
        resnet, resnet.features, RESNET, ("*/conv[012]",),
        ("encoder/conv/*", "encoder/norm/*", *stages, "head/*"), channels,
    )  # fmt: skip


class EncoderStart(NamedTuple):
    """Where an encoder of images begins.

    Attributes:
      params, state: of the encoder.
      report: what went where.
      network: what was loaded into, with the numerics that the weights presuppose.

    >>> EncoderStart({}, {}, None, None).state
    {}
    """

    params: PyTree
    state: PyTree
    report: LoadReport
    network: ImageNetwork


def load_image_encoder(path: str | Path, network: ImageNetwork) -> EncoderStart:
    """Loads published weights, or those that ``pretrain_images`` wrote, into an encoder.

    Padding and epsilon are not in the weights. What stands beside them says what they are, else
    whose names they have, see :func:`jaxfer.models.image_numerics.find_numerics`.

    Args:
      path: a safetensors file, or a folder with one.
      network: what they are of.

    Returns:
      Parameters and batch statistics, and the network that they are right in.

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
    network = network.with_numerics(find_numerics(Path(path), report.library))
    return EncoderStart(params, state, report, network)


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
