"""Spectrograms as networks take them."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer.data import log_mel, speak_digits, spectrograms


def test_each_recording_has_mean_0_and_variance_1():
    audio = speak_digits(takes=2)["ada"].train.x[:3]
    found = np.asarray(spectrograms(audio, mels=16))
    assert found.shape == (3, 49, 16) and found.dtype == np.float32
    plain = np.stack([np.asarray(log_mel(jnp.asarray(x), hop=160, mels=16)) for x in audio])
    mean, deviation = plain.mean((1, 2), keepdims=True), plain.std((1, 2), keepdims=True)
    np.testing.assert_allclose(found, (plain - mean) / deviation, atol=1e-4)
    # Loudness is no feature, but for what it leaves of the floor.
    assert np.abs(found - np.asarray(spectrograms(audio / 2, mels=16))).mean() < 0.1


def test_its_settings_are_those_of_log_mel():
    audio = np.random.default_rng(0).normal(size=(70, 900)).astype(np.float32)
    found = spectrograms(audio, mels=8, rate=4000, frame=128, hop=50)
    plain = np.asarray(log_mel(audio, rate=4000, frame=128, hop=50, mels=8))
    expected = (plain - plain.mean((1, 2), keepdims=True)) / plain.std((1, 2), keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    with pytest.raises(ValueError, match="20 samples is shorter than a frame of 128"):
        spectrograms(audio[:, :20], mels=8, frame=128)
