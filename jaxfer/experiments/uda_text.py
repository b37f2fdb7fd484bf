"""Adapt a classifier of reviews to reviews of something else, whose labels it never sees.

Texts are cut into words, numbered by a vocabulary of what training may see, and read by a recurrent
network (--network gru, lstm) or as a bag of embeddings (bag). Several methods (--methods) are
trained one after the other, each with all its seeds at once, beside source-only and training on the
target's labels, the bounds between which they stand. The step that is reported is picked without
target labels.

    python -m jaxfer.experiments.uda_text
    python -m jaxfer.experiments.uda_text --network gru
    python -m jaxfer.experiments.uda_text --preset reviews --data-dir DIR
    python -m jaxfer.experiments.uda_text --preset reviews --data-dir DIR --network gru
    python -m jaxfer.experiments.uda_text --preset sentences --data-dir DIR --target amazon

The first two need no data: sentences from templates stand in, about films and about phones, which
the output announces; they take two to three minutes each on two cores. Full runs are --preset
reviews and sentences, the same 1000 steps a method on real texts: about five minutes by the bag,
and twenty by a recurrent network on reviews of 150 words. DIR holds reviews.jsonl.gz (--task
reviews: one JSON object a line with domain, label, text) or files such as yelp_labelled.txt (--task
sentences: a sentence, a tab and 0 or 1). What was measured stands in
experiments/uda_text/README.md. The run folder gets config.json, summary.json, methods.png,
learning_curves.png, features.png, confusion.png, and for each method a folder with its
metrics.jsonl, TensorBoard events and checkpoints.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import tyro

from jaxfer.adaptation import Classifier
from jaxfer.adapters import linear_feature_map
from jaxfer.data import Domain, load_review_texts, load_sentences, token_pair, write_reviews
from jaxfer.data.vocabulary import PADDING, UNKNOWN
from jaxfer.experiments import adaptation_methods as methods
from jaxfer.experiments.adaptation_run import Prepare, Shift, compare
from jaxfer.experiments.command_line import check_at_least, check_shares, main
from jaxfer.models import BagOfEmbeddings, RecurrentEncoder, from_nnx
from jaxfer.typing import Key, PyTree, UserError

Task = Literal["templates", "reviews", "sentences"]
PAIRS = {
    "templates": ("films", "phones"),
    "reviews": ("books", "electronics"),
    "sentences": ("imdb", "yelp"),
}
"""Source and target of a task unless others are named."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(methods.AdaptationOptions):
    """The settings of a run; the defaults are for the built-in sentences."""

    task: Task = "templates"
    """Which texts: reviews or sentences of the user's, or the built-in templates."""

    source: Annotated[str | None, tyro.conf.arg(metavar="DOMAIN")] = None
    """What the labelled texts are about; by default films, books or imdb."""

    target: Annotated[str | None, tyro.conf.arg(metavar="DOMAIN")] = None
    """What the texts without labels are about; by default phones, electronics or yelp."""

    data: Annotated[str, tyro.conf.arg(metavar="auto|FOLDER")] = "auto"
    """Where the texts are; auto looks in --data-dir, JAXFER_DATA_DIR and the cache."""

    network: Literal["bag", "gru", "lstm"] = "bag"
    """The mean of the words' embeddings through a hidden layer, or a recurrent network whose states
    are averaged."""

    length: Annotated[int, tyro.conf.arg(metavar="N")] = 24
    """Words that are read of each text, from its beginning."""

    vocabulary: Annotated[int, tyro.conf.arg(metavar="N")] = 10_000
    """Words at most that have a number of their own; they occur at least twice."""

    width: Annotated[int, tyro.conf.arg(metavar="N")] = 100
    """Size of an embedding, and of the features."""

    dropout: float = 0.3
    """Share of the embeddings and of the features that is set to zero in training."""

    word_dropout: float = 0.3
    """Share of the words that are unknown ones in training, so that none is relied on alone."""

    methods: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME...")] = (
        "dann",
        "cdan+e",
        "dan",
        "mcc",
    )
    """Which methods to train, one after the other; source-only always comes first, and training on
    the target's labels last, as the bounds between which they stand."""


PRESETS = {
    "reviews": Config(task="reviews", length=150),
    "sentences": Config(task="sentences", length=30),
}
SMOKE = {**methods.SMOKE, "width": 8, "length": 8}


UNFIT = {
    ("vat", "vada"): "which moves inputs a little, and words cannot be moved",
    ("fixmatch", "mean-teacher"): "which changes inputs at random, as pictures can be",
    ("tent", "adabn"): "which adapts batch normalisation, and these networks have none",
}
"""Methods that words or these networks give nothing to work with, and why."""


def read_texts(config: Config) -> tuple[Domain, Domain]:
    """Source and target, as they were written."""
    data_dir = config.data_dir if config.data == "auto" else Path(config.data)
    if config.task == "templates":
        domains = write_reviews()
    elif config.task == "reviews":
        domains = load_review_texts(data_dir)
    else:
        domains = load_sentences(data_dir)
    names = (config.source or PAIRS[config.task][0], config.target or PAIRS[config.task][1])
    for flag, name in zip(("--source", "--target"), names, strict=True):
        if name not in domains:
            raise UserError(f"{flag} is {name}; give one of {', '.join(domains)}.")
    if names[0] == names[1]:
        raise UserError(f"--source and --target are both {names[0]}; name two different ones.")
    return domains[names[0]], domains[names[1]]


def make_prepare(config: Config) -> Prepare:
    """Makes some words unknown in training."""

    def prepare(tokens: PyTree, key: Key | None) -> PyTree:
        if key is None or not config.word_dropout:
            return tokens
        dropped = jax.random.bernoulli(key, config.word_dropout, tokens.shape)
        return jnp.where(dropped & (tokens != PADDING), UNKNOWN, tokens)

    return prepare


def make_classifier(config: Config, vocabulary: int, classes: int) -> Classifier:
    """The network with a linear classifier."""
    width, dropout, cell = config.width, config.dropout, config.network
    if cell == "bag":
        encoder = from_nnx(
            lambda rngs: BagOfEmbeddings(
                vocabulary, width=width, features=width, dropout=dropout, rngs=rngs
            )
        )
    else:
        encoder = from_nnx(
            lambda rngs: RecurrentEncoder(
                vocabulary, width=width, features=width, cell=cell, readout="mean",
                dropout=dropout, rngs=rngs,
            )
        )  # fmt: skip
    return Classifier(encoder, linear_feature_map(config.width, classes))


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
    check_at_least(config, length=1, vocabulary=3, width=1)
    check_shares(config, "dropout", "word_dropout")
    for names, why in UNFIT.items():
        if unfit := sorted(set(names) & set(config.methods)):
            raise UserError(f"--methods has {' and '.join(unfit)}, {why}; leave it out.")
    source, target, vocabulary = token_pair(
        *read_texts(config), length=config.length, size=config.vocabulary
    )
    classifier = make_classifier(config, vocabulary.size, len(source.classes))
    return compare(config, Shift(source, target, classifier, config.width, make_prepare(config)))


if __name__ == "__main__":
    main(Config, run, PRESETS, smoke=SMOKE)
