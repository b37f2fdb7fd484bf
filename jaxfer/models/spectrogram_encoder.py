"""A small convolutional encoder of spectrograms."""

from collections.abc import Sequence

import jax
from flax import nnx

from jaxfer.models.conv import Conv, Method
from jaxfer.models.norm import BatchNorm
from jaxfer.models.pooling import max_pool_2x2


class SpectrogramEncoder(nnx.Module):
    """Convolutions 3 x 3, each pooled, the mean over time, and one linear layer.

    Each block is a convolution, a batch normalisation, ReLU and a 2 x 2 maximum. What remains is
    averaged over time and keeps its place in frequency. The features are the output of the ReLU
    after the linear layer.

    Args:
      mels: bands of a spectrogram; at least 2 to the power of the number of blocks.
      widths: channels of each block.
      features: outputs of the linear layer.
      dropout: share of the features that is set to zero in training.
      batch_norm: whether the blocks have a batch normalisation.
      method: how the convolutions are computed, see :func:`jaxfer.models.convolution`.
      rngs: source of the initial values, and of dropout.

    Returns:
      A module that maps ``[n, frames, mels]``, such as logarithms of a mel spectrogram brought to
      mean 0 and variance 1, to features ``[n, features]``.

    Raises:
      ValueError: if there are too few bands, or frames, to be halved by each block.

    >>> spectrograms = jax.numpy.zeros((2, 61, 40))
    >>> jax.eval_shape(lambda x: SpectrogramEncoder(rngs=nnx.Rngs(0))(x), spectrograms).shape
    (2, 128)
    """

    def __init__(
        self,
        *,
        mels: int = 40,
        widths: Sequence[int] = (16, 32, 64),
        features: int = 128,
        dropout: float = 0.0,
        batch_norm: bool = True,
        method: Method = "auto",
        rngs: nnx.Rngs,
    ) -> None:
        self.blocks = len(widths)
        left = mels // 2**self.blocks
        if left < 1:
            raise ValueError(
                f"mels must be at least {2**self.blocks} to be halved {self.blocks} times; got "
                f"{mels}."
            )
        before = 1
        for i, width in enumerate(widths):
            conv = Conv(before, width, use_bias=not batch_norm, method=method, rngs=rngs)
            setattr(self, f"conv{i}", conv)
            setattr(self, f"norm{i}", BatchNorm(width, rngs=rngs) if batch_norm else None)
            before = width
        self.linear = nnx.Linear(left * before, features, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs) if dropout else None

    def taps(self, x: jax.Array) -> dict[str, jax.Array]:
        """What lies between: ``block0`` and so on, ``mean`` over time, and ``features``.

        Args:
          x: as for the call.

        Returns:
          Arrays by name: of a block ``[n, frames, bands, channels]``, of the mean
          ``[n, bands * channels]``, of the features before their dropout ``[n, features]``.
        """
        if x.shape[1] < 2**self.blocks:
            raise ValueError(
                f"{x.shape[1]} frames cannot be halved {self.blocks} times; give at least "
                f"{2**self.blocks}."
            )
        x, found = x[..., None], {}
        for i in range(self.blocks):
            x = getattr(self, f"conv{i}")(x)
            norm = getattr(self, f"norm{i}")
            x = nnx.relu(x if norm is None else norm(x))
            found[f"block{i}"] = x = max_pool_2x2(x)
        x = x.mean(1)
        found["mean"] = x = x.reshape(x.shape[0], -1)
        found["features"] = nnx.relu(self.linear(x))
        return found

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.taps(x)["features"]
        return x if self.dropout is None else self.dropout(x)
