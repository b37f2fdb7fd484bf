"""Vision transformers as published: images as a row of patches."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxfer.models.conv import Conv, Method
from jaxfer.models.layers import LayerNorm
from jaxfer.models.transformer import TransformerBlock


class ViTConfig(NamedTuple):
    """The sizes of a vision transformer; the defaults are those of ViT-B/16.

    Attributes:
      image_size: side of the images, in pixels.
      patch: side of a patch, in pixels.
      width: of a token.
      layers: blocks.
      heads: of each attention.
      hidden: units of each feed-forward network.
      epsilon: of the normalisations: 1e-6 in timm and torchvision, 1e-12 in transformers.
      dropout: share that is set to 0 in training.
      in_features: channels of the images.

    >>> VIT_SMALL.width, VIT_SMALL.tokens
    (384, 197)
    """

    image_size: int = 224
    patch: int = 16
    width: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int = 3072
    epsilon: float = 1e-6
    dropout: float = 0.0
    in_features: int = 3

    @property
    def tokens(self) -> int:
        """One for each patch, and one for the class."""
        return (self.image_size // self.patch) ** 2 + 1


VIT_BASE = ViTConfig()
VIT_SMALL = ViTConfig(width=384, heads=6, hidden=1536)


class ViT(nnx.Module):
    """The encoder, from images to the normalised token of the class.

    Args:
      config: its sizes.
      method: how the convolution that cuts patches is computed.
      rngs: source of the initial values and of dropout.

    Returns:
      A module that maps images ``[n, image_size, image_size, in_features]``, normalised as the
      weights want it, to ``[n, width]``.

    Raises:
      ValueError: for images of another size, or a patch that does not divide it.

    Source: Dosovitskiy et al. 2021, An image is worth 16x16 words, equations 1 to 4.

    >>> tiny = ViTConfig(image_size=8, patch=4, width=8, layers=1, heads=2, hidden=16)
    >>> ViT(tiny, rngs=nnx.Rngs(0))(jnp.zeros((2, 8, 8, 3))).shape
    (2, 8)
    """

    def __init__(
        self, config: ViTConfig = VIT_BASE, *, method: Method = "auto", rngs: nnx.Rngs
    ) -> None:
        if config.image_size % config.patch:
            raise ValueError(
                f"patch must divide image_size, {config.image_size}; it is {config.patch}."
            )
        side, width = (config.patch, config.patch), config.width
        self.patches = Conv(
            config.in_features, width, kernel_size=side, strides=side, padding="VALID",
            method=method, rngs=rngs,
        )  # fmt: skip
        init = nnx.initializers.normal(0.02)
        self.class_token = nnx.Param(init(rngs.params(), (width,)))
        self.positions = nnx.Param(init(rngs.params(), (config.tokens, width)))
        self.dropout = nnx.Dropout(config.dropout, rngs=rngs)
        for i in range(config.layers):
            block = TransformerBlock(
                width, config.heads, config.hidden, norm_first=True, epsilon=config.epsilon,
                dropout=config.dropout, rngs=rngs,
            )  # fmt: skip
            setattr(self, f"block{i}", block)
        self.norm = LayerNorm(width, epsilon=config.epsilon)
        self.config = config

    def taps(self, x: jax.Array) -> dict[str, jax.Array]:
        """The tokens of each layer, that of the class first: ``embedded``, ``block0`` to ``norm``.

        Args:
          x: as for the call.

        Returns:
          Arrays ``[n, tokens, width]`` by name.
        """
        size = self.config.image_size
        if x.shape[1:3] != (size, size):
            raise ValueError(f"images must be {size} x {size} pixels; they are {x.shape[1:3]}.")
        x = self.patches(x)
        x = x.reshape(len(x), -1, x.shape[-1])
        first = jnp.broadcast_to(self.class_token[...], (len(x), 1, x.shape[-1]))
        x = self.dropout(jnp.concatenate([first, x], axis=1) + self.positions[...])
        found = {"embedded": x}
        for i in range(self.config.layers):
            found[f"block{i}"] = x = getattr(self, f"block{i}")(x, None)
        found["norm"] = self.norm(x)
        return found

    def attention_maps(self, x: jax.Array) -> jax.Array:
        """How much each token attends to each in every block, for ``attention_rollout``.

        Args:
          x: as for the call.

        Returns:
          ``[layers, n, heads, tokens, tokens]``, rows that sum to 1; the token of the class is the
          first, then the patches, row by row.
        """
        found, layers = self.taps(x), range(self.config.layers)
        before = ["embedded", *(f"block{i}" for i in layers)]
        return jnp.stack(
            [getattr(self, f"block{i}").attention_weights(found[before[i]], None) for i in layers]
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.taps(x)["norm"][:, 0]
