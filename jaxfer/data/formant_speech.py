"""Digits that nobody spoke: a buzz and a hiss shaped by formants, when there are no recordings."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxfer.data.domains import Domain, make_domain
from jaxfer.data.mnist import CLASSES
from jaxfer.data.spoken_digits import RATE
from jaxfer.typing import LabelledBatch


class Voice(NamedTuple):
    """Who is made to speak, and into what.

    Attributes:
      pitch: of the buzz, in hertz.
      tract: factor of all formants; a short vocal tract has high ones.
      pace: factor of all durations.
      breath: hiss in what is voiced, as a share of the buzz.
      noise: standard deviation of the background.
      slope: of the microphone, an exponent of the frequency.

    >>> VOICES["fay"].pitch > VOICES["emil"].pitch
    True
    """

    pitch: float
    tract: float
    pace: float
    breath: float
    noise: float
    slope: float


VOICES = {
    "ada": Voice(205, 1.14, 0.95, 0.15, 0.010, 0.0),
    "bruno": Voice(115, 0.96, 1.10, 0.05, 0.003, -0.3),
    "carla": Voice(185, 1.08, 1.00, 0.25, 0.020, 0.2),
    "david": Voice(130, 1.00, 0.85, 0.10, 0.006, 0.1),
    "emil": Voice(95, 0.90, 1.20, 0.08, 0.015, -0.2),
    "fay": Voice(265, 1.28, 1.10, 0.20, 0.030, 0.4),
}
"""The voices by name; fay is a child's, unlike all others."""


class _Phone(NamedTuple):
    """A sound: how long in seconds, its formants in hertz, how loud its buzz and its hiss are."""

    seconds: float
    formants: tuple[float, float, float]
    buzz: float = 1.0
    hiss: float = 0.0
    hiss_at: float = 2500.0  # hertz, the middle of the hiss


# The vowels' formants are about those of Peterson and Barney (1952), of men.
_PHONES = {
    "i": _Phone(0.14, (270, 2290, 3010)),
    "I": _Phone(0.09, (390, 1990, 2550)),
    "e": _Phone(0.11, (530, 1840, 2480)),
    "@": _Phone(0.07, (500, 1500, 2450), 0.7),
    "u": _Phone(0.16, (300, 870, 2240)),
    "o": _Phone(0.15, (570, 840, 2410)),
    "a": _Phone(0.12, (730, 1090, 2440)),
    "V": _Phone(0.12, (640, 1190, 2390)),
    "r": _Phone(0.07, (460, 1190, 1500), 0.6),
    "w": _Phone(0.07, (300, 650, 2200), 0.5),
    "n": _Phone(0.09, (250, 1400, 2400), 0.35),
    "v": _Phone(0.06, (300, 1100, 2300), 0.25, 0.05, 3000),
    "z": _Phone(0.08, (280, 1700, 2500), 0.2, 0.25, 3700),
    "s": _Phone(0.13, (300, 1700, 2600), 0.0, 0.45, 3800),
    "f": _Phone(0.10, (300, 1100, 2300), 0.0, 0.12, 2800),
    "t": _Phone(0.04, (350, 1800, 2600), 0.0, 0.35, 3200),
    "k": _Phone(0.04, (350, 1700, 2300), 0.0, 0.25, 1900),
    "-": _Phone(0.05, (400, 1500, 2500), 0.0, 0.0),
}
_WORDS = ("zIro", "wVn", "tu", "fri", "for", "faIv", "sI-ks", "sev@n", "eI-t", "naIn")

_FRAME, _HOP = 256, 64  # samples
_WIDTHS = np.array([90.0, 120.0, 170.0])  # hertz, of the formants
_GAINS = np.array([1.0, 0.5, 0.25])


def speak_digits(*, takes: int = 25, length: int = RATE, seed: int = 0) -> dict[str, Domain]:
    """Makes each of `VOICES` say the digits, a domain for each voice.

    A digit is a chain of sounds, each a buzz of pulses, a hiss, or both, shaped by three formants
    that glide from sound to sound. From take to take the pitch and its fall, the formants, the
    durations, the loudness and the beginning change a little.

    Args:
      takes: recordings of each voice and digit, at least 2; a fifth of them are the test.
      length: samples of each, at 8000 a second.
      seed: of NumPy's generator.

    Returns:
      The domains by voice, ascending: ``x`` float32 ``[n, length]`` in [-1, 1), the labels the
      digits.

    Raises:
      ValueError: fewer than 2 takes, or a length below 1.

    >>> domains = speak_digits(takes=2, length=2000)
    >>> list(domains), domains["ada"].train.x.shape
    (['ada', 'bruno', 'carla', 'david', 'emil', 'fay'], (10, 2000))
    """
    if takes < 2 or length < 1:
        raise ValueError(
            f"takes must be at least 2 and length at least 1; got {takes} and {length}."
        )
    held_out = max(1, takes // 5)
    labels = np.repeat(np.arange(10, dtype=np.int32), takes)
    test = np.tile(np.arange(takes) < held_out, 10)
    domains = {}
    for number, (name, voice) in enumerate(VOICES.items()):
        generator = np.random.default_rng([seed, number])
        x = np.stack([_take(_WORDS[label], voice, length, generator) for label in labels])
        domains[name] = make_domain(
            name,
            LabelledBatch(x[~test], labels[~test]),
            LabelledBatch(x[test], labels[test]),
            classes=CLASSES,
            origin=f"Digits that jaxfer synthesised as the voice {name} with seed {seed}, NOT "
            "recordings of anybody.",
        )
    return domains


def _take(word: str, voice: Voice, length: int, generator: np.random.Generator) -> np.ndarray:
    """One recording, float32 ``[length]``."""
    phones = [_PHONES[letter] for letter in word]
    pace = voice.pace * generator.uniform(0.85, 1.15)
    seconds = pace * np.array([phone.seconds for phone in phones])
    frames = np.maximum(1, np.rint(seconds * generator.uniform(0.85, 1.15, len(phones)) * RATE))
    counts = (frames // _HOP).astype(np.int64).clip(1)

    def track(values: Sequence[Any], glide: int) -> np.ndarray:
        """A value for each frame, passing over from sound to sound."""
        steps = np.repeat(np.array(values, np.float64).reshape(len(values), -1), counts, axis=0)
        padded = np.pad(steps, ((glide // 2, glide // 2), (0, 0)), mode="edge")
        return np.lib.stride_tricks.sliding_window_view(padded, glide, axis=0).mean(-1)

    tract = voice.tract * generator.uniform(0.97, 1.03)
    formants = tract * track([phone.formants for phone in phones], 9)
    formants *= generator.uniform(0.96, 1.04, 3)
    buzz = track([phone.buzz for phone in phones], 3)
    hiss = track([phone.hiss for phone in phones], 3)
    hiss_at = tract**0.5 * track([phone.hiss_at for phone in phones], 3)
    spectra = _shape(buzz, formants, hiss, hiss_at, voice, generator)
    # Overlapping windows of a raised cosine add up to a constant.
    windows = np.fft.irfft(spectra, _FRAME) * np.hanning(_FRAME + 1)[:-1]
    speech = np.zeros(len(windows) * _HOP + _FRAME)
    for index, window in enumerate(windows):
        speech[index * _HOP : index * _HOP + _FRAME] += window
    speech *= generator.uniform(0.15, 0.45) / max(np.abs(speech).max(), 1e-9)
    begin = int(generator.integers(0, RATE // 25))
    audio = voice.noise * generator.uniform(0.7, 1.3) * generator.standard_normal(length)
    end = min(length, begin + len(speech))
    audio[begin:end] += speech[: max(0, end - begin)]
    return np.clip(audio, -1, 1 - 2.0**-15).astype(np.float32)


def _shape(
    buzz: np.ndarray,
    formants: np.ndarray,
    hiss: np.ndarray,
    hiss_at: np.ndarray,
    voice: Voice,
    generator: np.random.Generator,
) -> np.ndarray:
    """The spectra of all frames, ``[frames, bins]``."""
    samples = len(buzz) * _HOP + _FRAME
    fall = np.linspace(generator.uniform(1.0, 1.12), generator.uniform(0.8, 0.95), samples)
    phase = np.cumsum(voice.pitch * generator.uniform(0.93, 1.07) * fall / RATE)
    pulses = np.diff(np.floor(phase), prepend=0.0) * np.sqrt(RATE / voice.pitch)
    noise = generator.standard_normal(samples)
    frequencies = np.arange(_FRAME // 2 + 1) * RATE / _FRAME

    def spectra(signal: np.ndarray) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(signal, _FRAME)[::_HOP][: len(buzz)]
        return np.fft.rfft(windows * np.hanning(_FRAME + 1)[:-1])

    away = (frequencies - formants[..., None]) / _WIDTHS[:, None]  # [frames, 3, bins]
    mouth = (_GAINS[:, None] / (1 + away**2)).sum(1)
    rush = np.exp(-0.5 * ((frequencies - hiss_at) / 600) ** 2)
    microphone = ((frequencies + 200) / 1200) ** voice.slope
    voiced = buzz * mouth * (spectra(pulses) + voice.breath * spectra(noise))
    return microphone * (voiced + hiss * rush * spectra(noise))
