"""Spectrograms against the definition in double precision, and what a tone must give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import get_window

from jaxfer.data import log_mel, mel_filters


def by_definition(audio, rate, frame, hop, mels, floor):
    """SciPy's window, sums of cosines and sines, triangles by interpolation between their corners."""
    window = get_window("hann", frame)  # the periodic one
    frames = []
    for start in range(0, len(audio) - frame + 1, hop):
        product = audio[start : start + frame] * window
        angle = np.outer(np.arange(frame // 2 + 1), np.arange(frame)) * 2 * np.pi / frame
        frames.append((np.cos(angle) @ product) ** 2 + (np.sin(angle) @ product) ** 2)
    power = np.array(frames) / np.sum(window**2)
    frequencies = np.arange(frame // 2 + 1) * rate / frame
    top = 2595 * np.log10(1 + rate / 2 / 700)
    corners = [700 * (10 ** (top * i / (mels + 1) / 2595) - 1) for i in range(mels + 2)]
    bands = [
        power @ np.interp(frequencies, corners[i : i + 3], [0, 1, 0], left=0, right=0)
        for i in range(mels)
    ]
    return np.log(floor + np.stack(bands, -1))


SETTINGS = {"rate": 4000.0, "frame": 128, "hop": 50, "mels": 12, "floor": 1e-4}


def test_it_is_its_formula():
    audio = np.random.default_rng(0).normal(size=(2, 533)) * 0.3
    found = jax.jit(lambda x: log_mel(x, **SETTINGS))(audio.astype(np.float32))
    expected = np.stack([by_definition(row, **SETTINGS) for row in audio])
    assert found.shape == (2, 9, 12)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    one = jax.jit(jax.vmap(lambda x: log_mel(x, **SETTINGS)))(audio.astype(np.float32))
    np.testing.assert_allclose(one, found, rtol=1e-5, atol=1e-5)


def test_a_tone_is_loudest_in_its_band_and_silence_is_the_floor():
    filters = mel_filters(rate=8000, frame=256, mels=40)
    peaks = np.argmax(filters, 0) * 8000 / 256
    time = np.arange(2000) / 8000
    tones = np.stack([np.sin(2 * np.pi * peaks[band] * time) for band in (5, 20, 35)])
    found = log_mel(jnp.asarray(np.concatenate([tones, np.zeros((1, 2000))]), jnp.float32))
    assert found[:3].mean(1).argmax(-1).tolist() == [5, 20, 35]
    np.testing.assert_allclose(found[3], np.log(1e-6), rtol=1e-6)


def test_the_gradient_is_finite_in_silence():
    gradient = jax.jit(jax.grad(lambda x: log_mel(x, **SETTINGS).sum()))(jnp.zeros(200))
    np.testing.assert_array_equal(gradient, 0)


def test_what_cannot_be():
    with pytest.raises(ValueError, match="audio of 100 samples is shorter than a frame of 128"):
        log_mel(jnp.zeros(100), **SETTINGS)
    for wrong in ({"frame": 1}, {"hop": 0}, {"floor": 0.0}):
        with pytest.raises(ValueError, match="frame must be at least 2, hop at least 1"):
            log_mel(jnp.zeros(300), **SETTINGS | wrong)
    with pytest.raises(ValueError, match="128 mels are too many for a frame of 256 at 8000"):
        mel_filters(rate=8000, frame=256, mels=128)
