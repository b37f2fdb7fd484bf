"""Ways to fine-tune a network, by name: what each trains, from where, how fast, held to what."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
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
from jaxfer.experiments.finetune_options import FineTuningOptions
from jaxfer.experiments.finetune_rates import make_optimiser, rate_of
from jaxfer.losses import l2_sp
from jaxfer.models import Network, add_bottlenecks, add_low_rank, from_nnx
from jaxfer.typing import Key, PyTree, UserError


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


class Plan(NamedTuple):
    """What a method trains of a network, before anything is computed.

    Attributes:
      network: as pure functions.
      start: ``start(key) -> (params, state)``.
      shapes: of the parameters.
      mask: which of them train, as for :func:`jaxfer.adapters.partition`; ``None`` for all.

    >>> Plan(None, None, {}, None).mask is None
    True
    """

    network: Network
    start: Callable[[Key], tuple[PyTree, PyTree]]
    shapes: PyTree
    mask: Mask


def plan_tuning(name: str, model: Model, config: FineTuningOptions) -> Plan:
    """What a method would train: cheap, and it fails where the method does not fit.

    Args:
      name: one of :data:`METHODS`.
      model: what it tunes.
      config: ranks.

    Returns:
      The plan.

    Raises:
      UserError: the network has not what the method needs.
    """
    masks: dict[str, Mask] = {
        "probe": by_pattern("head/*"),
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

    def start(key: Key) -> tuple[PyTree, PyTree]:
        params, state = network.init(key)
        if name == "scratch":
            return params, state
        return _overlaid(params, {"encoder": model.start}), _overlaid(state, model.state)

    try:
        network = from_nnx(build, frozen=("encoder",) if name in masks else ())
        shapes, _ = jax.eval_shape(start, jax.random.key(0))
        partition(shapes, masks.get(name))
        if name in ("layerwise", "thaw"):
            depth_of_groups(model.groups)(shapes)
    except ValueError as error:
        raise UserError(f"{name} does not fit this network: {error}") from error
    return Plan(network, start, shapes, masks.get(name))


def make_tuning(
    name: str,
    model: Model,
    config: FineTuningOptions,
    *,
    plan: Plan | None = None,
    rate: float | None = None,
) -> Tuning:
    """A method by its name.

    Args:
      name: one of :data:`METHODS`, not ``probe``: that trains on features alone.
      model: what it tunes.
      config: rates, strengths and ranks.
      plan: from :func:`plan_tuning`, where there is one already.
      rate: to learn at; ``None`` takes that of the settings, a number.

    Returns:
      The method.

    Raises:
      UserError: the network has not what it needs.
    """
    network, start, shapes, mask = plan or plan_tuning(name, model, config)
    _, absent = partition(shapes, mask)
    frozen = absent
    if jax.tree.leaves(absent):
        frozen = jax.tree.map(np.asarray, partition(start(jax.random.key(0))[0], mask)[1])

    def init(key: Key) -> tuple[dict[str, jax.Array], PyTree]:
        params, state = start(key)
        return by_name(partition(params, mask)[0]), state

    trained_shapes = by_name(partition(shapes, mask)[0])
    rate = float(rate_of(config, name)) if rate is None else rate
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
