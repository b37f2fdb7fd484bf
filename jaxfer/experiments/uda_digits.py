"""Adapt a classifier of digits to digits of another kind, whose labels it never sees.

Several methods (--methods) are trained one after the other, each with all its seeds at once, beside
source-only and training on the target's labels, the bounds between which they stand. The step that
is reported is picked without target labels; the best possible one is named an oracle.

    python -m jaxfer.experiments.uda_digits
    python -m jaxfer.experiments.uda_digits --preset mnist-usps
    python -m jaxfer.experiments.uda_digits --preset usps-mnist --methods dann cdan+e dan mcd
    python -m jaxfer.experiments.uda_digits --preset mnist-mnistm --methods dann
    python -m jaxfer.experiments.uda_digits --preset digits-corrupted --corruption contrast
    python -m jaxfer.experiments.uda_digits --preset mnist-corrupted --severity 3
    python -m jaxfer.experiments.uda_digits --preset partial
    python -m jaxfer.experiments.uda_digits --preset open-set --methods osbp dann
    python -m jaxfer.experiments.uda_digits --methods pada dann --target-classes 0 1 2 3 4

The first and the last need no download: scikit-learn's digits, and the same digits on photographs;
nor does digits-corrupted. They take less than five minutes on two cores. The others, full runs of
2000 steps a method, need MNIST and USPS, and take ten to fifteen minutes each with the methods that
they have by default, and two to four for each one more; experiments/uda_digits/README.md has what
was measured. A target corrupted is one for AdaBN, TENT and SHOT. One that holds some of the
source's classes is partial; one that holds others, too, makes an open set: they count as one class,
the unknown, which source-only and every method but OSBP can never say. The run folder gets
config.json, summary.json, methods.png, learning_curves.png, features.png, confusion.png, and for
each method a folder with its metrics.jsonl, TensorBoard events and checkpoints.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import jax.numpy as jnp
import tyro

from jaxfer.adaptation import Classifier
from jaxfer.adapters import FeatureMap, linear_feature_map, network_feature_map
from jaxfer.adapters.domain_statistics import DomainStatistics
from jaxfer.data import Domain, digit_pair, keep_classes, keep_known, merge_unknown
from jaxfer.data.label_subsets import UNKNOWN_CLASS
from jaxfer.experiments import adaptation_methods as methods
from jaxfer.experiments.adaptation_run import Shift, compare
from jaxfer.experiments.adaptation_scores import LEAST_CLASS_ENTROPY
from jaxfer.experiments.command_line import check_at_least, check_shares, main
from jaxfer.models import DannDigitEncoder, LeNet, from_nnx, small_lenet
from jaxfer.typing import Key, PyTree, UserError

PARTIAL_CLASS_ENTROPY = 0.25  # of the guard: a little less than two in ten classes have, used alike
NORMALISED = ("tent", "adabn")  # methods that move nothing but what batch normalisation has


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(methods.AdaptationOptions):
    """The settings of a run; the defaults are for scikit-learn's digits."""

    pair: Literal[
        "digits-blended",
        "mnist-usps",
        "usps-mnist",
        "mnist-mnistm",
        "digits-corrupted",
        "mnist-corrupted",
    ] = "digits-blended"
    """Source and target. Those that begin with digits need no download."""

    data: Annotated[str, tyro.conf.arg(metavar="auto|FOLDER")] = "auto"
    """Where MNIST and USPS are; auto looks in --data-dir, JAXFER_DATA_DIR and the cache."""

    photographs: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Photographs for the background of blended digits, instead of scikit-learn's two."""

    corruption: Literal["noise", "blur", "contrast", "inversion"] = "noise"
    """What is done to the target of a corrupted pair."""

    severity: Annotated[int, tyro.conf.arg(metavar="1...5")] = 5
    """How much of it."""

    source_classes: Annotated[tuple[str, ...], tyro.conf.arg(metavar="CLASS...")] = ()
    """The classes that the source holds; by default all ten. Those that the target holds beside
    them are one class then, the unknown."""

    target_classes: Annotated[tuple[str, ...], tyro.conf.arg(metavar="CLASS...")] = ()
    """The classes that the target holds; by default all ten."""

    network: Literal["lenet", "dann"] = "lenet"
    """LeNet with 500 features (128 for images of 8 x 8), or the DANN paper's network."""

    dropout: float = 0.0
    """Share of LeNet's features that is set to zero in training."""

    batch_norm: bool = False
    """Batch normalisation after each convolution."""

    statistics: DomainStatistics = "joint"
    """Which batch the statistics are of: both domains as one, each by itself (per_domain), each
    with a record of its own (separate), or the recorded ones (frozen). With separate, and with it
    alone, source-only sees nothing of the target's."""

    steps: Annotated[int, tyro.conf.arg(metavar="N")] = 1000
    """How many optimiser steps to train each method, those before a --resume included."""


_AT_TEST_TIME = Config(methods=("tent", "adabn", "shot"), batch_norm=True, statistics="separate")

PRESETS = {
    # Half of the features dropped, as CDAN's authors train on these digits: without it an adversary
    # tells the domains apart to the end.
    "mnist-usps": Config(pair="mnist-usps", steps=2000, dropout=0.5),
    "usps-mnist": Config(pair="usps-mnist", steps=2000, dropout=0.5),
    # Batch normalisation with a record for each domain, and the paper's adversary of 100 units: of
    # eight settings the one that information maximisation rates highest without a target label.
    "mnist-mnistm": Config(
        pair="mnist-mnistm", steps=2000, network="dann", batch_norm=True, statistics="separate",
        adversary=100,
    ),
    "digits-corrupted": dataclasses.replace(_AT_TEST_TIME, pair="digits-corrupted"),
    "mnist-corrupted": dataclasses.replace(_AT_TEST_TIME, pair="mnist-corrupted", steps=2000),
    "partial": Config(
        pair="mnist-usps", target_classes=tuple("01234"), methods=("pada", "dann"), steps=2000,
        validator="entropy", dropout=0.5,
    ),
    "open-set": Config(
        pair="mnist-usps", source_classes=tuple("012345"), methods=("osbp",), steps=2000,
        dropout=0.5,
    ),
}  # fmt: skip
"""Settings by name.

The corrupted ones have batch normalisation with a record of statistics for each domain. Source-only
predicts with the source's. AdaBN trains the very same network and differs in predicting with the
target's record; TENT and SHOT train on the source alone for the first half of the steps, with one
record, and then on the target alone.

The partial one is picked by the entropy: information maximisation asks for all classes alike, of
which the target has some. In the open set the target has all digits, and 6 to 9 are unknown.
"""


def make_classifier(config: Config, shape: tuple[int, ...], classes: int) -> tuple[Classifier, int]:
    """The network, and how many features it has."""
    height, _, channels = shape
    if config.network == "dann":
        if height < 16:
            raise UserError("--network dann needs images of 28 x 28; take lenet for these.")
        encoder = from_nnx(
            lambda rngs: DannDigitEncoder(
                image_size=height, in_features=channels, batch_norm=config.batch_norm, rngs=rngs
            )
        )
        features = 768
        head: FeatureMap = network_feature_map(features, classes, hidden=(100, 100))
    else:
        build = small_lenet if height < 16 else LeNet
        features = 128 if height < 16 else 500
        encoder = from_nnx(
            lambda rngs: build(
                in_features=channels, features=features, dropout=config.dropout,
                batch_norm=config.batch_norm, method="patches", rngs=rngs,
            )
        )  # fmt: skip
        head = linear_feature_map(features, classes)
    return Classifier(encoder, head, config.statistics), features


def prepare(images: PyTree, key: Key | None) -> PyTree:
    """From uint8 to [-1, 1]."""
    del key
    return jnp.asarray(images, jnp.float32) / 127.5 - 1


def check_config(config: Config) -> None:
    """Checks the settings, before anything is read.

    Args:
      config: the settings.

    Raises:
      UserError: if one makes no sense, or two do not go together.

    >>> check_config(Config())
    """
    methods.check_options(config)
    check_at_least(config, severity=1)
    check_shares(config, "dropout")
    if config.severity > 5:
        raise UserError(f"--severity is {config.severity}; give at most 5.")
    for name in ("corruption", "severity"):
        value = getattr(config, name)
        if value != getattr(Config, name) and not config.pair.endswith("-corrupted"):
            raise UserError(
                f"--{name} is {value}, but in {config.pair} nothing is corrupted; add --pair "
                "digits-corrupted or mnist-corrupted."
            )
    for name in NORMALISED:
        if name in config.methods and not config.batch_norm:
            raise UserError(
                f"--methods {name} adapts the batch normalisation, and the network has none; add "
                "--batch-norm."
            )


def choose_classes(config: Config, source: Domain, target: Domain) -> tuple[Domain, Domain]:
    """Leaves the classes of ``--source-classes`` and ``--target-classes`` to the domains.

    Args:
      config: the settings.
      source, target: domains of the same classes.

    Returns:
      Both, their labels numbered alike; the last of ``classes`` is ``"unknown"`` where the target
      has some that the source lacks.

    Raises:
      UserError: for a class that there is not, one that is named twice, a source of one class, or
        no class that both have.

    >>> from jaxfer.data import load_digit_domain
    >>> digits = load_digit_domain("digits")
    >>> config = Config(source_classes=("1", "2"), target_classes=("2", "7"))
    >>> source, target = choose_classes(config, digits, digits)
    >>> target.classes, set(source.train.y.tolist()), set(target.train.y.tolist())
    (('1', '2', 'unknown'), {0, 1}, {1, 2})
    """
    chosen = {"source": config.source_classes, "target": config.target_classes}
    for side, names in chosen.items():
        for name in names:
            if name not in source.classes or names.count(name) > 1:
                wrong = "twice" if name in source.classes else "which is no class"
                raise UserError(
                    f"--{side}-classes names {name}, {wrong}; give some of "
                    f"{', '.join(source.classes)}, each once."
                )
    known = chosen["source"] or source.classes
    held = chosen["target"] or target.classes
    if len(known) < 2:
        raise UserError(f"--source-classes names {known[0]} alone; give at least 2 classes.")
    if not set(known) & set(held):
        raise UserError(
            "--source-classes and --target-classes have no class in common, so that nothing can "
            "be adapted; give one to both."
        )
    if chosen["target"]:
        target = keep_classes(target, held)
    if not chosen["source"]:
        return source, target
    source, target = keep_known(source, known), merge_unknown(target, known)
    if set(held) <= set(known):  # a class that does not occur
        source, target = (domain._replace(classes=known) for domain in (source, target))
    return source, target


def run(config: Config) -> dict[str, Any]:
    """Trains every method, judges it and writes everything into the run folder.

    Args:
      config: the settings.

    Returns:
      What ``summary.json`` holds.

    Raises:
      UserError: a setting, a file or the run folder is not as it must be.
    """
    check_config(config)
    data_dir = config.data_dir if config.data == "auto" else Path(config.data)
    source, target = choose_classes(
        config,
        *digit_pair(
            config.pair, data_dir, photographs=config.photographs, corruption=config.corruption,
            severity=config.severity,
        ),
    )  # fmt: skip
    known = config.source_classes or source.classes
    lacks_some = config.target_classes and set(known) - set(config.target_classes)
    shape, classes = source.train.x.shape[1:], len(source.classes)
    unknown_head = None
    if source.classes[-1] == UNKNOWN_CLASS:
        classes -= 1
        unknown_head = make_classifier(config, shape, classes + 1)[0].head
    classifier, features = make_classifier(config, shape, classes)
    return compare(
        config,
        Shift(
            source, target, classifier, features, prepare, True, unknown_head=unknown_head,
            least_class_entropy=PARTIAL_CLASS_ENTROPY if lacks_some else LEAST_CLASS_ENTROPY,
        ),
    )  # fmt: skip


if __name__ == "__main__":
    main(Config, run, PRESETS, smoke=methods.SMOKE)
