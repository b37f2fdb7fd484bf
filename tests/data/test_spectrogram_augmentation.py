"""Another voice: a scale in time, one in frequency, and a smooth colour."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer.data import another_voice

KEY = jax.random.key(0)


def ridge(count=200, frames=40, mels=30):
    """Loud in one frame and band, and quieter evenly around."""
    f, m = np.arange(frames)[:, None] - 20, np.arange(mels) - 15
    x = np.maximum(-np.sqrt(f**2 + m**2), -8.0)
    return np.repeat(x[None].astype(np.float32), count, 0)


def test_each_spectrogram_is_stretched_moved_and_coloured_by_itself():
    x = ridge()
    found = np.asarray(jax.jit(another_voice)(KEY, x))
    assert found.shape == x.shape and len(np.unique(found[:, 0, 0])) == len(x)
    # The colour is the same for all frames, a sum of four cosines over the bands.
    edge = found[:, 0] - x[0, 0, 0]
    k, m = np.arange(1, 5)[:, None], np.linspace(0, 1, 30)
    waves = np.cos(np.pi * k * m)
    weights = np.linalg.lstsq(waves.T, edge.T, rcond=None)[0]
    np.testing.assert_allclose(waves.T @ weights, edge.T, atol=1e-4)
    np.testing.assert_allclose(weights.std(1), 0.4, atol=0.08)
    # Where the loudest place went: f = (20 - o) / exp(sigma), m = 15 / exp(alpha).
    plain = found - edge[:, None]
    where = plain.reshape(len(x), -1).argmax(1)
    frames, bands = where // 30, where % 30
    assert bands.min() == round(15 / np.exp(0.15)) and bands.max() == round(15 / np.exp(-0.15))
    assert 14 - 1 <= frames.min() < 16 and 26 < frames.max() <= 28 + 1
    assert abs(np.corrcoef(frames, bands)[0, 1]) < 0.2


def test_no_strength_is_no_change_and_half_is_half():
    x = ridge(20)
    np.testing.assert_allclose(another_voice(KEY, x, strength=0), x, atol=1e-5)
    near, far = (np.asarray(another_voice(KEY, x, strength=s)) for s in (0.1, 1.0))
    assert np.abs(near - x).mean() < 0.3 * np.abs(far - x).mean()
    flat = jnp.zeros((20, 4, 30))
    np.testing.assert_allclose(
        another_voice(KEY, flat, strength=0.5), another_voice(KEY, flat) / 2, atol=1e-6
    )


def test_what_cannot_be():
    with pytest.raises(ValueError, match=r"spectrograms \[n, frames, mels\]; its shape is \(4, 3"):
        another_voice(KEY, jnp.zeros((4, 3)))
    with pytest.raises(ValueError, match="strength must be at least 0; it is -1"):
        another_voice(KEY, jnp.zeros((1, 4, 3)), strength=-1)
