"""MobileNetV2 as published: convolutions of one channel each, between thin layers."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from jaxfer.models.conv import Conv, Method, Padding, window_margins
from jaxfer.models.norm import BatchNorm

_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
           (6, 160, 3, 2), (6, 320, 1, 1))  # fmt: skip


class MobileNetConfig(NamedTuple):
    """The sizes of a MobileNetV2.

    Attributes:
      stages: of each the expansion, the channels, the blocks and the stride of the first.
      stem: channels of the first convolution.
      features: of the last.
      in_features: channels of the images.
      padding: ``"SYMMETRIC"`` as PyTorch, ``"SAME"`` as TensorFlow, whose weights transformers has.
      epsilon: of the normalisations: 1e-5, or 1e-3 in the weights from TensorFlow.

    >>> len(MobileNetConfig().stages)
    7
    """

    stages: tuple[tuple[int, int, int, int], ...] = _STAGES
    stem: int = 32
    features: int = 1280
    in_features: int = 3
    padding: Padding = "SYMMETRIC"
    epsilon: float = 1e-5


class DepthwiseConv(nnx.Module):
    r"""A 3x3 convolution of every channel by itself.

    .. math:: y_{n,i,j,c} = \sum_{a,b} x_{n,\; s i + a - 1,\; s j + b - 1,\; c} \; k_{a,b,c}

    On a CPU it is a sum of nine shifted products; XLA's grouped convolution is many times slower
    there.

    Args:
      features: channels.
      stride: step of the window, in pixels.
      padding: see :func:`jaxfer.models.convolution`.
      method: ``"lax"``, ``"patches"`` for the nine products, or ``"auto"``: those on a CPU.
      rngs: source of the initial values.

    Returns:
      A module that maps ``[n, height, width, features]`` to ``[n, out_height, out_width,
      features]``.

    >>> DepthwiseConv(4, stride=2, rngs=nnx.Rngs(0))(jnp.zeros((1, 6, 6, 4))).shape
    (1, 3, 3, 4)
    """

    def __init__(
        self,
        features: int,
        *,
        stride: int = 1,
        padding: Padding = "SYMMETRIC",
        method: Method = "auto",
        rngs: nnx.Rngs,
    ) -> None:
        init = nnx.initializers.normal((2 / 9) ** 0.5)
        self.kernel = nnx.Param(init(rngs.params(), (3, 3, 1, features)))
        self.stride, self.padding, self.method = stride, padding, method

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel, stride = self.kernel[...], self.stride
        margins = window_margins(x, (3, 3), (stride, stride), self.padding)
        method = self.method
        if method == "auto":
            method = "patches" if jax.default_backend() == "cpu" else "lax"
        if method == "lax":
            return lax.conv_general_dilated(
                x, kernel, (stride, stride), margins,
                dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=x.shape[-1],
            )  # fmt: skip
        rows, columns = (
            (side + sum(margin) - 3) // stride + 1
            for side, margin in zip(x.shape[1:3], margins, strict=True)
        )
        x = jnp.pad(x, ((0, 0), *margins, (0, 0)))
        total: jax.Array | float = 0.0
        for a in range(3):
            for b in range(3):
                part = x[
                    :, a : a + (rows - 1) * stride + 1 : stride,
                    b : b + (columns - 1) * stride + 1 : stride,
                ]  # fmt: skip
                total = total + part * kernel[a, b, 0]
        return jnp.asarray(total)


class InvertedResidual(nnx.Module):
    """Expand by 1x1, convolve every channel by itself, project by 1x1; around it goes the input.

    Args:
      in_features, out_features: channels.
      expansion: how many times as many channels there are inside; 1 leaves the first step out.
      stride: of the middle step.
      padding: see :func:`jaxfer.models.convolution`.
      epsilon: of the normalisations.
      method: how convolutions are computed.
      rngs: source of the initial values.

    Returns:
      A module that maps ``[n, height, width, in_features]`` to ``[n, height / stride, width /
      stride, out_features]``.

    Source: Sandler et al. 2018, MobileNetV2: inverted residuals and linear bottlenecks, section
      3.3.

    >>> block = InvertedResidual(4, 4, expansion=6, stride=1, rngs=nnx.Rngs(0))
    >>> block(jnp.zeros((1, 6, 6, 4))).shape
    (1, 6, 6, 4)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        expansion: int,
        stride: int,
        padding: Padding = "SYMMETRIC",
        epsilon: float = 1e-5,
        method: Method = "auto",
        rngs: nnx.Rngs,
    ) -> None:
        hidden = expansion * in_features
        wider = expansion != 1
        self.expand = _pointwise(in_features, hidden, method, rngs) if wider else None
        self.expand_norm = (
            BatchNorm(hidden, epsilon=epsilon, unbiased_record=True) if wider else None
        )
        self.depthwise = DepthwiseConv(
            hidden, stride=stride, padding=padding, method=method, rngs=rngs
        )
        self.depthwise_norm = BatchNorm(hidden, epsilon=epsilon, unbiased_record=True)
        self.project = _pointwise(hidden, out_features, method, rngs)
        self.project_norm = BatchNorm(out_features, epsilon=epsilon, unbiased_record=True)
        self.residual = stride == 1 and in_features == out_features

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x
        if self.expand is not None and self.expand_norm is not None:
            y = nnx.relu6(self.expand_norm(self.expand(y)))
        y = nnx.relu6(self.depthwise_norm(self.depthwise(y)))
        y = self.project_norm(self.project(y))
        return x + y if self.residual else y


class MobileNetV2(nnx.Module):
    """The encoder, from images to the mean over their last maps.

    Args:
      config: its sizes.
      method: how convolutions are computed.
      rngs: source of the initial values.

    Returns:
      A module that maps images ``[n, height, width, in_features]``, normalised as the weights want
      it, to ``[n, features]``.

    Source: Sandler et al. 2018, MobileNetV2: inverted residuals and linear bottlenecks, table 2.

    >>> tiny = MobileNetConfig(stages=((1, 4, 1, 1), (6, 8, 2, 2)), stem=4, features=16)
    >>> MobileNetV2(tiny, rngs=nnx.Rngs(0))(jnp.zeros((2, 16, 16, 3))).shape
    (2, 16)
    """

    def __init__(
        self,
        config: MobileNetConfig | None = None,
        *,
        method: Method = "auto",
        rngs: nnx.Rngs,
    ) -> None:
        config = config or MobileNetConfig()
        self.stem = Conv(
            config.in_features, config.stem, strides=(2, 2), padding=config.padding, use_bias=False,
            method=method, rngs=rngs,
        )  # fmt: skip
        self.stem_norm = BatchNorm(config.stem, epsilon=config.epsilon, unbiased_record=True)
        features, self.blocks = config.stem, 0
        ends = []
        for expansion, width, blocks, stride in config.stages:
            for i in range(blocks):
                block = InvertedResidual(
                    features, width, expansion=expansion, stride=1 if i else stride,
                    padding=config.padding, epsilon=config.epsilon, method=method, rngs=rngs,
                )  # fmt: skip
                setattr(self, f"block{self.blocks}", block)
                features, self.blocks = width, self.blocks + 1
            ends.append(self.blocks)
        self.stage_ends = tuple(ends)
        self.last = _pointwise(features, config.features, method, rngs)
        self.last_norm = BatchNorm(config.features, epsilon=config.epsilon, unbiased_record=True)
        self.config = config

    def taps(self, x: jax.Array) -> dict[str, jax.Array]:
        """The maps after the stem, each stage and the last convolution: ``stem``, ``stage0``, ...

        Args:
          x: as for the call.

        Returns:
          Arrays ``[n, height, width, channels]`` by name.
        """
        x = nnx.relu6(self.stem_norm(self.stem(x)))
        found = {"stem": x}
        for i in range(self.blocks):
            x = getattr(self, f"block{i}")(x)
            if i + 1 in self.stage_ends:
                found[f"stage{self.stage_ends.index(i + 1)}"] = x
        found["last"] = nnx.relu6(self.last_norm(self.last(x)))
        return found

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.taps(x)["last"].mean((1, 2))


def _pointwise(fan_in: int, fan_out: int, method: Method, rngs: nnx.Rngs) -> Conv:
    return Conv(
        fan_in, fan_out, kernel_size=(1, 1), padding="VALID", use_bias=False, method=method,
        rngs=rngs,
    )  # fmt: skip
