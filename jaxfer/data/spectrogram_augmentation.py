"""Spectrograms as another voice might have said them, and with parts of them hidden."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxfer.data.spectrograms import between
from jaxfer.typing import Key

_TEMPO = 0.2  # logarithm: up to 22% faster, 18% slower
_SHIFT = 3.0  # frames
_TRACT = 0.15  # logarithm
_COLOUR, _WAVES = 0.4, 4  # of a microphone: smooth over the spectrum
_MASK_SHARE = 0.2  # of all frames or bands that a stripe covers at most


def another_voice(key: Key, x: Any, *, strength: float = 1.0) -> Array:
    r"""Each spectrogram at another tempo, from another vocal tract, by another microphone.

    .. math:: x'_{fm} = x\big(e^{\sigma} f + o, \; e^{\alpha} m\big)
       + \sum_{k=1}^4 c_k \cos \frac{\pi k m}{M - 1}

    by linear interpolation, with numbers drawn for each: :math:`\sigma` uniform to 0.2 either way,
    :math:`o` to 3 frames, :math:`\alpha` to 0.15, and :math:`c_k` normal of standard deviation 0.4.
    Places beyond an edge are the edge. Pure, so that it can be jitted, vmapped and scanned.

    Args:
      key: a JAX random key.
      x: ``[n, frames, mels]``, floating point, of variance 1.
      strength: multiplies all ranges, at least 0.

    Returns:
      The spectrograms, of the shape of those given.

    Raises:
      ValueError: for another rank, or a negative strength.

    Source: Jaitly and Hinton 2013, Vocal tract length perturbation improves speech recognition,
    for the scale of frequencies, here on the mel scale.

    >>> x = jnp.ones((2, 32, 40))
    >>> bool(jnp.allclose(another_voice(jax.random.key(0), x, strength=0), x))
    True
    """
    x = jnp.asarray(x)
    if x.ndim != 3:
        raise ValueError(f"x must be spectrograms [n, frames, mels]; its shape is {x.shape}.")
    if not strength >= 0:
        raise ValueError(f"strength must be at least 0; it is {strength}.")
    count, frames, mels = x.shape
    uniform_key, normal_key = jax.random.split(key)
    uniform = jax.random.uniform(uniform_key, (3, count, 1), x.dtype, -1, 1)
    sigma, offset, alpha = strength * uniform * jnp.array([_TEMPO, _SHIFT, _TRACT])[:, None, None]
    when = jnp.exp(sigma) * jnp.arange(frames) + offset
    pitch = jnp.exp(alpha) * jnp.arange(mels)
    warped = between(when, frames) @ x @ between(pitch, mels).mT
    k = jnp.arange(1, _WAVES + 1)[:, None]
    waves = jnp.cos(jnp.pi * k * jnp.linspace(0, 1, mels)).astype(x.dtype)
    colour = strength * _COLOUR * jax.random.normal(normal_key, (count, _WAVES), x.dtype) @ waves
    return warped + colour[:, None]


def blank_stripes(x: Array, key: Key, *, masks: int) -> Array:
    """Sets stripes in time and in frequency to 0, the mean of a recording.

    Args:
      x: ``[n, frames, mels]``.
      key: a JAX random key.
      masks: stripes of each kind; none covers more than a fifth of all frames, or bands.

    Returns:
      The spectrograms, of the shape of those given.

    Source: Park et al. 2019, SpecAugment, without its warp.

    >>> hidden = blank_stripes(jnp.ones((1, 20, 20)), jax.random.key(0), masks=1)
    >>> float(hidden.min()), float(hidden.max())
    (0.0, 1.0)
    """
    for axis, axis_key in zip((1, 2), jax.random.split(key), strict=True):
        total = x.shape[axis]
        width_key, start_key = jax.random.split(axis_key)
        shape = (len(x), masks, 1)
        width = jax.random.uniform(width_key, shape, maxval=_MASK_SHARE * total)
        start = jax.random.uniform(start_key, shape) * (total - width)
        place = jnp.arange(total)
        blank = ((place >= start) & (place < start + width)).any(1)  # [n, total]
        x = jnp.where(jnp.expand_dims(blank, 3 - axis), 0.0, x)
    return x
