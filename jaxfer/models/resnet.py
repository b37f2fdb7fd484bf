"""ResNet-18, -34 and -50 as published: encoders of images, and a classifier on any encoder."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxfer.models.conv import Conv, Method
from jaxfer.models.layers import Linear
from jaxfer.models.norm import BatchNorm
from jaxfer.models.pooling import max_pool_3x3
from jaxfer.typing import Classification


class ResNetConfig(NamedTuple):
    """The sizes of a ResNet.

    Attributes:
      blocks: of each of the four stages.
      widths: channels inside the blocks of each stage.
      bottleneck: whether a block has three convolutions, the last to four times its width.
      in_features: channels of the images.
      small_images: begin with a 3x3 convolution and no pooling, for images of 32 pixels or so;
        published weights are for the other beginning.

    >>> RESNET50.bottleneck, ResNetConfig(blocks=(1, 1, 1, 1)).features
    (True, 512)
    """

    blocks: tuple[int, int, int, int] = (2, 2, 2, 2)
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    bottleneck: bool = False
    in_features: int = 3
    small_images: bool = False

    @property
    def features(self) -> int:
        """How many features an image gets."""
        return self.widths[-1] * (4 if self.bottleneck else 1)


RESNET18 = ResNetConfig()
RESNET34 = ResNetConfig(blocks=(3, 4, 6, 3))
RESNET50 = ResNetConfig(blocks=(3, 4, 6, 3), bottleneck=True)


class ResidualBlock(nnx.Module):
    """Two convolutions of 3x3, or three of 1x1, 3x3 and 1x1, around which the input goes too.

    Args:
      in_features: channels of the input.
      width: channels inside.
      stride: of the 3x3 convolution that steps: the first, or the middle one of three.
      bottleneck: whether there are three, the last to four times the width.
      method: how convolutions are computed, see :func:`jaxfer.models.convolution`.
      rngs: source of the initial values.

    Returns:
      A module that maps ``[n, height, width, in_features]`` to ``[n, height / stride, width /
      stride, features]``.

    Source: He et al. 2016, Deep residual learning for image recognition, figure 5. The stride is
      that of the 3x3 convolution, as in the weights that PyTorch publishes.

    >>> ResidualBlock(8, 8, stride=2, rngs=nnx.Rngs(0))(jnp.zeros((1, 6, 6, 8))).shape
    (1, 3, 3, 8)
    """

    def __init__(
        self,
        in_features: int,
        width: int,
        *,
        stride: int = 1,
        bottleneck: bool = False,
        method: Method = "auto",
        rngs: nnx.Rngs,
    ) -> None:
        out = 4 * width if bottleneck else width
        sizes = [(1, 1, in_features, width), (3, stride, width, width), (1, 1, width, out)]
        if not bottleneck:
            sizes = [(3, stride, in_features, width), (3, 1, width, out)]
        for i, (size, step, fan_in, fan_out) in enumerate(sizes):
            setattr(self, f"conv{i}", _conv(fan_in, fan_out, size, step, method, rngs))
            setattr(self, f"norm{i}", BatchNorm(fan_out, unbiased_record=True))
        changes = stride != 1 or in_features != out
        self.shortcut = _conv(in_features, out, 1, stride, method, rngs) if changes else None
        self.shortcut_norm = BatchNorm(out, unbiased_record=True) if changes else None
        self.convolutions = len(sizes)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x
        for i in range(self.convolutions):
            y = getattr(self, f"norm{i}")(getattr(self, f"conv{i}")(y))
            y = nnx.relu(y) if i < self.convolutions - 1 else y
        if self.shortcut is not None and self.shortcut_norm is not None:
            x = self.shortcut_norm(self.shortcut(x))
        return nnx.relu(y + x)


class ResNet(nnx.Module):
    """The encoder, from images to the mean over their last maps.

    Args:
      config: its sizes.
      method: how convolutions are computed, see :func:`jaxfer.models.convolution`.
      rngs: source of the initial values.

    Returns:
      A module that maps images ``[n, height, width, in_features]``, normalised as the weights want
      it, to ``[n, features]``.

    Source: He et al. 2016, Deep residual learning for image recognition, table 1. Epsilon 1e-5 and
      momentum 0.9, windows padded alike on both sides, as in PyTorch, whose recorded variance is
      the unbiased one.

    >>> tiny = ResNetConfig(blocks=(1, 1, 1, 1), widths=(4, 4, 8, 8))
    >>> ResNet(tiny, rngs=nnx.Rngs(0))(jnp.zeros((2, 32, 32, 3))).shape
    (2, 8)
    """

    def __init__(
        self, config: ResNetConfig = RESNET18, *, method: Method = "auto", rngs: nnx.Rngs
    ) -> None:
        size, step = (3, 1) if config.small_images else (7, 2)
        first = config.widths[0]
        self.conv = _conv(config.in_features, first, size, step, method, rngs)
        self.norm = BatchNorm(first, unbiased_record=True)
        features = first
        for stage, (blocks, width) in enumerate(zip(config.blocks, config.widths, strict=True)):
            for i in range(blocks):
                block = ResidualBlock(
                    features, width, stride=2 if stage and not i else 1,
                    bottleneck=config.bottleneck, method=method, rngs=rngs,
                )  # fmt: skip
                features = width * (4 if config.bottleneck else 1)
                setattr(self, f"stage{stage}_block{i}", block)
        self.config = config

    def taps(self, x: jax.Array) -> dict[str, jax.Array]:
        """The maps after the first convolution and each stage: ``stem``, ``stage0``, ...

        Args:
          x: as for the call.

        Returns:
          Arrays ``[n, height, width, channels]`` by name.
        """
        x = nnx.relu(self.norm(self.conv(x)))
        x = x if self.config.small_images else max_pool_3x3(x)
        found = {"stem": x}
        for stage, blocks in enumerate(self.config.blocks):
            for i in range(blocks):
                x = getattr(self, f"stage{stage}_block{i}")(x)
            found[f"stage{stage}"] = x
        return found

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.taps(x)["stage3"].mean((1, 2))


class ImageClassifier(nnx.Module):
    """An encoder of images with a linear head.

    Args:
      encoder: a module from images to ``[n, features]``, with ``taps``.
      features: how many.
      classes: of the head.
      dropout: share of the features that is set to 0 in training before the head.
      rngs: source of the initial values and of dropout.

    Returns:
      A module that maps images to :class:`Classification`.

    >>> tiny = ResNetConfig(blocks=(1, 1, 1, 1), widths=(4, 4, 8, 8))
    >>> rngs = nnx.Rngs(0)
    >>> model = ImageClassifier(ResNet(tiny, rngs=rngs), features=8, classes=3, rngs=rngs)
    >>> model(jnp.zeros((2, 32, 32, 3))).logits.shape
    (2, 3)
    """

    def __init__(
        self,
        encoder: nnx.Module,
        *,
        features: int,
        classes: int,
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ) -> None:
        self.encoder = encoder
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.head = Linear(features, classes, rngs=rngs)

    def taps(self, x: jax.Array) -> dict[str, jax.Array]:
        """What each layer makes of an image, averaged over the image.

        Args:
          x: images.

        Returns:
          Arrays ``[n, channels]`` by name.
        """
        found = self.encoder.taps(x)  # type: ignore[attr-defined]
        return {
            name: tap.mean(tuple(range(1, tap.ndim - 1))) if tap.ndim > 2 else tap
            for name, tap in found.items()
        }

    def __call__(self, x: jax.Array) -> Classification:
        features = self.encoder(x)
        return Classification(features, self.head(self.dropout(features)))


def _conv(
    fan_in: int, fan_out: int, size: int, stride: int, method: Method, rngs: nnx.Rngs
) -> Conv:
    return Conv(
        fan_in, fan_out, kernel_size=(size, size), strides=(stride, stride), padding="SYMMETRIC",
        use_bias=False, method=method,
        kernel_init=nnx.initializers.variance_scaling(2.0, "fan_out", "truncated_normal"),
        rngs=rngs,
    )  # fmt: skip


def normalize_images(x: jax.Array) -> jax.Array:
    """Images as weights from ImageNet want them: by channel, minus its mean, over its deviation.

    Args:
      x: uint8 ``[n, height, width, channels]``, of 3 channels or 1, which is taken for all three.

    Returns:
      float32 ``[n, height, width, 3]``.

    >>> normalize_images(jnp.zeros((1, 2, 2, 1), jnp.uint8)).shape
    (1, 2, 2, 3)
    """
    mean, deviation = jnp.array([0.485, 0.456, 0.406]), jnp.array([0.229, 0.224, 0.225])
    return (x.astype(jnp.float32) / 255 - mean) / deviation
