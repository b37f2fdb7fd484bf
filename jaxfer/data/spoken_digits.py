"""The Free Spoken Digit Dataset: a domain for each speaker."""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxfer.data.domains import Domain, join_domains, make_domain
from jaxfer.data.mnist import CLASSES
from jaxfer.data.places import look_for
from jaxfer.data.recordings import bring_to_length, read_wav
from jaxfer.typing import LabelledBatch, UserError

RATE = 8000  # samples a second

_TEST_INDICES = 5  # the official test: of each speaker and digit the recordings 0 to 4
_RECORDING = re.compile(r"(\d)_([^_]+)_(\d+)\.wav")
_ARRAYS = ("audio", "offset", "digit", "speaker", "index", "speakers")
_FORMS = "recordings such as 7_jackson_32.wav, or an npz of them"


def load_spoken_digits(
    data_dir: str | Path | None = None, *, length: int = RATE
) -> dict[str, Domain]:
    """Loads spoken digits, a domain for each speaker, every recording of one length.

    The official test is the recordings 0 to 4 of each speaker and digit. In a folder the data may
    lie directly, in ``spoken_digits/`` or in ``recordings/``: as the official files
    ``DIGIT_SPEAKER_INDEX.wav``, or as an ``.npz`` of ``audio`` int16 (all recordings one after
    another), ``offset`` (where each begins, and the end), ``digit``, ``speaker``, ``index`` and
    ``speakers`` (their names).

    Args:
      data_dir: the folder; without it the one that ``JAXFER_DATA_DIR`` names, or the cache.
      length: samples kept of each recording, from its beginning, at 8000 a second; shorter ones are
        padded with zeros at the end. A second keeps all of 99% of them.

    Returns:
      The domains by speaker, ascending: ``x`` float32 ``[n, length]`` in [-1, 1), the labels the
      digits.

    Raises:
      UserError: there are none, or what cannot be read.
      ValueError: a length below 1.

    Source:
      Jackson et al.: Free Spoken Digit Dataset. https://github.com/Jakobovski/free-spoken-digit-dataset

    >>> import tempfile
    >>> load_spoken_digits(tempfile.mkdtemp())
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: There are no spoken digits in ...; put recordings such as ...
    """
    if length < 1:
        raise ValueError(f"length must be at least 1 sample; got {length}.")
    found = look_for(_find, title="spoken digits", data_dir=data_dir)
    if found is None:
        where = data_dir or "JAXFER_DATA_DIR or the cache"
        raise UserError(
            f"There are no spoken digits in {where}; put {_FORMS}, into a folder and name it."
        )
    recordings = _from_npz(found) if found.is_file() else _from_wav(found)
    domains = {}
    for speaker in sorted({speaker for _, speaker, _ in recordings}):
        parts: dict[bool, tuple[list[np.ndarray], list[int]]] = {False: ([], []), True: ([], [])}
        for (digit, who, index), audio in sorted(recordings.items()):
            if who == speaker:
                parts[index < _TEST_INDICES][0].append(bring_to_length(audio, length))
                parts[index < _TEST_INDICES][1].append(digit)
        train, test = (
            LabelledBatch(np.array(x).reshape(-1, length), np.array(y, np.int32))
            for x, y in (parts[False], parts[True])
        )
        domains[speaker] = make_domain(
            speaker, train, test, classes=CLASSES,
            origin=f"Digits spoken by {speaker} in {found}, {length} samples each.",
        )  # fmt: skip
    return domains


def leave_speaker_out(domains: Mapping[str, Domain], speaker: str) -> tuple[Domain, Domain]:
    """Makes one speaker the target, and all others together the source.

    Args:
      domains: by speaker, at least 2.
      speaker: one of them.

    Returns:
      Source and target.

    Raises:
      UserError: there is no such speaker, or no other.

    >>> leave_speaker_out({}, "theo")
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: There is no speaker 'theo' beside others; give one of: .
    """
    if speaker not in domains or len(domains) < 2:
        raise UserError(
            f"There is no speaker {speaker!r} beside others; give one of: {', '.join(domains)}."
        )
    target = domains[speaker]
    others = {name: domain for name, domain in domains.items() if name != speaker}
    source = join_domains(list(others.values()), name=f"not {speaker}")
    # The origins of all the speakers say the same.
    origin = target.origin.replace(speaker, ", ".join(others), 1)
    return source._replace(origin=origin.replace("the voice ", "the voices ")), target


def _find(folder: Path) -> Path | None:
    """The npz, or the folder with the recordings."""
    for place in (folder / "spoken_digits", folder):
        for inside in (place / "recordings", place):
            if any(map(_RECORDING.fullmatch, (path.name for path in inside.glob("*.wav")))):
                return inside
        for path in sorted(place.glob("*.npz")):
            try:
                with np.load(path) as arrays:
                    if set(_ARRAYS) <= set(arrays.files):
                        return path
            except (OSError, ValueError, zipfile.BadZipFile):
                continue
    return None


def _from_npz(path: Path) -> dict[tuple[int, str, int], np.ndarray]:
    try:
        with np.load(path) as arrays:
            audio, offset, digit, speaker, index, names = (arrays[name] for name in _ARRAYS)
        return {
            (int(digit[i]), str(names[speaker[i]]), int(index[i])): audio[offset[i] : offset[i + 1]]
            for i in range(len(digit))
        }
    except (OSError, ValueError, IndexError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: is truncated or damaged ({error}); replace it.") from error


def _from_wav(folder: Path) -> dict[tuple[int, str, int], np.ndarray]:
    recordings = {}
    for path in sorted(folder.glob("*.wav")):
        if not (match := _RECORDING.fullmatch(path.name)):
            continue
        recordings[int(match[1]), match[2], int(match[3])] = read_wav(path, rate=RATE)
    return recordings
