"""Adapt a recogniser of spoken digits to a speaker whose labels it never sees.

All other speakers are the source. Several methods (--methods) are trained one after the other, each
with all its seeds, beside source-only and training on the speaker's labels, the bounds between
which they stand. The step that is reported is picked without target labels.

    python -m jaxfer.experiments.uda_speech
    python -m jaxfer.experiments.uda_speech --data-dir DIR --speaker theo
    python -m jaxfer.experiments.uda_speech --data-dir DIR --speaker theo --methods dann mcc
    python -m jaxfer.experiments.uda_speech --data formants --speaker emil
    python -m jaxfer.experiments.uda_speech --preset recordings --data-dir DIR --speaker theo

DIR holds the Free Spoken Digit Dataset, as its recordings/7_theo_12.wav or as an npz. Without it
six synthetic voices say the digits, which the output announces; the child among them is the target
unless --speaker names another. The default takes about five minutes on two cores; a full run is
--preset recordings, 2000 steps a method, which takes half an hour to three quarters. What was
measured stands in experiments/uda_speech/README.md. The run folder gets config.json, summary.json,
methods.png, learning_curves.png, features.png, confusion.png, and for each method a folder with its
metrics.jsonl, TensorBoard events and checkpoints.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
import tyro

from jaxfer.adaptation import Classifier
from jaxfer.adapters import linear_feature_map
from jaxfer.adapters.domain_statistics import DomainStatistics
from jaxfer.data import (
    Domain,
    blank_stripes,
    leave_speaker_out,
    load_spoken_digits,
    make_domain,
    speak_digits,
    spectrograms,
)
from jaxfer.experiments import adaptation_methods as methods
from jaxfer.experiments.adaptation_run import Prepare, Shift, compare
from jaxfer.experiments.command_line import check_at_least, check_shares, main
from jaxfer.models import SpectrogramEncoder, from_nnx
from jaxfer.typing import Key, LabelledBatch, PyTree, UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(methods.AdaptationOptions):
    """The settings of a run; the defaults are for the synthetic voices."""

    data: Annotated[str, tyro.conf.arg(metavar="auto|formants|FOLDER")] = "auto"
    """Where the recordings are; auto looks in --data-dir, JAXFER_DATA_DIR and the cache, and takes
    synthetic voices (formants) where there are none."""

    speaker: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """The target; all others are the source. By default the last by name."""

    takes: Annotated[int, tyro.conf.arg(metavar="N")] = 15
    """Of synthetic voices: recordings of each digit, a fifth of them for the test."""

    mels: Annotated[int, tyro.conf.arg(metavar="N")] = 40
    """Bands of a spectrogram."""

    frames: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Frames to which what is spoken is brought, from its beginning to its end, over the room's
    noise; 0 takes recordings as they are."""

    features: Annotated[int, tyro.conf.arg(metavar="N")] = 128
    """Outputs of the encoder."""

    dropout: float = 0.0
    """Share of the features that is set to zero in training."""

    masks: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """Stripes in time, and as many in frequency, that are blanked in training; 0 for none."""

    statistics: DomainStatistics = "per_domain"
    """Which batch the statistics are of: both domains as one (joint), each by itself, each with a
    record of its own (separate), or the recorded ones (frozen)."""

    methods: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME...")] = (
        "dann",
        "cdan+e",
        "dan",
        "mcc",
    )
    """Which methods to train, one after the other; source-only always comes first, and training on
    the target's labels last, as the bounds between which they stand."""

    steps: Annotated[int, tyro.conf.arg(metavar="N")] = 300
    """How many optimiser steps to train each method, those before a --resume included."""


PRESETS = {"recordings": Config(steps=2000)}
SMOKE = {**methods.SMOKE, "data": "formants", "takes": 2, "mels": 16, "features": 8}
LEAST_FRAMES = 8  # which the encoder halves three times
MOST_MELS = 86  # beyond, some see nothing at 8000 samples a second in windows of 256


def read_speakers(config: Config) -> dict[str, Domain]:
    """Recordings by speaker, or synthetic voices, which say so in their origin."""
    if config.data == "formants":
        return speak_digits(takes=config.takes)
    if config.data != "auto":
        return load_spoken_digits(Path(config.data))
    try:
        return load_spoken_digits(config.data_dir)
    except UserError as error:
        if config.data_dir is not None or "There are no spoken digits" not in str(error):
            raise
        return speak_digits(takes=config.takes)


def check_hearing(config: Any, *, least_mels: int) -> None:
    """One sentence about bands or frames that no network can take."""
    check_at_least(config, mels=least_mels, frames=0)
    if config.mels > MOST_MELS:
        raise UserError(f"--mels is {config.mels}; give at most {MOST_MELS}.")
    if 0 < config.frames < LEAST_FRAMES:
        raise UserError(
            f"--frames is {config.frames}; give at least {LEAST_FRAMES}, or 0 for recordings as "
            "they are."
        )


def in_log_mel(domain: Domain, mels: int, frames: int | None = None) -> Domain:
    """A domain's features. They are a third of the audio, and made once: training only looks up."""

    def features(part: LabelledBatch) -> LabelledBatch:
        x = spectrograms(jnp.asarray(part.x), mels=mels, frames=frames)
        return LabelledBatch(np.asarray(x), part.y)

    length = "" if frames is None else f", what is spoken in {frames} frames"
    return make_domain(
        domain.name, features(domain.train), features(domain.test), classes=domain.classes,
        origin=f"{domain.origin.rstrip('.')}, in {mels} log-mel bands{length}.",
    )  # fmt: skip


def make_prepare(config: Config) -> Prepare:
    """Masks in training, nothing else."""

    def prepare(x: PyTree, key: Key | None) -> PyTree:
        return x if key is None or not config.masks else blank_stripes(x, key, masks=config.masks)

    return prepare


def make_classifier(config: Config, classes: int) -> Classifier:
    """Three convolutions, the mean over time, and a linear classifier."""
    encoder = from_nnx(
        lambda rngs: SpectrogramEncoder(
            mels=config.mels, features=config.features, dropout=config.dropout, method="patches",
            rngs=rngs,
        )
    )  # fmt: skip
    return Classifier(encoder, linear_feature_map(config.features, classes), config.statistics)


def run(config: Config) -> dict[str, Any]:
    """Trains every method, judges it and writes everything into the run folder.

    Args:
      config: the settings.

    Returns:
      What ``summary.json`` holds.

    Raises:
      UserError: a setting, a file or the run folder is not as it must be.
    """
    methods.check_options(config)
    check_at_least(config, takes=2, features=1, masks=0)
    check_hearing(config, least_mels=8)
    check_shares(config, "dropout")
    domains = read_speakers(config)
    speaker = list(domains)[-1] if config.speaker is None else config.speaker
    source, target = leave_speaker_out(domains, speaker)
    source, target = (
        in_log_mel(side, config.mels, config.frames or None) for side in (source, target)
    )
    classifier = make_classifier(config, len(source.classes))
    return compare(
        config, Shift(source, target, classifier, config.features, make_prepare(config), True)
    )


if __name__ == "__main__":
    main(Config, run, PRESETS, smoke=SMOKE)
