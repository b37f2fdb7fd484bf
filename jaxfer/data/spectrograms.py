"""Recordings as networks take them: logarithms of a mel spectrogram, of mean 0 and variance 1."""

import functools

import jax
import jax.numpy as jnp

from jaxfer.data.log_mel import log_mel
from jaxfer.data.spoken_digits import RATE

FRAME = 256
HOP = 160


@functools.partial(jax.jit, static_argnames=("mels", "rate", "frame", "hop"))
def spectrograms(
    audio: jax.Array, *, mels: int, rate: int = RATE, frame: int = FRAME, hop: int = HOP
) -> jax.Array:
    r"""Log-mel features of recordings, each recording's brought to mean 0 and variance 1.

    .. math:: x_{fm} = \frac{y_{fm} - \bar y}{s_y + 10^{-6}}

    with :math:`y` of :func:`jaxfer.data.log_mel`, and its mean and standard deviation over the
    recording: how loud it is makes little difference.

    Args:
      audio: ``[n, samples]``, in [-1, 1].
      mels: number of bands; at 8000 samples a second and windows of 256 at most 86.
      rate: samples a second.
      frame: samples of a window.
      hop: samples from one window to the next; 160 are 20 ms at 8000 a second.

    Returns:
      ``[n, frames, mels]``.

    Raises:
      ValueError: as :func:`jaxfer.data.log_mel`.

    >>> spectrograms(jnp.zeros((2, 8000)), mels=40).shape
    (2, 49, 40)
    """

    def one(samples: jax.Array) -> jax.Array:
        x = log_mel(samples, rate=rate, frame=frame, hop=hop, mels=mels)
        return (x - jnp.mean(x)) / (jnp.std(x) + 1e-6)

    return jax.lax.map(one, audio, batch_size=64)
