"""Spectrograms of speech: how much of which pitch, when, on the scales that an ear has."""

import jax
import jax.numpy as jnp
import numpy as np


def log_mel(
    audio: jax.Array,
    *,
    rate: float = 8000.0,
    frame: int = 256,
    hop: int = 128,
    mels: int = 40,
    floor: float = 1e-6,
) -> jax.Array:
    r"""Logarithms of a mel spectrogram; can be jitted, vmapped and differentiated.

    With the periodic Hann window :math:`w_t = \frac12 - \frac12 \cos(2 \pi t / T)` and triangles
    :math:`M_{km}` of `mel_filters`,

    .. math:: y_{fm} = \log\Big(\epsilon + \sum_k M_{km}
       \Big|\sum_{t<T} w_t\, x_{fh + t}\, e^{-2 \pi i k t / T}\Big|^2 / \sum_t w_t^2 \Big)

    Args:
      audio: ``[..., samples]``, in [-1, 1].
      rate: samples a second.
      frame: :math:`T`, samples of a window; 256 are 32 ms at 8000 a second.
      hop: :math:`h`, samples from one window to the next.
      mels: number of bands.
      floor: :math:`\epsilon`, the power that silence has; positive.

    Returns:
      ``[..., frames, mels]`` with ``1 + (samples - frame) // hop`` frames: windows that would reach
      past the end are left out, nothing is padded.

    Raises:
      ValueError: fewer samples than a window, or a size that is not positive.

    Source: Davis and Mermelstein 1980, up to the logarithm. The power is divided by the window's,
      so that white noise of variance 1 has power 1 in each bin, whatever the frame.

    >>> jax.eval_shape(log_mel, jnp.zeros((2, 8000))).shape
    (2, 61, 40)
    """
    if frame < 2 or hop < 1 or floor <= 0:
        raise ValueError(
            f"frame must be at least 2, hop at least 1 and floor positive; got {frame}, {hop} and "
            f"{floor}."
        )
    samples = audio.shape[-1]
    if samples < frame:
        raise ValueError(f"audio of {samples} samples is shorter than a frame of {frame}.")
    starts = hop * np.arange(1 + (samples - frame) // hop)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frame) / frame)
    window /= np.sqrt(np.sum(window**2))
    windows = audio[..., starts[:, None] + np.arange(frame)] * jnp.asarray(window, audio.dtype)
    spectrum = jnp.fft.rfft(windows)
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    filters = jnp.asarray(mel_filters(rate=rate, frame=frame, mels=mels), power.dtype)
    return jnp.log(floor + power @ filters)


def mel_filters(*, rate: float, frame: int, mels: int) -> np.ndarray:
    r"""Triangles that are equally spaced on the mel scale, :math:`m(f) = 2595 \log_{10}(1+f/700)`.

    Args:
      rate: samples a second.
      frame: samples of a window.
      mels: number of triangles, from 0 to half the rate, each from the peak of the one below it to
        the peak of the one above.

    Returns:
      float64 ``[frame // 2 + 1, mels]``, each peak 1 were it on a bin.

    Raises:
      ValueError: so many triangles that one would lie between two bins and see nothing.

    Source: O'Shaughnessy 1987 for the scale; triangles of height 1 as in HTK.

    >>> mel_filters(rate=8000, frame=256, mels=40).shape
    (129, 40)
    """
    edges = 700 * (10 ** (np.linspace(0, _mel(rate / 2), mels + 2) / 2595) - 1)
    frequencies = np.arange(frame // 2 + 1) * rate / frame
    low, peak, high = edges[:-2], edges[1:-1], edges[2:]
    rise = (frequencies[:, None] - low) / (peak - low)
    fall = (high - frequencies[:, None]) / (high - peak)
    filters = np.maximum(0, np.minimum(rise, fall))
    if not filters.any(0).all():
        raise ValueError(
            f"{mels} mels are too many for a frame of {frame} at {rate:g} a second: some see no "
            "frequency; give fewer, or a longer frame."
        )
    return filters


def _mel(frequency: float) -> float:
    return float(2595 * np.log10(1 + frequency / 700))
