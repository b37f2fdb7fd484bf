"""The representation network of online-aware meta-learning: convolutions without normalisation."""

from collections.abc import Sequence

import jax
from flax import nnx

from jaxfer.models.conv import Conv, Method, Padding


class StridedEncoder(nnx.Module):
    """Convolutions 3x3, each with a ReLU, some of which halve the resolution; then flattened.

    Without normalisation: what it says of an image depends on no other image, as it must where
    images come one at a time.

    Args:
      width: channels of every layer.
      image_size: height and width of the input, in pixels.
      in_features: channels of the input.
      strides: of each layer.
      padding: ``"VALID"``, as published for 84 x 84 pixels, or ``"SAME"`` for small images.
      method: how the convolutions are computed, see :func:`jaxfer.models.convolution`.
      rngs: source of the initial values.

    Returns:
      A module that maps images ``[n, image_size, image_size, in_features]`` to features ``[n,
      outputs]``; ``outputs`` is an attribute.

    Raises:
      ValueError: if the images are too small for the layers.

    Source: Javed and White 2019, Meta-learning representations for continual learning, section 5.1
    and its published code: 256 channels, 84 x 84 pixels.

    >>> import jax.numpy as jnp
    >>> build = lambda: StridedEncoder(width=8, image_size=28, padding="SAME", rngs=nnx.Rngs(0))
    >>> nnx.eval_shape(lambda: build()(jnp.zeros((5, 28, 28, 1)))).shape
    (5, 32)
    """

    def __init__(
        self,
        *,
        width: int = 256,
        image_size: int = 84,
        in_features: int = 1,
        strides: Sequence[int] = (2, 1, 2, 1, 2, 2),
        padding: Padding = "VALID",
        method: Method = "auto",
        rngs: nnx.Rngs,
    ) -> None:
        size = image_size
        for i, stride in enumerate(strides):
            size = -(-size // stride) if padding == "SAME" else (size - 3) // stride + 1
            if size < 1:
                raise ValueError(
                    f"image_size must leave something for layer {i + 1} of {len(strides)}; got "
                    f"{image_size} with padding {padding!r}."
                )
            conv = Conv(
                in_features if i == 0 else width, width, strides=(stride, stride), padding=padding,
                method=method, kernel_init=nnx.initializers.he_normal(), rngs=rngs,
            )  # fmt: skip
            setattr(self, f"conv{i}", conv)
        self.layers, self.outputs = len(strides), width * size * size

    def __call__(self, x: jax.Array) -> jax.Array:
        for i in range(self.layers):
            x = nnx.relu(getattr(self, f"conv{i}")(x))
        return x.reshape(len(x), -1)
