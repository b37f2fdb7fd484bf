"""The flags of every experiment that fine-tunes."""

import dataclasses
from typing import Annotated, Literal, TypeAlias

import tyro

from jaxfer.experiments.command_line import TrainingOptions, check_at_least
from jaxfer.typing import UserError

METHODS = ("scratch", "probe", "lora", "l2-sp", "full", "bitfit", "adapters", "layerwise", "thaw")
Rate: TypeAlias = Annotated[float | Literal["find"], tyro.conf.arg(metavar="RATE|find")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineTuningOptions(TrainingOptions):
    """The flags of every experiment that fine-tunes.

    >>> FineTuningOptions(methods=("probe",)).rank
    8
    """

    methods: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME...")] = (
        "scratch",
        "probe",
        "lora",
        "l2-sp",
        "full",
    )
    """What to compare, one after the other: scratch (the same network without pre-training), probe
    (a head on features that stay), lora, l2-sp, full, bitfit, adapters, layerwise (rates that fall
    towards the input), thaw (the head first, then one layer after another)."""

    runs: Annotated[int, tyro.conf.arg(metavar="N")] = 3
    """How many runs of each method, with seeds SEED, SEED + 1, ...; results are given with their
    mean and spread."""

    steps: Annotated[int, tyro.conf.arg(metavar="N")] = 300
    """How many optimiser steps to train each method, those before a --resume included."""

    probe_steps: Annotated[int, tyro.conf.arg(metavar="N")] = 1000
    """Steps of a probe, which are cheap: its features are computed once."""

    batch: Annotated[int, tyro.conf.arg(metavar="N")] = 32
    """Examples in a step."""

    rate: Rate = 1e-4
    """Learning rate of AdamW where all of the network trains. find looks for it by a short run in
    which the rate rises until the loss does, anew for each method."""

    few_rate: Rate = 1e-3
    """The same where few parameters train: lora, bitfit, adapters, probe."""

    scratch_rate: Rate = 3e-4
    """The same from random weights."""

    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How a learning rate goes on when it has risen over the first tenth of the steps: it falls
    to 0 along a cosine or a line, or stays."""

    decay: Annotated[float, tyro.conf.arg(metavar="DECAY")] = 0.01
    """Weight decay of AdamW, on weights and not on biases or normalisations."""

    rank: Annotated[int, tyro.conf.arg(metavar="R")] = 8
    """Rank of lora's corrections, and size of the bottlenecks of adapters."""

    alpha: Annotated[float, tyro.conf.arg(metavar="ALPHA")] = 16.0
    """What lora's corrections are multiplied by, over their rank."""

    anchor: Annotated[float, tyro.conf.arg(metavar="STRENGTH")] = 0.1
    """Weight of l2-sp's penalty on the distance from where the network began; a tenth of it holds
    the new head to 0."""

    layer_decay: Annotated[float, tyro.conf.arg(metavar="FACTOR")] = 0.8
    """What layerwise multiplies the rate by from one layer to the one before it."""

    balance: bool = False
    """Weigh classes by how few examples they have."""

    validate_every: Annotated[int, tyro.conf.arg(metavar="N")] = 50
    """Steps between validations, of which the best is kept."""

    patience: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """After how many validations without a better accuracy a run ends, and a method with its last
    run. By default all go on to --steps."""

    checkpoint_every: Annotated[int, tyro.conf.arg(metavar="N")] = 500
    """Steps between checkpoints."""


SMOKE = {
    "steps": 4,
    "probe_steps": 4,
    "runs": 2,
    "batch": 8,
    "validate_every": 2,
    "checkpoint_every": 2,
    "methods": ("scratch", "probe", "lora"),
}
"""What --smoke sets."""


def check_options(config: FineTuningOptions) -> None:
    """Checks the settings that every experiment on fine-tuning has.

    Raises:
      UserError: one is out of range, or a method is not known.

    >>> check_options(FineTuningOptions(methods=("prune",)))
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: There is no method 'prune'; there are: scratch, probe, lora, l2-sp, \
full, bitfit, adapters, layerwise, thaw.
    """
    for name in config.methods:
        if name not in METHODS:
            raise UserError(f"There is no method {name!r}; there are: {', '.join(METHODS)}.")
    if not config.methods:
        raise UserError(f"--methods names none; there are: {', '.join(METHODS)}.")
    check_at_least(
        config, steps=1, probe_steps=1, batch=1, decay=0, patience=1,
        rank=1, alpha=0, anchor=0, layer_decay=1e-6, validate_every=1, checkpoint_every=1,
    )  # fmt: skip
    for rate in ("rate", "few_rate", "scratch_rate"):
        if getattr(config, rate) != "find":
            check_at_least(config, **{rate: 0})
    if config.layer_decay > 1:
        raise UserError(f"--layer-decay is {config.layer_decay}; give at most 1.")
