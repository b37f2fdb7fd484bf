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


def tone(begin, end, *, samples=8000, noise=0.0):
    """A pitch that rises while it sounds, and zeros or noise around."""
    t = np.arange(end - begin) / 8000
    sound = np.sin(2 * np.pi * (500 + 1000 * 8000 * t / (end - begin)) * t)
    audio = noise * np.random.default_rng(0).normal(size=samples)
    audio[begin:end] += 0.5 * sound
    return audio.astype(np.float32)


def test_what_is_spoken_fills_the_frames_whenever_and_however_loud_it_is():
    same = np.stack([
        tone(1000, 4000), tone(1000, 4000) / 8, tone(4040, 7040), tone(1000, 4000, noise=1e-4),
    ])  # fmt: skip
    first, *others = np.asarray(spectrograms(same, mels=20, frames=16))
    assert first.shape == (16, 20)
    np.testing.assert_allclose(first.mean(), 0, atol=1e-4)
    np.testing.assert_allclose(first.std(), 1, rtol=1e-3)
    np.testing.assert_allclose(others[0], first, atol=2e-3)
    for other in others[1:]:
        assert np.abs(other - first).mean() < 0.2
    plain = np.asarray(spectrograms(same, mels=20))
    assert np.abs(plain[2] - plain[0]).mean() > 0.5  # which recordings as they are do not do


def test_a_slow_voice_is_as_long_as_a_fast_one():
    fast, slow = np.asarray(
        spectrograms(np.stack([tone(1000, 3400), tone(1000, 6000)]), mels=20, frames=16)
    )
    # Where the pitch is in the middle of the sound, and at its end.
    assert np.abs(fast.argmax(1) - slow.argmax(1))[1:-1].max() <= 1


def test_frames_are_read_off_between_the_ends_by_linear_interpolation():
    audio = tone(1000, 5000)
    y = np.asarray(log_mel(jnp.asarray(audio), hop=160, mels=12, floor=1e-10), np.float64)
    power = 10 / np.log(10) * np.log(np.exp(y).sum(1))
    loud = np.nonzero(power >= power.max() - 35)[0]
    y = np.maximum(y, y.max() - 5 * np.log(10))
    places = np.linspace(loud[0], loud[-1], 9)
    expected = np.stack([np.interp(places, np.arange(len(y)), band) for band in y.T], 1)
    expected = (expected - expected.mean()) / expected.std()
    found = np.asarray(spectrograms(audio[None], mels=12, frames=9))[0]
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_silence_and_a_click_are_finite_and_one_frame_is_too_few():
    click = np.zeros(8000, np.float32)
    click[4000] = 1
    found = np.asarray(spectrograms(np.stack([0 * click, click]), mels=20, frames=8))
    assert np.isfinite(found).all()
    with pytest.raises(ValueError, match="frames must be at least 2; got 1"):
        spectrograms(click[None], mels=20, frames=1)
