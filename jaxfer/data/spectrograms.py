"""Recordings as networks take them: logarithms of a mel spectrogram, of mean 0 and variance 1."""

import functools
import math

import jax
import jax.numpy as jnp

from jaxfer.data.log_mel import log_mel
from jaxfer.data.spoken_digits import RATE

FRAME = 256
HOP = 160
_LOUD = 35.0  # decibels under the loudest frame within which a frame begins or ends the speech
_RANGE = 50.0  # decibels under the loudest band of a frame that are told apart
_SILENCE = 1e-10  # power: where a range is kept, it need not hide the noise
_DECIBEL = math.log(10) / 10


@functools.partial(jax.jit, static_argnames=("mels", "frames", "rate", "frame", "hop"))
def spectrograms(
    audio: jax.Array,
    *,
    mels: int,
    frames: int | None = None,
    rate: int = RATE,
    frame: int = FRAME,
    hop: int = HOP,
) -> jax.Array:
    r"""Log-mel features of recordings, each recording's brought to mean 0 and variance 1.

    .. math:: x_{fm} = \frac{y_{fm} - \bar y}{s_y + 10^{-6}}

    with :math:`y` of :func:`jaxfer.data.log_mel`, and its mean and standard deviation over the
    recording: how loud it is makes little difference. Where :math:`n` ``frames`` are asked for,
    :math:`y` is first read off between the beginning :math:`a` and the end :math:`b` of what is
    spoken, and what lies under a range :math:`r` is lifted to it:

    .. math:: y_{im} \leftarrow \sum_f \max(0, 1 - |t_i - f|)\, \max(y_{fm}, \max y - r), \qquad
       t_i = a + \frac{i}{n - 1} (b - a)

    :math:`a` and :math:`b` are the first and last frame whose power is within 35 decibels of the
    loudest frame's, the range is 50 decibels. Then how slowly somebody speaks and how long after
    the beginning of the recording makes little difference either, nor does a quiet room's noise.

    Args:
      audio: ``[n, samples]``, in [-1, 1].
      mels: number of bands; at 8000 samples a second and windows of 256 at most 86.
      frames: to bring what is spoken to, at least 2; ``None`` takes the recording as it is.
      rate: samples a second.
      frame: samples of a window.
      hop: samples from one window to the next; 160 are 20 ms at 8000 a second.

    Returns:
      ``[n, frames, mels]``.

    Raises:
      ValueError: as :func:`jaxfer.data.log_mel`, or fewer than 2 frames to bring it to.

    >>> spectrograms(jnp.zeros((2, 8000)), mels=40).shape
    (2, 49, 40)
    >>> spectrograms(jnp.zeros((2, 8000)), mels=40, frames=32).shape
    (2, 32, 40)
    """
    if frames is not None and frames < 2:
        raise ValueError(f"frames must be at least 2; got {frames}.")

    def one(samples: jax.Array) -> jax.Array:
        if frames is None:
            y = log_mel(samples, rate=rate, frame=frame, hop=hop, mels=mels)
        else:
            y = log_mel(samples, rate=rate, frame=frame, hop=hop, mels=mels, floor=_SILENCE)
            y = _spoken(y, frames)
        return (y - jnp.mean(y)) / (jnp.std(y) + 1e-6)

    return jax.lax.map(one, audio, batch_size=64)


def _spoken(y: jax.Array, frames: int) -> jax.Array:
    """From the first to the last loud frame, in so many, over what is too quiet to tell."""
    power = jax.nn.logsumexp(y, axis=1)
    loud = power >= jnp.max(power) - _LOUD * _DECIBEL
    first, last = jnp.argmax(loud), len(loud) - 1 - jnp.argmax(loud[::-1])
    heard = jnp.maximum(y, jnp.max(y) - _RANGE * _DECIBEL)
    return between(jnp.linspace(first, last, frames), len(y)) @ heard


def between(places: jax.Array, count: int) -> jax.Array:
    """The matrix that reads off values at places between rows, by linear interpolation.

    Args:
      places: in rows, ``[..., n]``; beyond the first and last row they are these.
      count: of rows.

    Returns:
      ``[..., n, count]``; the product with rows ``[count, columns]`` has the values.

    >>> between(jnp.array([0.5, 1.0]), 2) @ jnp.array([[2.0], [4.0]])
    Array([[3.],
           [4.]], dtype=float32)
    """
    places = jnp.clip(places, 0, count - 1)
    return jnp.maximum(0, 1 - jnp.abs(places[..., None] - jnp.arange(count)))
