"""The four-block convolutional network of the few-shot literature."""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from jaxfer.models.conv import Conv, Method
from jaxfer.models.norm import BatchNorm
from jaxfer.models.pooling import max_pool_2x2
from jaxfer.typing import Classification

Downsampling = Literal["stride", "max_pool"]


class ConvBlock(nnx.Module):
    """Convolution 3x3, batch normalisation, ReLU, and half the resolution or all of it.

    Args:
      in_features: channels of the input.
      out_features: channels of the output.
      downsampling: ``"stride"`` (the convolution steps by two), ``"max_pool"`` (2x2 after the ReLU)
        or ``"none"``.
      momentum: of the running batch statistics; 0 keeps those of the last training batch alone.
      method: how the convolution is computed, see :func:`jaxfer.models.convolution`.
      rngs: source of the initial values.

    Returns:
      A module ``(x, scale, shift) -> y``; the optional ``scale`` and ``shift`` ``[out_features]``
      modulate the normalised features (FiLM) before the ReLU.

    >>> ConvBlock(1, 8, rngs=nnx.Rngs(0))(jnp.zeros((5, 28, 28, 1))).shape
    (5, 14, 14, 8)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        downsampling: Downsampling | Literal["none"] = "stride",
        momentum: float = 0.9,
        method: Method = "auto",
        rngs: nnx.Rngs,
    ) -> None:
        strides = (2, 2) if downsampling == "stride" else (1, 1)
        self.conv = Conv(
            in_features, out_features, strides=strides, use_bias=False, method=method,
            kernel_init=nnx.initializers.xavier_uniform(), rngs=rngs,
        )  # fmt: skip
        self.norm = BatchNorm(out_features, momentum=momentum, rngs=rngs)
        self.downsampling = downsampling

    def __call__(
        self, x: jax.Array, scale: jax.Array | None = None, shift: jax.Array | None = None
    ) -> jax.Array:
        y = self.norm(self.conv(x))
        if scale is not None:
            y = y * (1.0 + scale)
        if shift is not None:
            y = y + shift
        y = nnx.relu(y)
        return max_pool_2x2(y) if self.downsampling == "max_pool" else y


class Conv4(nnx.Module):
    """Four :class:`ConvBlock` and a linear layer, from images to :class:`Classification`.

    Without classes there is no linear layer, and the output is the features alone.

    ``downsampling="stride"`` with the mean over space is MAML's form, ``"max_pool"`` flattened that
    of prototypical networks. Statistics of the batch normalisation: those of the batch at hand with
    ``train=True``, the running ones with ``train=False``.

    Args:
      classes: outputs of the linear layer; ``None`` for an embedding without one.
      width: channels of every block; 64 in both papers.
      image_size: height and width of the input, in pixels.
      in_features: channels of the input.
      downsampling: ``"stride"`` or ``"max_pool"``.
      context: size of a vector of context parameters that modulates every block (CAVIA); 0 for
        none.
      momentum: of the running batch statistics.
      method: how the convolutions are computed, see :func:`jaxfer.models.convolution`.
      rngs: source of the initial values.

    Returns:
      A module that maps images ``[n, image_size, image_size, in_features]`` to
      :class:`Classification`, or to features ``[n, features]``.

    Raises:
      ValueError: if an image is too small to be halved four times.

    Source: Finn et al. 2017, section 5.2; Snell et al. 2017, section 3.1; Zintgraf et al. 2019,
      section 3.2.

    >>> Conv4(classes=5, rngs=nnx.Rngs(0))(jnp.zeros((10, 28, 28, 1))).logits.shape
    (10, 5)
    """

    blocks = 4

    def __init__(
        self,
        *,
        classes: int | None,
        width: int = 64,
        image_size: int = 28,
        in_features: int = 1,
        downsampling: Downsampling = "stride",
        context: int = 0,
        momentum: float = 0.9,
        method: Method = "auto",
        rngs: nnx.Rngs,
    ) -> None:
        if downsampling == "max_pool" and image_size < 2**self.blocks:
            raise ValueError(
                f"image_size must be at least {2**self.blocks} for max_pool; got {image_size}."
            )
        for i in range(self.blocks):
            block = ConvBlock(
                in_features if i == 0 else width, width,
                downsampling=downsampling, momentum=momentum, method=method, rngs=rngs,
            )  # fmt: skip
            setattr(self, f"block{i}", block)
        final = image_size // 2**self.blocks if downsampling == "max_pool" else 1
        self.features = width * final * final
        self.head = None if classes is None else nnx.Linear(self.features, classes, rngs=rngs)
        self.downsampling, self.width = downsampling, width
        self.context = nnx.Param(jnp.zeros(context)) if context else None
        self.film = nnx.Linear(context, self.blocks * 2 * width, rngs=rngs) if context else None

    def __call__(self, x: jax.Array) -> Classification | jax.Array:
        modulation: Sequence[tuple[jax.Array | None, jax.Array | None]]
        if self.film is None or self.context is None:
            modulation = [(None, None)] * self.blocks
        else:
            film = self.film(self.context[...]).reshape(self.blocks, 2, self.width)
            modulation = [(scale, shift) for scale, shift in film]
        for i in range(self.blocks):
            x = getattr(self, f"block{i}")(x, *modulation[i])
        features = x.mean((1, 2)) if self.downsampling == "stride" else x.reshape(x.shape[0], -1)
        return features if self.head is None else Classification(features, self.head(features))
