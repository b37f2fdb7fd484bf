"""Adapt a classifier of digits to digits of another kind, whose labels it never sees.

Several methods (--methods) are trained one after the other, each with all its seeds at once, beside
source-only and training on the target's labels, the bounds between which they stand. The step that
is reported is picked without target labels; the best possible one is named an oracle.

    python -m jaxfer.experiments.uda_digits
    python -m jaxfer.experiments.uda_digits --preset mnist-usps
    python -m jaxfer.experiments.uda_digits --preset usps-mnist --methods dann cdan+e dan mcd
    python -m jaxfer.experiments.uda_digits --preset mnist-mnistm --methods dann

The first needs no download: scikit-learn's digits, and the same digits on photographs. The others
need MNIST and USPS; experiments/uda_digits/README.md has what was measured. The run folder gets
config.json, summary.json, methods.png, features.png, confusion.png, and for each method a folder
with its metrics.jsonl, TensorBoard events and checkpoints.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import jax.numpy as jnp
import tyro

from jaxfer.adaptation import Classifier
from jaxfer.adapters import FeatureMap, linear_feature_map, network_feature_map
from jaxfer.adapters.domain_statistics import DomainStatistics
from jaxfer.data import digit_pair
from jaxfer.experiments import adaptation_methods as methods
from jaxfer.experiments.adaptation_run import Shift, compare
from jaxfer.experiments.command_line import main
from jaxfer.models import DannDigitEncoder, LeNet, from_nnx, small_lenet
from jaxfer.typing import Key, PyTree, UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(methods.AdaptationOptions):
    """The settings of a run; the defaults are for scikit-learn's digits."""

    pair: Literal["digits-blended", "mnist-usps", "usps-mnist", "mnist-mnistm"] = "digits-blended"
    """Source and target. digits-blended needs no download."""

    data: Annotated[str, tyro.conf.arg(metavar="auto|FOLDER")] = "auto"
    """Where MNIST and USPS are; auto looks in --data-dir, JAXFER_DATA_DIR and the cache."""

    photographs: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Photographs for the background of blended digits, instead of scikit-learn's two."""

    network: Literal["lenet", "dann"] = "lenet"
    """LeNet with 500 features (128 for images of 8 x 8), or the DANN paper's network."""

    dropout: float = 0.0
    """Share of LeNet's features that is set to zero in training."""

    batch_norm: bool = False
    """Batch normalisation after each convolution."""

    statistics: DomainStatistics = "joint"
    """Which batch the statistics are of: both domains as one, each by itself (per_domain), each
    with a record of its own (separate), or the recorded ones (frozen)."""

    steps: Annotated[int, tyro.conf.arg(metavar="N")] = 1000
    """How many optimiser steps to train each method, those before a --resume included."""


PRESETS = {
    pair: Config(pair=pair, steps=2000) for pair in ("mnist-usps", "usps-mnist", "mnist-mnistm")
}


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
    data_dir = config.data_dir if config.data == "auto" else Path(config.data)
    source, target = digit_pair(config.pair, data_dir, photographs=config.photographs)
    classifier, features = make_classifier(config, source.train.x.shape[1:], len(source.classes))
    return compare(config, Shift(source, target, classifier, features, prepare, True))


if __name__ == "__main__":
    main(Config, run, PRESETS, smoke=methods.SMOKE)
