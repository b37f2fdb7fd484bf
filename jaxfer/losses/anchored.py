"""Penalties that hold a fine-tuned network to where it began: its weights, and its features."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxfer.divergences.logits import check_axes
from jaxfer.divergences.options import check_number
from jaxfer.divergences.samples import floating, is_concrete
from jaxfer.typing import PyTree


def l2_sp(params: PyTree, start: PyTree, *, weights: PyTree = 1.0) -> Array:
    r"""Half the squared distance of parameters from where they began (of parameters, no batch).

    .. math:: L = \frac{1}{2} \sum_i \alpha_i (w_i - w_i^0)^2

    It is added to a loss beside any further penalty. What has no beginning, such as a new head, is
    held to 0. With Fisher information in the weights it is L2-SP-Fisher, the penalty of elastic
    weight consolidation: ``weights=jax.tree.map(lambda f: strength * f, fisher)``.

    Args:
      params: :math:`w`, any pytree of floating point; ``None`` leaves count for nothing.
      start: :math:`w^0`, of the same structure or a prefix of it; ``None`` stands for 0 in all that
        lies below it. It is held constant.
      weights: :math:`\alpha`, not negative: one number, a prefix of ``params`` with a number for
        each part, or arrays of the shapes of ``params``.

    Returns:
      A scalar, at least 0.

    Raises:
      TypeError: for parameters that are not of floating point.
      ValueError: for structures or shapes that do not fit; where weights are concrete also for
        negative ones.

    Source: Li et al. 2018, Explicit inductive bias for transfer learning with convolutional
      networks, equations 2 to 4: L2-SP with :math:`\beta` in the weights of the new part, and
      L2-SP-Fisher.

    >>> params = {"body": jnp.array([1.0, 2.0]), "head": jnp.array([3.0])}
    >>> start = {"body": jnp.array([0.0, 2.0]), "head": None}
    >>> l2_sp(params, start, weights={"body": 2.0, "head": 0.1})  # (2 * 1 + 0.1 * 9) / 2
    Array(1.45, dtype=float32)
    """
    origin = _filled("start", start, params, allow_none=True)
    factors = _filled("weights", weights, params, allow_none=False)

    def penalty(path: Any, now: Array, before: Any, factor: Any) -> Array:
        name = jax.tree_util.keystr(path)
        now = jnp.asarray(now)
        if not jnp.issubdtype(now.dtype, jnp.floating):
            raise TypeError(f"params must be of floating point; params{name} is {now.dtype}.")
        before = jax.lax.stop_gradient(jnp.asarray(before, now.dtype))
        factor = jnp.asarray(factor, now.dtype)
        for argument, other in (("start", before), ("weights", factor)):
            if other.shape not in ((), now.shape):
                raise ValueError(
                    f"{argument}{name} must be of the shape of params{name}, {now.shape}, or one "
                    f"number; its shape is {other.shape}."
                )
        if is_concrete(factor) and bool(jnp.any(factor < 0)):
            raise ValueError(f"weights{name} must not be negative.")
        return jnp.sum(factor * jnp.square(now - before))

    parts = jax.tree.leaves(jax.tree_util.tree_map_with_path(penalty, params, origin, factors))
    return 0.5 * sum(parts, jnp.zeros(()))


def delta(
    features: Any,
    start_features: Any,
    *,
    channel_weights: Any = None,
    axis: int | tuple[int, ...] = -1,
) -> Array:
    r"""Attended distance of feature maps from those of the network at its start (per-example).

    .. math:: L = \frac{1}{2} \sum_j W_j \, \| F_j - F_j^0 \|^2

    over channels :math:`j`, each a whole map. The sum over layers is the caller's.

    Args:
      features: :math:`F`, ``[batch, ...]``, floating point, of a layer of the network in training.
      start_features: :math:`F^0`, of the same shape, of the network as it began on the same
        examples. Held constant.
      channel_weights: :math:`W`, ``[channels]``, of the sizes of ``axis``, not negative, such as
        :func:`delta_channel_weights` gives. ``None`` weighs each by 1 over their number.
      axis: the axis, or axes, of the channels.

    Returns:
      ``[batch]``, at least 0.

    Raises:
      TypeError: for features that are not of floating point.
      ValueError: for shapes that do not fit; where arrays are concrete also for NaN or infinity.

    Source: Li et al. 2019, DELTA: deep learning transfer using feature map with attention, section
      3.

    >>> features, start = jnp.array([[1.0, 2.0], [0.0, 0.0]]), jnp.zeros((2, 2))
    >>> delta(features, start, channel_weights=jnp.array([1.0, 0.5]))
    Array([1.5, 0. ], dtype=float32)
    """
    features = floating("features", features)
    start_features = floating("start_features", start_features)
    if features.shape != start_features.shape or features.ndim < 2:
        raise ValueError(
            "features and start_features must be arrays [batch, ...] of one shape; their shapes "
            f"are {features.shape} and {start_features.shape}."
        )
    axes, _ = check_axes("features", features, axis, None)
    places = [a % features.ndim for a in axes]
    if 0 in places:
        raise ValueError(f"axis must not be that of the batch, 0; it is {axis}.")
    sizes = tuple(features.shape[a] for a in places)
    squares = jnp.square(features - jax.lax.stop_gradient(start_features))
    squares = jnp.moveaxis(squares, places, range(-len(places), 0))
    distances = jnp.sum(squares, axis=tuple(range(1, squares.ndim - len(places))))
    distances = distances.reshape(len(features), -1)
    if channel_weights is None:
        return 0.5 * jnp.mean(distances, axis=1)
    channel_weights = floating("channel_weights", channel_weights)
    if channel_weights.shape != sizes:
        raise ValueError(
            f"channel_weights must hold one number for each channel, {sizes}; its shape is "
            f"{channel_weights.shape}."
        )
    if is_concrete(channel_weights) and bool(jnp.any(channel_weights < 0)):
        raise ValueError("channel_weights must not be negative.")
    return 0.5 * distances @ channel_weights.reshape(-1)


def delta_channel_weights(
    losses_without: Any, loss: Any, *, temperature: float | Array = 1.0
) -> Array:
    r"""How much attention DELTA pays each channel: what the loss rises by without it (of losses).

    .. math:: W_j = \mathrm{softmax}_j \Big( \frac{L^{-j} - L}{T} \Big)

    Args:
      losses_without: :math:`L^{-j}`, ``[channels]``, mean losses of the pretrained network with a
        classifier fitted to the new task when channel :math:`j` is set to 0.
      loss: :math:`L`, a scalar, that with all channels.
      temperature: :math:`T`, positive.

    Returns:
      ``[channels]``, which sum to 1; held constant.

    Raises:
      TypeError: for losses that are not of floating point.
      ValueError: for shapes or a temperature that do not fit.

    Source: Li et al. 2019, DELTA: deep learning transfer using feature map with attention, section
      3. The paper has no temperature.

    >>> delta_channel_weights(jnp.array([1.0, 1.0]), jnp.array(0.5))
    Array([0.5, 0.5], dtype=float32)
    """
    check_number("temperature", temperature, above=0)
    losses_without = floating("losses_without", losses_without)
    loss = floating("loss", loss)
    if losses_without.ndim != 1 or loss.shape:
        raise ValueError(
            "losses_without must be an array [channels] and loss a scalar; their shapes are "
            f"{losses_without.shape} and {loss.shape}."
        )
    return jax.lax.stop_gradient(jax.nn.softmax((losses_without - loss) / temperature))


def _filled(name: str, prefix: PyTree, params: PyTree, *, allow_none: bool) -> PyTree:
    """A prefix of the parameters, spread over all that lies below each of its leaves."""

    def spread(value: Any, below: PyTree) -> PyTree:
        if value is None and not allow_none:
            raise ValueError(f"{name} must hold numbers; it holds None.")
        return jax.tree.map(lambda _: 0.0 if value is None else value, below)

    try:
        return jax.tree.map(spread, prefix, params, is_leaf=lambda leaf: leaf is None)
    except ValueError as error:
        raise ValueError(f"{name} must be a prefix of params: {error}") from None
