"""Spoken digits in both their forms, and a speaker left out."""

import wave

import numpy as np
import pytest

from jaxfer.data import leave_speaker_out, load_spoken_digits
from jaxfer.typing import UserError

SPEAKERS = ("anna", "bert", "carl")


def recordings():
    """A few samples that tell which recording they are."""
    generator = np.random.default_rng(0)
    return {
        (digit, speaker, index): generator.integers(-9999, 9999, generator.integers(3, 9))
        for digit in range(2)
        for speaker in SPEAKERS
        for index in (0, 4, 5, 11)
    }


def write_npz(folder, **changes):
    folder.mkdir(exist_ok=True)
    audio = list(recordings().items())
    arrays = {
        "audio": np.concatenate([samples for _, samples in audio]).astype(np.int16),
        "offset": np.cumsum([0] + [len(samples) for _, samples in audio]),
        "digit": np.array([key[0] for key, _ in audio], np.uint8),
        "speaker": np.array([SPEAKERS.index(key[1]) for key, _ in audio], np.uint8),
        "index": np.array([key[2] for key, _ in audio], np.uint8),
        "speakers": np.array(SPEAKERS),
    }
    np.savez(folder / "digits.npz", **arrays | changes)


def write_wav(folder, rate=8000):
    folder.mkdir(exist_ok=True)
    for (digit, speaker, index), samples in recordings().items():
        with wave.open(str(folder / f"{digit}_{speaker}_{index}.wav"), "wb") as file:
            file.setparams((1, 2, rate, 0, "NONE", ""))
            file.writeframes(samples.astype("<i2").tobytes())


def test_a_domain_for_each_speaker(tmp_path):
    write_npz(tmp_path / "spoken_digits")
    np.savez(tmp_path / "spoken_digits" / "another.npz", x=np.zeros(3))
    domains = load_spoken_digits(tmp_path, length=6)
    assert tuple(domains) == SPEAKERS
    bert = domains["bert"]
    assert bert.train.x.shape == bert.test.x.shape == (4, 6)
    assert bert.train.x.dtype == np.float32 and bert.test.y.tolist() == [0, 0, 1, 1]
    samples = recordings()
    for part, indices in ((bert.train, (5, 11)), (bert.test, (0, 4))):
        for row, (digit, index) in zip(
            part.x, [(d, i) for d in (0, 1) for i in indices], strict=True
        ):
            expected = samples[digit, "bert", index][:6] / 32768
            np.testing.assert_allclose(row[: len(expected)], expected, rtol=1e-6)
            assert (row[len(expected) :] == 0).all()


def test_both_forms_hold_the_same(tmp_path):
    write_npz(tmp_path)
    write_wav(tmp_path / "other")
    write_wav(tmp_path / "other" / "recordings")
    one, two = load_spoken_digits(tmp_path), load_spoken_digits(tmp_path / "other")
    assert [d.checksum for d in one.values()] == [d.checksum for d in two.values()]


def test_a_speaker_left_out(tmp_path):
    write_npz(tmp_path)
    domains = load_spoken_digits(tmp_path, length=5)
    source, target = leave_speaker_out(domains, "bert")
    assert target is domains["bert"] and source.name == "not bert"
    assert source.origin.startswith("Digits spoken by anna, carl in ")
    assert len(source.train.x) == len(source.test.x) == 8
    np.testing.assert_array_equal(source.train.x[:4], domains["anna"].train.x)
    np.testing.assert_array_equal(source.train.y[4:], domains["carl"].train.y)
    with pytest.raises(UserError, match="no speaker 'theo' .*give one of: anna, bert, carl"):
        leave_speaker_out(domains, "theo")


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="There are no spoken digits in .*; put recordings such"):
        load_spoken_digits(tmp_path)
    with pytest.raises(ValueError, match="length must be at least 1 sample; got 0"):
        load_spoken_digits(tmp_path, length=0)
    write_npz(tmp_path / "cut", speaker=np.full(24, 7, np.uint8))
    with pytest.raises(UserError, match="digits.npz: is truncated or damaged"):
        load_spoken_digits(tmp_path / "cut")
    write_wav(tmp_path / "fast", rate=16000)
    with pytest.raises(UserError, match=r"0_anna_0.wav has 1 channels of 16 bits at 16000 a sec"):
        load_spoken_digits(tmp_path / "fast")
    (tmp_path / "fast" / "0_anna_0.wav").write_bytes(b"no")
    with pytest.raises(UserError, match="0_anna_0.wav cannot be read"):
        load_spoken_digits(tmp_path / "fast")


def test_the_real_recordings(data_dir):
    domains = load_spoken_digits(data_dir)
    assert len(domains) == 6
    for domain in domains.values():
        assert domain.train.x.shape == (450, 8000) and domain.test.x.shape == (50, 8000)
        assert np.bincount(domain.test.y).tolist() == [5] * 10
