"""Fine-tune a recogniser of spoken digits, from images: a log-mel spectrogram is a picture too.

One speaker is left out and judged on; the others train, in whose recordings what is spoken is
brought to as many frames for all (--frames), and which are changed as if other voices and
microphones had said them (--voice). An encoder of images, pre-trained on photographs or generated
characters, is fine-tuned in several ways (--methods), one after the other, each with all its seeds,
beside the same network from scratch and a linear probe. --network conv and gru train networks of
their own from scratch. With --listen each then adapts to half of the speaker's recordings, without
their labels, and is judged by the other half.

    python -m jaxfer.experiments.finetune_speech
    python -m jaxfer.experiments.finetune_speech --data-dir DIR --speaker theo
    python -m jaxfer.experiments.finetune_speech --data-dir DIR --network gru --methods scratch
    python -m jaxfer.experiments.finetune_speech --data-dir DIR --speaker all

DIR holds the Free Spoken Digit Dataset, as its recordings/7_theo_12.wav or as an npz. Without it
six synthetic voices say the digits, which the output announces. --speaker all leaves each out in
turn. experiments/finetune_speech/README.md has what was measured. The default takes some minutes on
two cores. The run folder gets config.json, summary.json, confusion.png, saliency.png (the places of
spectrograms that single predictions turned on), for each method a folder with its metrics.jsonl,
learning_curve.png, TensorBoard events and checkpoints, and model/, which predicts from files or
from arrays of samples, of one channel at 8000 a second; with --speaker all, a folder of these for
each:

    import jaxfer
    print(jaxfer.predict("runs/finetune_speech/model", ["seven.wav"]).labels)
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np
import tyro

from jaxfer.data import Domain, another_voice, blank_stripes, leave_speaker_out
from jaxfer.data.spectrograms import FRAME, HOP
from jaxfer.data.spoken_digits import RATE
from jaxfer.experiments import finetune_methods as methods
from jaxfer.experiments import finetune_options as options
from jaxfer.experiments import pretrain_images, uda_speech
from jaxfer.experiments.command_line import check_at_least, main
from jaxfer.experiments.finetune_run import Prepare, Task, compare
from jaxfer.experiments.finetune_saliency import GRADIENTS, draw_saliency, right_and_wrong
from jaxfer.inference import save_model
from jaxfer.models import (
    find_model,
    from_nnx,
    image_network,
    load_image_encoder,
    speech_classifier,
    speech_input,
)
from jaxfer.report import table
from jaxfer.training import open_run_folder, write_summary
from jaxfer.typing import Key, PyTree, UserError

OUT = Path("runs/finetune_speech")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(options.FineTuningOptions):
    """The settings of a run; the defaults are for the synthetic voices."""

    data: Annotated[str, tyro.conf.arg(metavar="auto|formants|FOLDER")] = "auto"
    """Where the recordings are; auto looks in --data-dir, JAXFER_DATA_DIR and the cache, and takes
    synthetic voices (formants) where there are none."""

    speaker: Annotated[str | None, tyro.conf.arg(metavar="NAME|all")] = None
    """Who is left out and judged on. By default the last by name; all for each in turn."""

    takes: Annotated[int, tyro.conf.arg(metavar="N")] = 15
    """Of synthetic voices: recordings of each digit, a fifth of them for the test."""

    network: Literal["image", "conv", "gru"] = "image"
    """An encoder of images, or a convolutional or recurrent one of spectrograms, which only scratch
    makes sense with."""

    model: Annotated[str, tyro.conf.arg(metavar="auto|FILE|FOLDER|NAME")] = "auto"
    """Weights of the small encoder of grey images, as pretrain_images writes them: a file, a folder
    or a name of the Hugging Face hub. auto pre-trains on generated characters first, in pretrained/
    below --out."""

    pretraining_steps: Annotated[int, tyro.conf.arg(metavar="N")] = 1000
    """How long auto pre-trains."""

    mels: Annotated[int, tyro.conf.arg(metavar="N")] = 40
    """Bands of a spectrogram."""

    features: Annotated[int, tyro.conf.arg(metavar="N")] = 128
    """Outputs of the encoders conv and gru."""

    frames: Annotated[int, tyro.conf.arg(metavar="N")] = 32
    """Frames to which what is spoken is brought, from its beginning to its end, over the room's
    noise; 0 takes recordings as they are."""

    masks: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """Stripes in time, and as many in frequency, that are blanked in training; 0 for none."""

    voice: Annotated[float, tyro.conf.arg(metavar="STRENGTH")] = 1.0
    """How far spectrograms become those of another voice in training, in multiples of a fifth in
    tempo, 15% in the length of the vocal tract, and a microphone's colour of 0.4 standard
    deviations; 0 leaves them."""

    listen: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Steps in which each trained network adapts to the speaker who is left out, by recordings
    without labels, for a row of its own: half of them teach what the other half is judged by."""

    rate: options.Rate = 5e-4
    """Learning rate of AdamW where all of the network trains."""

    scratch_rate: options.Rate = 1e-3
    """The same from random weights."""

    steps: Annotated[int, tyro.conf.arg(metavar="N")] = 600
    """How many optimiser steps to train each method, those before a --resume included."""


PRESETS = {"recordings": Config(speaker="all", steps=1500, listen=100)}
SMOKE = {
    **options.SMOKE, "data": "formants", "takes": 3, "mels": 16, "features": 8,
    "pretraining_steps": 4,
}  # fmt: skip


def find_weights(config: Config, out: Path = OUT) -> Path:
    """The weights that were named, or those of a pre-training that runs now."""
    if config.model != "auto":
        return find_model(config.model)
    return pretrain_images.pretrained(config, out / "pretrained", steps=config.pretraining_steps)


def make_model(config: Config, classes: int, out: Path) -> tuple[methods.Model, dict[str, Any]]:
    """The encoder with a head, what methods need to know of it, and what its weights presuppose."""
    if config.network != "image":
        return _own_model(config, classes), {}
    network = image_network("small", image_size=config.mels, color=False)
    weights = find_weights(config, out)
    start = load_image_encoder(weights, network)
    print(f"Encoder: {weights}, {start.report.table().splitlines()[0]}")
    numerics = start.network.numerics()
    build = speech_classifier(
        "image", mels=config.mels, features=network.features, classes=classes, numerics=numerics
    )
    model = methods.Model(
        build, start.params, {"encoder": start.state}, network.low_rank, network.groups
    )
    return model, numerics


def _own_model(config: Config, classes: int) -> methods.Model:
    """Networks of spectrograms, that nothing has trained."""
    if set(config.methods) != {"scratch"}:
        raise UserError(f"--network {config.network} is not pre-trained: give --methods scratch.")
    build = speech_classifier(
        config.network, mels=config.mels, features=config.features, classes=classes
    )
    params, state = from_nnx(build).init(jax.random.key(0))
    start = jax.tree.map(np.asarray, params["encoder"])
    return methods.Model(build, start, state, (), ("encoder/*", "head/*"))


def speech_settings(
    network: str, *, mels: int, frames: int | None, features: int, samples: int
) -> dict[str, Any]:
    """What a saved recogniser needs to know beside its weights: how it hears, and its sizes."""
    return {
        "network": network, "mels": mels, "frames": frames, "features": features,
        "rate": RATE, "frame": FRAME, "hop": HOP, "length": samples,
    }  # fmt: skip


def make_prepare(config: Config) -> Prepare:
    """From spectrograms to what the network takes, in training by other voices and in part."""

    def prepare(x: PyTree, key: Key | None) -> PyTree:
        if key is not None:
            voice_key, mask_key = jax.random.split(key)
            if config.voice:
                x = another_voice(voice_key, x, strength=config.voice)
            if config.masks:
                x = blank_stripes(x, mask_key, masks=config.masks)
        return speech_input(x, config.network)

    return prepare


def make_task(config: Config, speaker: str, domains: dict[str, Domain], out: Path) -> Task:
    """All other speakers to train on, this one's recordings to judge by: all of them."""
    others, left_out = leave_speaker_out(domains, speaker)
    frames = config.frames or None
    train, test = (
        uda_speech.in_log_mel(domain, config.mels, frames) for domain in (others, left_out)
    )
    # Nothing of the speaker was trained on, so that both of its parts are a test.
    both = tuple(np.concatenate(parts) for parts in zip(test.train, test.test, strict=True))
    domain = train._replace(
        name=f"digits of {speaker}",
        test=type(train.test)(*both),
        origin=f"{train.origin} Judged by: {test.origin}",
    )
    model, numerics = make_model(config, len(domain.classes), out)

    prepare = make_prepare(config)

    def save(folder: Path, params: PyTree, state: PyTree) -> None:
        settings = speech_settings(
            config.network, mels=config.mels, frames=frames, features=config.features,
            samples=left_out.test.x.shape[1],
        )  # fmt: skip
        save_model(
            folder, kind="speech", classes=domain.classes, params=params, state=state,
            settings={**settings, **numerics},
        )  # fmt: skip

    def explain(folder: Path, params: PyTree, state: PyTree, logits: np.ndarray) -> None:
        places = right_and_wrong(logits, domain.test.y, each=5)
        draw_saliency(
            from_nnx(model.build), domain, folder / "saliency.png", params, state, places, logits,
            prepare=lambda x: speech_input(x, config.network),
            upright=lambda x: x.T[::-1],  # time to the right, pitch upwards
            title=f"{GRADIENTS}: time to the right, pitch upwards",
        )  # fmt: skip

    return Task(domain, model, prepare, save, explain, listen=config.listen)


def run(config: Config) -> dict[str, Any]:
    """Fine-tunes in every way, judges each and writes everything into the run folder.

    Args:
      config: the settings.

    Returns:
      What ``summary.json`` holds.

    Raises:
      UserError: a setting, a file or the run folder is not as it must be.
    """
    options.check_options(config)
    check_at_least(config, takes=2, features=2, masks=0, voice=0, listen=0, pretraining_steps=1)
    uda_speech.check_hearing(config, least_mels=16)
    domains = uda_speech.read_speakers(
        uda_speech.Config(data=config.data, data_dir=config.data_dir, takes=config.takes)
    )
    out = config.out or OUT
    if config.speaker != "all":
        speaker = config.speaker or max(domains)
        return compare(config, make_task(config, speaker, domains, out))
    found = {}
    with open_run_folder(
        out, config, resume=config.resume, may_differ=("methods", "listen")
    ) as folder:
        for speaker in sorted(domains):
            place = out / speaker
            one = dataclasses.replace(
                config, out=place, speaker=speaker, resume=(place / "config.json").is_file()
            )  # fmt: skip
            found[speaker] = compare(one, make_task(one, speaker, domains, out))["methods"]
        means = {
            name: [float(of[name]["test_accuracy"]["mean"]) for of in found.values()]
            for name in next(iter(found.values()))
        }
        rows = [
            [
                name,
                *(f"{100 * x:.1f}" for x in each),
                f"{100 * float(np.mean(each)):.2f}",
            ]
            for name, each in means.items()
        ]
        print(f"\n{table(['test accuracy (%)', *found, 'mean'], rows)}")
        summary = {"speakers": found, "mean": {n: float(np.mean(x)) for n, x in means.items()}}
        write_summary(folder, {**summary, "config": config})
    return summary


if __name__ == "__main__":
    main(Config, run, PRESETS, smoke=SMOKE)
