"""Recordings from files and from memory, and what is wrong with those that are none."""

import struct
import wave

import numpy as np
import pytest

from jaxfer.data import bring_to_length, read_recordings, read_wav
from jaxfer.typing import UserError

AUDIO = np.random.default_rng(0).integers(-9999, 9999, 50).astype(np.int16)


def write(path, audio=AUDIO, *, channels=1, width=2, rate=8000):
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        file.writeframes(audio.astype({1: "u1", 2: "<i2", 4: "<i4"}[width]).tobytes())
    return path


def test_a_file_and_arrays_of_both_kinds_are_the_same_recording(tmp_path):
    path = write(tmp_path / "a.wav")
    np.testing.assert_array_equal(read_wav(path, rate=8000), AUDIO)
    same = [path, str(path), AUDIO, AUDIO / 2**15, (AUDIO / 2**15).astype(np.float32)]
    for length in (30, 80):
        found = read_recordings(same, length=length, rate=8000)
        assert found.shape == (5, length) and found.dtype == np.float32
        np.testing.assert_array_equal(found, np.repeat(found[:1], 5, axis=0))
        kept = min(length, 50)
        np.testing.assert_allclose(found[0, :kept], AUDIO[:kept] / 32768, rtol=1e-6)
        assert (found[:, kept:] == 0).all()
    np.testing.assert_array_equal(bring_to_length(AUDIO, 80), found[0])


def test_a_writer_to_a_pipe_leaves_the_length_open(tmp_path):
    content = bytearray(write(tmp_path / "a.wav").read_bytes())
    content[40:44] = struct.pack("<I", 2**32 - 1)
    (tmp_path / "a.wav").write_bytes(content)
    np.testing.assert_array_equal(read_wav(tmp_path / "a.wav", rate=8000), AUDIO)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda path: path.unlink(), "cannot be read .No such file or directory"),
        (lambda path: path.write_bytes(b""), "cannot be read .it is empty"),
        (lambda path: path.write_bytes(path.read_bytes()[:30]), "cannot be read .it ends within"),
        (lambda path: path.write_bytes(b"ID3" + bytes(99)), "cannot be read .file does not start"),
        (
            lambda path: path.write_bytes(path.read_bytes()[:-31]),
            "is cut short: 50 samples are announced, 34 are there; replace it",
        ),
        (lambda path: write(path, AUDIO[:0]), "a.wav holds no sound"),
        (lambda path: write(path, channels=2), "has 2 channels of 16 bits at 8000 a second; one"),
        (lambda path: write(path, rate=44100), "1 channels of 16 bits at 44100 a second; one of"),
        (lambda path: write(path, width=1), "has 1 channels of 8 bits"),
    ],
)
def test_a_file_that_is_no_recording_is_one_sentence(tmp_path, spoil, sentence):
    path = write(tmp_path / "a.wav")
    spoil(path)
    with pytest.raises(UserError, match=sentence) as raised:
        read_recordings([path], length=30, rate=8000)
    assert str(path) in str(raised.value) and str(raised.value).endswith(".")


@pytest.mark.parametrize(
    ("example", "sentence"),
    [
        (
            np.zeros((50, 2)),
            r"path or an array \[samples\] .* at 8000 samples .* float64 \(50, 2\)",
        ),
        (np.zeros(50, np.int32), r"is int32 \(50,\)"),
        (0.5, r"is float64 \(\)"),
        (np.zeros(0), "holds no sample"),
        (AUDIO.astype(float), r"must lie in \[-1, 1\]; its largest number is 9"),
        (np.array([0.0, np.nan]), "its largest number is nan"),
    ],
)
def test_an_array_that_is_no_recording_is_one_sentence(example, sentence):
    with pytest.raises(UserError, match=sentence):
        read_recordings([example], length=30, rate=8000)
