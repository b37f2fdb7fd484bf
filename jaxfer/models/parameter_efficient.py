"""Few trained parameters inside a network: factors beside its weights, adapters in its blocks."""

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import TypeVar

from flax import nnx

from jaxfer.adapters import LowRank, low_rank_scale, merge_low_rank
from jaxfer.models.conv import Conv
from jaxfer.models.layers import Factors, Linear
from jaxfer.models.transformer import Bottleneck, TransformerBlock
from jaxfer.typing import PyTree

Module = TypeVar("Module", bound=nnx.Module)


def add_low_rank(
    module: Module, *patterns: str, rank: int, alpha: float | None = None, rngs: nnx.Rngs
) -> Module:
    """Gives dense layers and convolutions of a network a correction of low rank each.

    The factors stand beside the weight, under ``LAYER/low_rank/down`` and ``/up``: train them alone
    with ``by_pattern("*/low_rank/*", "head/*")``, and no gradient of a whole weight is formed.

    Args:
      module: the network; it is changed in place.
      *patterns: paths of layers, as for :func:`jaxfer.adapters.by_pattern`:
        ``"*/attention/query"``.
      rank: of each correction.
      alpha: what the correction is multiplied by, over the rank; ``None`` takes the rank.
      rngs: source of the initial values.

    Returns:
      The same module.

    Raises:
      ValueError: for a pattern that matches no layer, or a rank that is too large.

    >>> import jax
    >>> network = nnx.Sequential(Linear(4, 3, rngs=nnx.Rngs(0)))
    >>> network = add_low_rank(network, "*", rank=2, rngs=nnx.Rngs(1))
    >>> network(jax.numpy.ones((1, 4))).shape
    (1, 3)
    """
    scale = float(low_rank_scale(rank, alpha))
    for layer in _matching(module, (Linear, Conv), patterns):
        *inputs, outputs = layer.kernel.shape
        layer.low_rank = Factors(tuple(inputs), outputs, rank=rank, scale=scale, rngs=rngs)
    return module


def add_bottlenecks(module: Module, *patterns: str, size: int, rngs: nnx.Rngs) -> Module:
    """Gives transformer blocks of a network two bottleneck adapters each.

    They stand under ``BLOCK/attention_adapter`` and ``/output_adapter``: train them with
    ``by_pattern("*_adapter/*", "*norm/*", "head/*")``, as their paper does.

    Args:
      module: the network; it is changed in place.
      *patterns: paths of blocks; none for all.
      size: of the bottlenecks.
      rngs: source of the initial values.

    Returns:
      The same module.

    Raises:
      ValueError: for a pattern that matches no block, or a size below 1.

    Source: Houlsby et al. 2019, Parameter-efficient transfer learning for NLP, section 2.1.

    >>> network = nnx.Sequential(TransformerBlock(8, 2, 16, rngs=nnx.Rngs(0)))
    >>> block = add_bottlenecks(network, size=2, rngs=nnx.Rngs(1)).layers[0]
    >>> block.output_adapter.down.kernel.shape
    (8, 2)
    """
    for block in _matching(module, (TransformerBlock,), patterns or ("*",)):
        features = block.output_norm.scale.shape[0]
        block.attention_adapter = Bottleneck(features, size, rngs=rngs)
        block.output_adapter = Bottleneck(features, size, rngs=rngs)
    return module


def fold_low_rank(params: PyTree, *, alpha: float | None = None) -> PyTree:
    """Parameters of the network without factors that computes the same.

    Args:
      params: nested dicts, in which some layers have ``low_rank`` beside ``kernel``.
      alpha: the one that the factors were made with.

    Returns:
      Nested dicts, each product added to its kernel and no ``low_rank`` left. To take it out again,
      keep ``params``; :func:`jaxfer.adapters.unmerge_low_rank` subtracts.

    >>> import jax
    >>> ones = jax.numpy.ones
    >>> factors = {"down": ones((2, 1)), "up": ones((1, 3))}
    >>> fold_low_rank({"kernel": ones((2, 3)), "low_rank": factors})["kernel"][0, 0].item()
    2.0
    """
    if not isinstance(params, dict):
        return params
    if "low_rank" in params and "kernel" in params:
        pair = LowRank(params["low_rank"]["down"], params["low_rank"]["up"])
        kernel = merge_low_rank(params["kernel"], pair, alpha=alpha)
        rest = {name: leaf for name, leaf in params.items() if name != "low_rank"}
        return {**rest, "kernel": kernel}
    return {name: fold_low_rank(below, alpha=alpha) for name, below in params.items()}


def _matching(module: nnx.Module, kinds: tuple[type, ...], patterns: tuple[str, ...]) -> list:
    """Layers of some kinds whose path matches, in the order of their paths."""
    layers: dict[str, nnx.Module] = {
        "/".join(map(str, path)): layer
        for path, layer in nnx.iter_graph(module)
        if isinstance(layer, nnx.Module) and isinstance(layer, kinds)
    }
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in layers):
            raise ValueError(
                f"pattern {pattern!r} matches no layer; there are {', '.join(sorted(layers))}."
            )
    chosen: Callable[[str], bool] = lambda name: any(fnmatchcase(name, p) for p in patterns)  # noqa: E731
    return [layers[name] for name in sorted(layers) if chosen(name)]
