"""Weighted samples: what every divergence is given, checked once and in the same words."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


class Samples(NamedTuple):
    """Two samples of one floating-point type, with weights that sum to 1 on each side.

    Attributes:
      source, target: ``[n, d]`` and ``[m, d]``.
      source_weights, target_weights: ``[n]`` and ``[m]``; all 0 where a side has no weight at all.
      source_count, target_count: how many points have a weight other than 0.
    """

    source: Array
    target: Array
    source_weights: Array
    target_weights: Array
    source_count: Array
    target_count: Array


def two_samples(
    source: Any,
    target: Any,
    source_weights: Any = None,
    target_weights: Any = None,
    *,
    axis_name: str | None = None,
    rank: int = 2,
    points: int = 1,
    names: tuple[str, str] = ("source", "target"),
) -> Samples:
    """Checks two samples and their weights, and normalises the weights.

    Args:
      source, target: ``[n, d]`` and ``[m, d]``, floating point; ``[n]`` and ``[m]`` for ``rank=1``.
        Half precision is computed in float32.
      source_weights, target_weights: ``[n]`` and ``[m]``, non-negative, on any scale. A point of
        weight 0 is absent. ``None`` weighs all points alike.
      axis_name: the mapped axis over which a sample is spread; weights sum to 1 over all of it.
      rank: number of axes of a sample.
      points: least number of points a side, over all devices.
      names: of the two samples, for the messages.

    Returns:
      The :class:`Samples`.

    Raises:
      TypeError: for an array that is not of floating point.
      ValueError: for a wrong rank, different numbers of features, or too few points; where arrays
        are concrete also for NaN, infinity, negative weights, or weights that are all 0.
    """
    source = _points(names[0], source, rank, points, axis_name)
    target = _points(names[1], target, rank, points, axis_name)
    if source.shape[1:] != target.shape[1:]:
        raise ValueError(
            f"{names[0]} and {names[1]} must have the same number of features; "
            f"their shapes are {source.shape} and {target.shape}."
        )
    dtype = jnp.promote_types(source.dtype, target.dtype)
    source_weights, source_count = _weights(
        "source_weights", names[0], source, source_weights, dtype, axis_name, points
    )
    target_weights, target_count = _weights(
        "target_weights", names[1], target, target_weights, dtype, axis_name, points
    )
    return Samples(
        source.astype(dtype),
        target.astype(dtype),
        source_weights,
        target_weights,
        source_count,
        target_count,
    )


def sample_means(samples: Samples, axis_name: str | None = None) -> tuple[Array, Array]:
    """The weighted means ``[d]`` of source and target; over all devices with an axis name."""
    highest = jax.lax.Precision.HIGHEST
    means = (
        jnp.matmul(samples.source_weights, samples.source, precision=highest),
        jnp.matmul(samples.target_weights, samples.target, precision=highest),
    )
    return means if axis_name is None else jax.lax.psum(means, axis_name)


class Sample(NamedTuple):
    """One sample of floating point, with weights that sum to 1.

    Attributes:
      points: ``[n, d]``.
      weights: ``[n]``; all 0 where there is no weight at all.
      present: how many points have a weight other than 0.
    """

    points: Array
    weights: Array
    present: Array


def one_sample(
    sample: Any,
    weights: Any = None,
    *,
    name: str,
    weights_name: str = "weights",
    axis_name: str | None = None,
    rank: int = 2,
    points: int = 1,
) -> Sample:
    """Checks one sample and its weights, and normalises the weights.

    Args:
      sample: ``[n, d]``, floating point. Half precision is computed in float32.
      weights: ``[n]``, non-negative, on any scale. A point of weight 0 is absent. ``None`` weighs
        all points alike.
      name, weights_name: of the sample and of its weights, for the messages.
      axis_name: the mapped axis over which the sample is spread; weights sum to 1 over all of it.
      rank: number of axes of the sample.
      points: least number of points, over all devices.

    Returns:
      The :class:`Sample`.

    Raises:
      TypeError, ValueError: as :func:`two_samples`.
    """
    array = _points(name, sample, rank, points, axis_name)
    normalised, count = _weights(weights_name, name, array, weights, array.dtype, axis_name, points)
    return Sample(array, normalised, count)


def whole_batch(shard: Array, axis_name: str | None) -> Array:
    """All devices' rows, in the order of the devices; what is given, without an axis name.

    A sum of shards, each in its place, and not ``all_gather``, whose result ``shard_map`` takes to
    differ between devices: a loss of it could not be returned as the one value that it is, and its
    gradient would be counted once for each device.

    Args:
      shard: ``[n, ...]``, this device's rows, as many on every device.
      axis_name: the mapped axis over which they are spread.

    Returns:
      ``[devices * n, ...]``.

    >>> whole_batch(jnp.arange(2), None).tolist()
    [0, 1]
    """
    if axis_name is None:
        return shard
    rows = len(shard)
    alone = jnp.zeros((jax.lax.axis_size(axis_name) * rows, *shard.shape[1:]), shard.dtype)
    first = jax.lax.axis_index(axis_name) * rows
    alone = jax.lax.dynamic_update_slice_in_dim(alone, shard, first, axis=0)
    return jax.lax.psum(alone, axis_name)


def floating(name: str, array: Any) -> Array:
    """An array of at least float32 that holds neither NaN nor infinity, as far as can be seen."""
    try:
        if array is None:
            raise TypeError("None is no array")
        array = jnp.asarray(array)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be an array of numbers; {error}.") from error
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"{name} must be of floating point; it is {array.dtype}. Convert it: "
            f"{name}.astype(float)."
        )
    array = array.astype(jnp.promote_types(array.dtype, jnp.float32))
    # By NumPy: where a function is traced, JAX would trace even a look at a constant.
    if is_concrete(array) and not np.isfinite(np.asarray(array)).all():
        raise ValueError(f"{name} must be finite; it holds NaN or infinity.")
    return array


def is_concrete(array: Any) -> bool:
    """Whether the values can be looked at: they are not those of a function being traced."""
    return not isinstance(array, jax.core.Tracer)


def _points(name: str, sample: Any, rank: int, points: int, axis_name: str | None) -> Array:
    """A sample of floating point, of the rank and size that are asked for."""
    sample = floating(name, sample)
    if sample.ndim != rank:
        expected = "[n, features]" if rank == 2 else "[n]"
        flat = "len(x), -1" if rank == 2 else "-1"
        raise ValueError(
            f"{name} must be an array {expected}; it has the shape {sample.shape}."
            + (f" Flatten it: x.reshape({flat})." if sample.ndim > rank else "")
        )
    if axis_name is None and len(sample) < points:
        raise ValueError(
            f"{name} must hold at least {points} point{'s' if points > 1 else ''}; "
            f"it has the shape {sample.shape}."
        )
    return sample


def _weights(
    name: str,
    sample_name: str,
    sample: Array,
    weights: Any,
    dtype: Any,
    axis_name: str | None,
    points: int,
) -> tuple[Array, Array]:
    """Weights ``[n]`` that sum to 1, and how many of them are not 0."""
    if weights is None:
        weights = jnp.ones(len(sample), dtype)
    else:
        weights = jnp.asarray(weights).astype(dtype)
        if weights.shape != sample.shape[:1]:
            raise ValueError(
                f"{name} must hold one weight for each point of {sample_name}: {sample.shape[:1]}; "
                f"its shape is {weights.shape}."
            )
        if is_concrete(weights):
            seen = np.asarray(weights)
            if not (np.isfinite(seen) & (seen >= 0)).all():
                raise ValueError(f"{name} must be finite and not negative.")
            if axis_name is None and (seen > 0).sum() < points:
                raise ValueError(
                    f"{name} must hold at least {points} above 0; "
                    f"{(seen > 0).sum()} of {len(seen)} are."
                )
    total, count = weights.sum(), (weights > 0).sum().astype(dtype)
    if axis_name is not None:
        total, count = jax.lax.psum((total, count), axis_name)
    return weights / jnp.where(total > 0, total, 1), count
