"""The synthetic voices: what they say, how they differ, and that they say what they are."""

import numpy as np
import pytest

from jaxfer.data import speak_digits
from jaxfer.data.formant_speech import VOICES


@pytest.fixture(scope="module")
def domains():
    return speak_digits(takes=5)


def test_each_voice_says_each_digit(domains):
    assert list(domains) == sorted(VOICES)
    for name, domain in domains.items():
        assert domain.train.x.shape == (40, 8000) and domain.test.x.shape == (10, 8000)
        assert np.bincount(domain.train.y).tolist() == [4] * 10
        assert domain.test.y.tolist() == list(range(10))
        assert f"the voice {name}" in domain.origin and "NOT recordings of anybody" in domain.origin
        for x in (domain.train.x, domain.test.x):
            assert x.dtype == np.float32 and 0.05 < np.abs(x).max(1).min() and np.abs(x).max() < 1


def test_no_take_is_another(domains):
    rows = np.concatenate([np.concatenate([d.train.x, d.test.x]) for d in domains.values()])
    assert len(np.unique(rows, axis=0)) == len(rows) == 300


def test_a_seed_gives_the_same_takes():
    one, again, other = (speak_digits(takes=2, length=1500, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one["ada"].train.x, again["ada"].train.x)
    assert one["ada"].checksum == again["ada"].checksum != other["ada"].checksum


def test_voices_differ_in_pitch(domains):
    """The highest peak of the autocorrelation of a voiced stretch lies at the period."""
    for name in ("emil", "david", "fay"):
        pitches = []
        for x in domains[name].train.x[domains[name].train.y == 1]:  # "one" is voiced throughout
            loud = int(np.argmax(np.convolve(x**2, np.ones(1000), "valid")))
            part = x[loud : loud + 1000].astype(np.float64)
            power = np.correlate(part, part, "full")[999:]
            lags = np.arange(25, 110)  # 320 to 73 hertz
            pitches.append(8000 / lags[np.argmax(power[lags])])
        assert np.median(pitches) == pytest.approx(VOICES[name].pitch, rel=0.2)


def test_digits_differ_more_than_takes(domains):
    """Spectra of one voice: the nearest training take mostly has the same digit."""
    spectra = {}
    for part in ("train", "test"):
        x = getattr(domains["bruno"], part).x[:, :5600].reshape(-1, 14, 400)
        spectra[part] = np.log(1e-2 + np.abs(np.fft.rfft(x))[..., 4:160:4]).reshape(len(x), -1)
    apart = ((spectra["test"][:, None] - spectra["train"]) ** 2).sum(-1)
    assert np.mean(domains["bruno"].train.y[apart.argmin(1)] == domains["bruno"].test.y) >= 0.6


@pytest.mark.parametrize("wrong", [{"takes": 1}, {"length": 0}])
def test_wrong_sizes(wrong):
    with pytest.raises(ValueError, match="takes must be at least 2 and length at least 1"):
        speak_digits(**wrong)
