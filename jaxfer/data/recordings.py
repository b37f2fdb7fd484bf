"""Recordings of one length, from sound files or from memory."""

import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxfer.typing import UserError

_OPEN_END = (2**32 - 1) // 2  # samples that a header names where its writer could not go back


def read_wav(path: str | Path, *, rate: int) -> np.ndarray:
    """Reads a sound file: WAV, of one channel and 16 bits.

    Args:
      path: the file.
      rate: samples a second that it must have; nothing is resampled.

    Returns:
      int16 ``[samples]``, at least one.

    Raises:
      UserError: it cannot be read, is cut short, holds no sound, or is of another form.

    >>> read_wav("none.wav", rate=8000)
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: none.wav cannot be read (No such file or directory); replace it.
    """
    try:
        size = Path(path).stat().st_size
        with wave.open(str(path)) as file:
            form = file.getnchannels(), file.getsampwidth(), file.getframerate()
            said = file.getnframes()
            content = file.readframes(min(said, size))
    except (wave.Error, EOFError, OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error) or "it ends within its header"
        why = "it is empty" if isinstance(error, EOFError) and not size else why
        raise UserError(f"{path} cannot be read ({why}); replace it.") from error
    if form != (1, 2, rate):
        raise UserError(
            f"{path} has {form[0]} channels of {8 * form[1]} bits at {form[2]} a second; one "
            f"of 16 bits at {rate} is needed: convert it."
        )
    audio = np.frombuffer(content[: len(content) // 2 * 2], "<i2")
    if len(audio) < said != _OPEN_END:
        raise UserError(
            f"{path} is cut short: {said} samples are announced, {len(audio)} are there; "
            "replace it."
        )
    if not len(audio):
        raise UserError(f"{path} holds no sound; replace it.")
    return audio


def bring_to_length(audio: ArrayLike, length: int) -> np.ndarray:
    """A recording's beginning, or all of it and zeros.

    Args:
      audio: ``[samples]``, integers of 16 bits, or of floating point in [-1, 1].
      length: samples of the result.

    Returns:
      float32 ``[length]`` in [-1, 1].

    >>> bring_to_length(np.array([2**14], np.int16), 3).tolist()
    [0.5, 0.0, 0.0]
    """
    given = np.asarray(audio)
    scale = np.float32(2**15 if np.issubdtype(given.dtype, np.integer) else 1)
    found = np.zeros(length, np.float32)
    found[: min(len(given), length)] = given[:length] / scale
    return found


def read_recordings(examples: Sequence[Any], *, length: int, rate: int) -> np.ndarray:
    """Recordings of files or arrays, brought to one length.

    Args:
      examples: paths of WAV files, see :func:`read_wav`; or arrays ``[samples]`` of int16, or of
        floating point in [-1, 1], at ``rate`` samples a second.
      length: samples kept of each from its beginning; shorter ones are padded with zeros.
      rate: samples a second.

    Returns:
      float32 ``[n, length]`` in [-1, 1].

    Raises:
      UserError: one that cannot be read, or is no recording.

    >>> read_recordings([np.zeros(5), np.ones(2)], length=4, rate=8000).shape
    (2, 4)
    """
    found = []
    for example in examples:
        if isinstance(example, (str, Path)):
            found.append(bring_to_length(read_wav(example, rate=rate), length))
            continue
        audio = np.asarray(example)
        real = np.issubdtype(audio.dtype, np.floating)
        if audio.ndim != 1 or not (real or audio.dtype == np.int16):
            raise UserError(
                "a recording must be a path or an array [samples] of int16 or floating point, of "
                f"one channel at {rate} samples a second; it is {audio.dtype} {audio.shape}."
            )
        if not audio.size:
            raise UserError("a recording holds no sample; give at least one.")
        if real and not np.abs(audio).max() <= 1:
            raise UserError(
                "a recording of floating point must lie in [-1, 1]; its largest number is "
                f"{np.abs(audio).max():g}."
            )
        found.append(bring_to_length(audio, length))
    return np.stack(found)
