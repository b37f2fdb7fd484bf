"""Ways to fine-tune a network, by name: what each trains, from where, how fast, held to what."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax import nnx

from jaxfer.adapters import (
    Mask,
    by_pattern,
    depth_of_groups,
    partition,
    path_name,
    scale_by_depth,
    thaw_by_depth,
)
from jaxfer.experiments.command_line import TrainingOptions, check_at_least
from jaxfer.losses import l2_sp
from jaxfer.models import Network, add_bottlenecks, add_low_rank, from_nnx
from jaxfer.typing import Key, PyTree, UserError

METHODS = ("scratch", "probe", "lora", "l2-sp", "full", "bitfit", "adapters", "layerwise", "thaw")


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

    rate: Annotated[float, tyro.conf.arg(metavar="RATE")] = 1e-4
    """Learning rate of AdamW where all of the network trains; it rises over the first tenth of the
    steps and falls to 0 along a cosine."""

    few_rate: Annotated[float, tyro.conf.arg(metavar="RATE")] = 1e-3
    """The same where few parameters train: lora, bitfit, adapters, probe."""

    scratch_rate: Annotated[float, tyro.conf.arg(metavar="RATE")] = 3e-4
    """The same from random weights."""

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


class Model(NamedTuple):
    """A network to fine-tune: a module ``encoder`` with a linear layer ``head``.

    Attributes:
      build: ``build(rngs)``, the module; it gives a ``Classification``.
      start: the encoder's parameters as pre-trained.
      state: its batch statistics; ``{}`` for none.
      low_rank: patterns of the layers that lora corrects.
      groups: patterns of parameters from the input to the output, for layerwise and thaw.

    >>> Model(None, {}, {}, ("*/query",), ("encoder/*", "head/*")).groups[-1]
    'head/*'
    """

    build: Callable[[nnx.Rngs], nnx.Module]
    start: PyTree
    state: PyTree
    low_rank: tuple[str, ...]
    groups: tuple[str, ...]


class Tuning(NamedTuple):
    """One method on one network.

    Attributes:
      network: as pure functions.
      init: ``init(key) -> (trained, state)``; ``trained`` maps paths to what trains.
      frozen: the parameters that do not, alike for every seed, ``None`` where something trains.
      optimiser: of what trains.
      penalty: of what trains, added to the loss.
      alpha: of the factors of low rank in the network; ``None`` for none.

    >>> Tuning(None, None, {}, None, lambda trained: 0.0).alpha is None
    True
    """

    network: Network
    init: Callable[[Key], tuple[dict[str, jax.Array], PyTree]]
    frozen: PyTree
    optimiser: optax.GradientTransformation
    penalty: Callable[[dict[str, jax.Array]], jax.Array | float]
    alpha: float | None = None

    def whole(self, trained: dict[str, jax.Array]) -> PyTree:
        """The network's parameters: what trains, and what does not."""
        return fill(self.frozen, trained)


def fill(frozen: PyTree, trained: dict[str, jax.Array]) -> PyTree:
    """Puts what trains, by path, where the frozen half has ``None``.

    >>> fill({"body": 1.0, "head": {"bias": None}}, {"head/bias": 2.0})
    {'body': 1.0, 'head': {'bias': 2.0}}
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: trained[path_name(path)] if leaf is None else leaf,
        frozen,
        is_leaf=lambda leaf: leaf is None,
    )


def by_name(half: PyTree) -> dict[str, jax.Array]:
    """The leaves of a half of the parameters by their paths.

    >>> by_name({"body": None, "head": {"bias": 2.0}})
    {'head/bias': 2.0}
    """
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(half)}


def make_tuning(name: str, model: Model, config: FineTuningOptions) -> Tuning:
    """A method by its name.

    Args:
      name: one of :data:`METHODS`, not ``probe``: that trains on features alone.
      model: what it tunes.
      config: rates, strengths and ranks.

    Returns:
      The method.

    Raises:
      UserError: there is none of that name, or the network has not what it needs.
    """
    few = name in ("lora", "bitfit", "adapters")
    masks: dict[str, Mask] = {
        "lora": by_pattern("*/low_rank/*", "head/*"),
        "bitfit": by_pattern("*/bias", "head/*"),
        "adapters": by_pattern("*_adapter/*", "*norm*/*", "head/*"),
    }

    def build(rngs: nnx.Rngs) -> nnx.Module:
        module = model.build(rngs)
        if name == "lora":
            add_low_rank(
                module, *model.low_rank, rank=config.rank, alpha=config.alpha, rngs=rngs
            )  # fmt: skip
        if name == "adapters":
            add_bottlenecks(module, size=config.rank, rngs=rngs)
        return module

    try:
        network = from_nnx(build, frozen=("encoder",) if few else ())
    except ValueError as error:
        raise UserError(f"{name} does not fit this network: {error}") from error

    def start(key: Key) -> tuple[PyTree, PyTree]:
        params, state = network.init(key)
        if name == "scratch":
            return params, state
        return _overlaid(params, {"encoder": model.start}), _overlaid(state, model.state)

    mask = masks.get(name)
    shapes, _ = jax.eval_shape(start, jax.random.key(0))
    _, absent = partition(shapes, mask)
    frozen = absent
    if jax.tree.leaves(absent):
        frozen = jax.tree.map(np.asarray, partition(start(jax.random.key(0))[0], mask)[1])

    def init(key: Key) -> tuple[dict[str, jax.Array], PyTree]:
        params, state = start(key)
        return by_name(partition(params, mask)[0]), state

    trained_shapes = by_name(partition(shapes, mask)[0])
    rate = config.scratch_rate if name == "scratch" else config.few_rate if few else config.rate
    chain = [make_optimiser(config, rate, config.steps)]
    if name in ("layerwise", "thaw"):
        depths = by_name(depth_of_groups(model.groups)(shapes))
        chain.append(
            scale_by_depth(depths, decay=config.layer_decay)
            if name == "layerwise"
            else thaw_by_depth(depths, every=max(1, config.steps // (2 * len(model.groups))))
        )

    anchors: dict[str, PyTree] = {path: None for path in trained_shapes}
    if name == "l2-sp":
        anchors |= by_name({"encoder": model.start})
    strengths = {
        path: config.anchor * (0.1 if path.startswith("head/") else 1.0) for path in trained_shapes
    }

    def penalty(trained: dict[str, jax.Array]) -> jax.Array | float:
        return l2_sp(trained, anchors, weights=strengths) if name == "l2-sp" else 0.0

    return Tuning(
        network, init, frozen, optax.chain(*chain), penalty,
        config.alpha if name == "lora" else None,
    )  # fmt: skip


def make_optimiser(
    config: FineTuningOptions, rate: float, steps: int
) -> optax.GradientTransformation:
    """AdamW with a warm-up and a cosine, and gradients of at most length 1."""
    schedule = optax.warmup_cosine_decay_schedule(0.0, rate, max(1, steps // 10), max(2, steps))
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(
            schedule,
            weight_decay=config.decay,
            mask=lambda params: jax.tree.map(lambda leaf: jnp.ndim(leaf) > 1, params),
        ),
    )


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
        config, steps=1, probe_steps=1, batch=1, rate=0, few_rate=0, scratch_rate=0, decay=0,
        rank=1, alpha=0, anchor=0, layer_decay=1e-6, validate_every=1, checkpoint_every=1,
    )  # fmt: skip
    if config.layer_decay > 1:
        raise UserError(f"--layer-decay is {config.layer_decay}; give at most 1.")


def _overlaid(params: PyTree, start: Any) -> PyTree:
    """Parameters with those of the start in their places; what it lacks stays."""
    if not isinstance(params, dict):
        return jnp.asarray(start)
    if not isinstance(start, dict):
        raise ValueError("the start is no part of the network's parameters.")
    unknown = set(start) - set(params)
    if unknown:
        raise ValueError(f"the start holds {sorted(unknown)}, which the network does not.")
    return {
        name: _overlaid(below, start[name]) if name in start else below
        for name, below in params.items()
    }
