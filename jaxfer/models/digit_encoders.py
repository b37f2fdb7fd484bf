"""The small convolutional encoders that domain adaptation of digits is measured with."""

import jax
from flax import nnx

from jaxfer.models.conv import Conv, Method, Padding
from jaxfer.models.norm import BatchNorm
from jaxfer.models.pooling import max_pool_2x2


class LeNet(nnx.Module):
    """LeNet without its classifier: two convolutions, each pooled, and one linear layer.

    A convolution of 20 windows 5 x 5, 2 x 2 maximum, ReLU; one of 50, 2 x 2 maximum, ReLU; a linear
    layer of 500, ReLU. The features are the 500 outputs of that last ReLU; a classifier of one
    linear layer belongs on them. `small_lenet` has the sizes for digits of 8 x 8.

    Args:
      image_size: height and width of the input, in pixels.
      in_features: channels of the input.
      widths: channels of the two convolutions.
      features: outputs of the linear layer.
      kernel_size: side of the windows, in pixels.
      padding: ``"SAME"`` or ``"VALID"``.
      dropout: share of the features, and of the channels of the second convolution, that is set to
        zero in training.
      batch_norm: whether a batch normalisation follows each convolution.
      method: how the convolutions are computed, see :func:`jaxfer.models.convolution`.
      rngs: source of the initial values, and of dropout.

    Returns:
      A module that maps float images ``[n, image_size, image_size, in_features]`` to features
      ``[n, features]``.

    Raises:
      ValueError: if an image is too small to be halved twice.

    Source: LeCun et al. 1998 in the sizes of Caffe's LeNet (431080 parameters with a classifier of
      10 classes); with ``dropout=0.5`` the network of Long et al. 2018 (CDAN) for MNIST and USPS.

    >>> images = jax.numpy.zeros((5, 28, 28, 1))
    >>> jax.eval_shape(lambda x: LeNet(rngs=nnx.Rngs(0))(x), images).shape
    (5, 500)
    """

    def __init__(
        self,
        *,
        image_size: int = 28,
        in_features: int = 1,
        widths: tuple[int, int] = (20, 50),
        features: int = 500,
        kernel_size: int = 5,
        padding: Padding = "VALID",
        dropout: float = 0.0,
        batch_norm: bool = False,
        method: Method = "auto",
        rngs: nnx.Rngs,
    ) -> None:
        lost = kernel_size - 1 if padding == "VALID" else 0
        side = ((image_size - lost) // 2 - lost) // 2
        if side < 1:
            raise ValueError(
                f"image_size {image_size} is too small for two convolutions of {kernel_size} x "
                f"{kernel_size} with padding {padding!r} and two poolings; pad or enlarge."
            )
        size = (kernel_size, kernel_size)
        self.conv0 = Conv(
            in_features, widths[0], kernel_size=size, padding=padding, method=method, rngs=rngs
        )
        self.conv1 = Conv(
            widths[0], widths[1], kernel_size=size, padding=padding, method=method, rngs=rngs
        )
        self.norm0 = BatchNorm(widths[0], rngs=rngs) if batch_norm else None
        self.norm1 = BatchNorm(widths[1], rngs=rngs) if batch_norm else None
        self.linear = nnx.Linear(side * side * widths[1], features, rngs=rngs)
        self.channel_dropout = (
            nnx.Dropout(dropout, broadcast_dims=(1, 2), rngs=rngs) if dropout else None
        )
        self.dropout = nnx.Dropout(dropout, rngs=rngs) if dropout else None

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.conv0(x)
        x = x if self.norm0 is None else self.norm0(x)
        x = nnx.relu(max_pool_2x2(x))
        x = self.conv1(x)
        x = x if self.norm1 is None else self.norm1(x)
        x = x if self.channel_dropout is None else self.channel_dropout(x)
        x = nnx.relu(max_pool_2x2(x))
        x = nnx.relu(self.linear(x.reshape(x.shape[0], -1)))
        return x if self.dropout is None else self.dropout(x)


def small_lenet(
    *,
    in_features: int = 1,
    features: int = 128,
    dropout: float = 0.0,
    batch_norm: bool = False,
    method: Method = "auto",
    rngs: nnx.Rngs,
) -> LeNet:
    """A :class:`LeNet` for images of 8 x 8: 32 and 64 windows of 3 x 3, padded, 128 features.

    Args:
      in_features: channels of the input.
      features, dropout, batch_norm, method, rngs: see :class:`LeNet`.

    Returns:
      A module that maps float images ``[n, 8, 8, in_features]`` to features ``[n, features]``.

    >>> images = jax.numpy.zeros((5, 8, 8, 3))
    >>> jax.eval_shape(lambda x: small_lenet(in_features=3, rngs=nnx.Rngs(0))(x), images).shape
    (5, 128)
    """
    return LeNet(
        image_size=8, in_features=in_features, widths=(32, 64), features=features,
        kernel_size=3, padding="SAME", dropout=dropout, batch_norm=batch_norm, method=method,
        rngs=rngs,
    )  # fmt: skip


class DannDigitEncoder(nnx.Module):
    """The encoder of the DANN paper for MNIST and MNIST-M: two convolutions, each pooled.

    A convolution of 32 windows 5 x 5, ReLU, 2 x 2 maximum; one of 48, ReLU, 2 x 2 maximum. The
    features are what the second pooling leaves, flattened: 768 of an image of 28 x 28. The paper
    classifies them by layers of 100, 100 and 10 and tells domains by layers of 100 and 1.

    Args:
      image_size: height and width of the input, in pixels; at least 16.
      in_features: channels of the input.
      batch_norm: whether a batch normalisation follows each convolution; the paper has none.
      method: how the convolutions are computed, see :func:`jaxfer.models.convolution`.
      rngs: source of the initial values.

    Returns:
      A module that maps float images ``[n, image_size, image_size, in_features]`` to features
      ``[n, 768]``.

    Raises:
      ValueError: if an image is too small.

    Source: Ganin et al. 2016, figure 4 (a). Padding is not stated there; without any the features
      are 768, as in the authors' description of the input of both heads.

    >>> images = jax.numpy.zeros((5, 28, 28, 3))
    >>> jax.eval_shape(lambda x: DannDigitEncoder(rngs=nnx.Rngs(0))(x), images).shape
    (5, 768)
    """

    def __init__(
        self,
        *,
        image_size: int = 28,
        in_features: int = 3,
        batch_norm: bool = False,
        method: Method = "auto",
        rngs: nnx.Rngs,
    ) -> None:
        if image_size < 16:
            raise ValueError(f"image_size must be at least 16; got {image_size}.")
        size = (5, 5)
        self.conv0 = Conv(
            in_features, 32, kernel_size=size, padding="VALID", method=method, rngs=rngs
        )
        self.conv1 = Conv(32, 48, kernel_size=size, padding="VALID", method=method, rngs=rngs)
        self.norm0 = BatchNorm(32, rngs=rngs) if batch_norm else None
        self.norm1 = BatchNorm(48, rngs=rngs) if batch_norm else None

    def __call__(self, x: jax.Array) -> jax.Array:
        for conv, norm in ((self.conv0, self.norm0), (self.conv1, self.norm1)):
            x = conv(x)
            x = x if norm is None else norm(x)
            x = max_pool_2x2(nnx.relu(x))
        return x.reshape(x.shape[0], -1)
