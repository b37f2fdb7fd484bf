"""The two networks of relation networks: one makes feature maps, the other judges pairs of them."""

import jax
from flax import nnx

from jaxfer.models.conv import Method
from jaxfer.models.conv4 import ConvBlock


class RelationEncoder(nnx.Module):
    """Four :class:`ConvBlock`, of which two halve the resolution, from images to feature maps.

    Args:
      width: channels of every block.
      in_features: channels of the input.
      method: how the convolutions are computed, see :func:`jaxfer.models.convolution`.
      rngs: source of the initial values.

    Returns:
      A module that maps images ``[n, size, size, in_features]`` to ``[n, size // 4, size // 4,
      width]``.

    Source: Sung et al. 2018, section 3.4; convolutions are padded here, so that 28 x 28 pixels
    become 7 x 7.

    >>> import jax.numpy as jnp
    >>> build = lambda: RelationEncoder(width=8, rngs=nnx.Rngs(0))
    >>> nnx.eval_shape(lambda: build()(jnp.zeros((5, 28, 28, 1)))).shape
    (5, 7, 7, 8)
    """

    def __init__(
        self, *, width: int = 64, in_features: int = 1, method: Method = "auto", rngs: nnx.Rngs
    ) -> None:
        for i in range(4):
            block = ConvBlock(
                in_features if i == 0 else width, width,
                downsampling="max_pool" if i < 2 else "none", method=method, rngs=rngs,
            )  # fmt: skip
            setattr(self, f"block{i}", block)

    def __call__(self, x: jax.Array) -> jax.Array:
        for i in range(4):
            x = getattr(self, f"block{i}")(x)
        return x


class RelationModule(nnx.Module):
    """Two :class:`ConvBlock` and two linear layers, from pairs of feature maps to one number each.

    Args:
      features: channels of a pair, twice the width of the encoder.
      width: channels of the blocks.
      size: height and width of the feature maps, at least 4.
      hidden: outputs of the first linear layer.
      method: how the convolutions are computed, see :func:`jaxfer.models.convolution`.
      rngs: source of the initial values.

    Returns:
      A module that maps pairs ``[n, size, size, features]`` to ``[n]``: how well they go together,
      before any sigmoid.

    Raises:
      ValueError: if the maps are too small to be halved twice.

    Source: Sung et al. 2018, section 3.4.

    >>> import jax.numpy as jnp
    >>> build = lambda: RelationModule(features=16, width=8, size=7, rngs=nnx.Rngs(0))
    >>> nnx.eval_shape(lambda: build()(jnp.zeros((5, 7, 7, 16)))).shape
    (5,)
    """

    def __init__(
        self,
        *,
        features: int,
        width: int = 64,
        size: int = 7,
        hidden: int = 8,
        method: Method = "auto",
        rngs: nnx.Rngs,
    ) -> None:
        if size < 4:
            raise ValueError(f"size must be at least 4, to be halved twice; got {size}.")
        for i, inputs in enumerate((features, width)):
            block = ConvBlock(inputs, width, downsampling="max_pool", method=method, rngs=rngs)
            setattr(self, f"block{i}", block)
        self.hidden = nnx.Linear(width * (size // 4) ** 2, hidden, rngs=rngs)
        self.head = nnx.Linear(hidden, 1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        for i in range(2):
            x = getattr(self, f"block{i}")(x)
        return self.head(nnx.relu(self.hidden(x.reshape(len(x), -1))))[:, 0]
