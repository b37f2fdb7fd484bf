r"""Sums over all pairs of points, in one pass and in memory that grows with the points alone.

Every kernel divergence is a quadratic form of the kernel matrix,

.. math::
    S = \sum_{ij} C_{ij} \prod_l k_l(z^l_i, z^l_j), \qquad C = L R^\top,

with a symmetric coefficient matrix of low rank: signed weights for MMD, one column for each class
for local MMD, one factor of the product for each layer of joint MMD. The kernel matrix is never
formed. Blocks of it are, one at a time, and what is differentiated is not the loop: the derivative
of a block is known in closed form,

.. math::
    \frac{\partial S}{\partial z_i} = 2 \sum_j C_{ij}\, k'(s_{ij})\, \frac{\partial s_{ij}}{\partial
    z_i},

so that the pass that computes the value computes the gradient too, from the same exponentials. Only
half of the blocks are visited, as the matrix is symmetric: beside the Gram product itself that is
one product for each of the two points of a pair, 1.5 Gram products of arithmetic in all.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxfer.divergences.kernels import Kernel


class Plan(NamedTuple):
    """What is fixed when a pass is compiled.

    Attributes:
      kernels: one for each layer.
      segments: how many points each sample has; every block holds an equal share of each, so that
        the signed sums of a block cancel before they are accumulated.
      blocks: number of blocks along one side of the kernel matrix, odd; 1 is the whole matrix at
        once.
      precision: of the matrix products.
      axis_name: the mapped axis over which the points are spread, or ``None``.
    """

    kernels: tuple[Kernel, ...]
    segments: tuple[int, ...]
    blocks: int
    precision: Any = lax.Precision.HIGHEST
    axis_name: str | None = None


def make_plan(
    kernels: Sequence[Kernel],
    segments: Sequence[int],
    *,
    block_size: int | None = None,
    precision: Any = None,
    axis_name: str | None = None,
) -> Plan:
    """A plan with the block size that was measured to be fast, unless one is given.

    Args:
      kernels: one for each layer.
      segments: how many points each sample has.
      block_size: how many points a block has; ``None`` chooses. At least as many as there are
        points means the whole matrix at once.
      precision: of the matrix products, as in ``jax.lax.dot``; ``None`` is the highest.
      axis_name: the mapped axis over which the points are spread.

    Returns:
      The plan.

    Raises:
      ValueError: for a block size that is not a positive integer, or an unknown precision.
    """
    if block_size is None:
        block_size = _measured_block_size(kernels, sum(segments))
    if not isinstance(block_size, (int, np.integer)) or block_size < 1:
        raise ValueError(f"block_size must be a positive integer or None; it is {block_size!r}.")
    try:
        precision = lax.Precision("highest" if precision is None else precision)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"precision must be None, 'default', 'high' or 'highest'; it is {precision!r}."
        ) from error
    blocks = max(1, math.ceil(sum(segments) / block_size))
    blocks += 1 - blocks % 2  # around a circle of an odd number, every two meet once
    return Plan(tuple(kernels), tuple(segments), blocks, precision, axis_name)


def pair_sum(plan: Plan, points: Sequence[Array], left: Array, right: Array) -> Array:
    r"""The sum over all ordered pairs of coefficient times kernel.

    .. math::
        S = \sum_{ij} \langle L_i, R_j \rangle \prod_l k_l(z^l_i, z^l_j)

    Differentiable in everything, twice and in forward mode. Value and gradient by the points cost
    one pass, the gradient by the coefficients a second one.

    Args:
      plan: what is fixed.
      points: for each layer ``[n, d]``, scaled as its kernel wants them.
      left, right: ``[n, r]`` such that :math:`L R^\top` is symmetric over all points.

    Returns:
      The sum, a scalar. With an axis name every device returns the sum over all of them.
    """
    return _pair_sum(plan, tuple(points), left, right)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _pair_sum(plan: Plan, points: tuple[Array, ...], left: Array, right: Array) -> Array:
    return _value_and_gradient(plan, points, left, right, with_gradient=False)[0]


def _pair_sum_jvp(plan: Plan, primals: Any, tangents: Any) -> tuple[Array, Array]:
    points, left, right = primals
    d_points, d_left, d_right = tangents
    moves = [not _is_zero(tangent) for tangent in d_points]
    if any(moves):
        value, gradients = _with_gradient(plan, points, left, right)
    else:
        value, gradients = _pair_sum(plan, points, left, right), []
    local = jnp.zeros_like(value)
    for moved, gradient, tangent in zip(moves, gradients, d_points, strict=False):
        local += jnp.vdot(gradient, tangent, precision=plan.precision) if moved else 0
    if not (_is_zero(d_left) and _is_zero(d_right)):
        rank = left.shape[1]
        products = pair_product(plan, points, jnp.concatenate([left, right], axis=1))
        if not _is_zero(d_left):
            local += jnp.vdot(products[:, rank:], d_left, precision=plan.precision)
        if not _is_zero(d_right):
            local += jnp.vdot(products[:, :rank], d_right, precision=plan.precision)
    return value, local if plan.axis_name is None else lax.psum(local, plan.axis_name)


_pair_sum.defjvp(_pair_sum_jvp, symbolic_zeros=True)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _with_gradient(
    plan: Plan, points: tuple[Array, ...], left: Array, right: Array
) -> tuple[Array, list[Array]]:
    return _value_and_gradient(plan, points, left, right, with_gradient=True)


@_with_gradient.defjvp
def _with_gradient_jvp(plan: Plan, primals: Any, tangents: Any) -> tuple[Any, Any]:
    """The derivative of the loop as it stands, but taken only when it is asked for.

    A loop that is passed by on the way to a first derivative would lose what its
    ``jax.checkpoint`` says, and a second one would then keep every block.
    """
    loop = functools.partial(_value_and_gradient, plan, with_gradient=True)
    return jax.jvp(loop, primals, tangents)


def _is_zero(tangent: Any) -> bool:
    return isinstance(tangent, jax.custom_derivatives.SymbolicZero)


def pair_product(plan: Plan, points: Sequence[Array], columns: Array) -> Array:
    r"""The kernel matrix times some columns, without the matrix.

    .. math::
        P_i = \sum_j \prod_l k_l(z^l_i, z^l_j)\, V_j

    Args:
      plan: what is fixed.
      points: for each layer ``[n, d]``, scaled as its kernel wants them.
      columns: :math:`V`, ``[n, r]``. With an axis name the sum goes over the points of all devices.

    Returns:
      ``[n, r]``.
    """
    blocks = [_to_blocks(plan, z) for z in points]
    columns = _to_blocks(plan, columns)
    product = functools.partial(jnp.matmul, precision=plan.precision)

    def within(i: Array) -> Array:
        here = [z[i] for z in blocks]
        return product(_kernel(plan, here, here, same=True), columns[i])

    def between(carry: Array, i: Array, j: Array) -> tuple[Array, Array]:
        k = _kernel(plan, [z[i] for z in blocks], [z[j] for z in blocks])
        return product(k, columns[j]), carry.at[j].add(product(k.T, columns[i]))

    total = _half_of_the_blocks(plan, within, between)
    if plan.axis_name is not None:

        def visited(guests: list[Array], i: Array, j: Array) -> Array:
            *there, theirs = guests
            k = _kernel(plan, [z[i] for z in blocks], [z[j] for z in there])
            return product(k, theirs[j])

        total = _around_the_ring(plan, visited, [*blocks, columns], total)
    return _from_blocks(plan, total)


def cross_product(
    plan: Plan, rows: Sequence[Array], points: Sequence[Array], columns: Array
) -> Array:
    r"""The kernel matrix of other points with these, times some columns.

    .. math::
        P_a = \sum_j \prod_l k_l(x^l_a, z^l_j)\, V_j

    Args:
      plan: what is fixed; its segments are those of ``points``.
      rows: for each layer :math:`x`, ``[m, d]``, scaled as its kernel wants them.
      points: for each layer :math:`z`, ``[n, d]``.
      columns: :math:`V`, ``[n, r]``.

    Returns:
      ``[m, r]``.
    """
    blocks = [_to_blocks(plan, z) for z in points]
    columns = _to_blocks(plan, columns)
    many = plan._replace(segments=(len(rows[0]),))
    rows_of = [_to_blocks(many, x) for x in rows]

    def one_row(here: list[Array]) -> Array:
        def body(total: Array, j: Array) -> tuple[Array, None]:
            k = _kernel(plan, here, [z[j] for z in blocks])
            return total + jnp.matmul(k, columns[j], precision=plan.precision), None

        zero = jnp.zeros((len(here[0]), columns.shape[-1]), columns.dtype)
        return lax.scan(jax.checkpoint(body), zero, jnp.arange(plan.blocks))[0]

    return _from_blocks(many, lax.map(one_row, rows_of))


def pair_counts(plan: Plan, points: Sequence[Array], weights: Array, thresholds: Array) -> Array:
    r"""How much of all pairs has a statistic of at most each threshold.

    .. math::
        N_t = \sum_{i \ne j} w_i w_j [s_{ij} \le t]

    Args:
      plan: what is fixed; of one layer.
      points: one layer ``[n, d]``.
      weights: ``[n]``.
      thresholds: ``[t]``.

    Returns:
      ``[t]``.
    """
    (kernel,), (layer,) = plan.kernels, points
    blocks, weights = _to_blocks(plan, layer), _to_blocks(plan, weights)
    statistic = _PAIRINGS[kernel.pairing].statistic

    def count(x: Array, y: Array, one: Array, other: Array, same: bool) -> Array:
        s = statistic(x, y, same, plan.precision)
        other = jnp.where(jnp.eye(len(x), dtype=bool), 0, other) if same else other[None, :]
        return one[:, None] * jnp.stack(
            [jnp.sum(jnp.where(s <= t, other, 0), axis=1) for t in thresholds], axis=1
        )

    def within(i: Array) -> Array:
        return count(blocks[i], blocks[i], weights[i], weights[i], True)

    def between(carry: Array, i: Array, j: Array) -> tuple[Array, Array]:
        return 2 * count(blocks[i], blocks[j], weights[i], weights[j], False), carry

    total = _half_of_the_blocks(plan, within, between)
    if plan.axis_name is not None:

        def visited(guest: list[Array], i: Array, j: Array) -> Array:
            return count(blocks[i], guest[0][j], weights[i], guest[1][j], False)

        total = _around_the_ring(plan, visited, [blocks, weights], total)
    counts = jnp.sum(total, axis=(0, 1))
    return counts if plan.axis_name is None else lax.psum(counts, plan.axis_name)


def aligned_kernel(plan: Plan, points: Sequence[Array], others: Sequence[Array]) -> Array:
    r"""The kernel of each point with the one in the same row of the other array.

    Args:
      plan: what is fixed; its kernels alone are used.
      points, others: for each layer ``[n, d]``, scaled as its kernel wants them.

    Returns:
      ``[n]``.
    """
    values = [
        kernel.profile(_PAIRINGS[kernel.pairing].aligned(x, y))
        for kernel, x, y in zip(plan.kernels, points, others, strict=True)
    ]
    return functools.reduce(jnp.multiply, values)


def _value_and_gradient(
    plan: Plan, points: tuple[Array, ...], left: Array, right: Array, *, with_gradient: bool
) -> tuple[Array, list[Array]]:
    """The sum, and for each layer its gradient ``[n, d]``; none unless they are asked for."""
    blocks = _kept([_to_blocks(plan, z) for z in points])
    lefts, rights = _to_blocks(plan, left), _to_blocks(plan, right)

    def coefficients(one: Array, other: Array) -> Array:
        if one.shape[1] > 2:
            return jnp.matmul(one, other.T, precision=plan.precision)
        return jnp.sum(one[:, None, :] * other[None, :, :], axis=-1)

    def pair(here: list[Array], there: list[Array], one: Array, other: Array, same: bool) -> Any:
        """Per-row sums ``[block]`` and, for each layer, coefficient times derivative."""
        if with_gradient:
            k, slopes = _kernel_and_slopes(plan, here, there, same=same)
            weights = coefficients(one, other)
            # Computed once, for three products: XLA would fuse the powers into each of them.
            k, slopes = _kept((k, [weights * slope for slope in slopes]))
        else:
            k, slopes = _kernel(plan, here, there, same=same), []
        sums = jnp.sum(one * jnp.matmul(k, other, precision=plan.precision), axis=-1)
        return sums, slopes

    def gather(
        slopes: list[Array], here: list[Array], there: list[Array], *, transposed: bool = False
    ) -> list[Any]:
        """What the points there add to the derivatives here, or the other way round."""
        return [
            _PAIRINGS[kernel.pairing].gather(slope, x, y, transposed, plan.precision)
            for kernel, slope, x, y in zip(plan.kernels, slopes, here, there, strict=False)
        ]

    def within(i: Array) -> Any:
        here = [z[i] for z in blocks]
        sums, slopes = pair(here, here, lefts[i], rights[i], True)
        return sums, gather(slopes, here, here)

    def between(carry: Any, i: Array, j: Array) -> Any:
        here, there = [z[i] for z in blocks], [z[j] for z in blocks]
        sums, slopes = pair(here, there, lefts[i], rights[j], False)
        totals, gathered = carry
        theirs = gather(slopes, here, there, transposed=True)
        gathered = jax.tree.map(lambda total, added: total.at[j].add(added), gathered, theirs)
        return (2 * sums, gather(slopes, here, there)), (totals, gathered)

    total = _half_of_the_blocks(plan, within, between)
    if plan.axis_name is not None:

        def visited(guests: list[Array], i: Array, j: Array) -> Any:
            *there, theirs = guests
            here = [z[i] for z in blocks]
            there = [z[j] for z in there]
            sums, slopes = pair(here, there, lefts[i], theirs[j], False)
            return sums, gather(slopes, here, there)

        total = _around_the_ring(plan, visited, [*blocks, rights], total)
    sums, gathered = total
    value = jnp.sum(sums)
    if plan.axis_name is not None:
        value = lax.psum(value, plan.axis_name)
    gradients = [
        2 * _PAIRINGS[kernel.pairing].finish(z, parts)
        for kernel, z, parts in zip(plan.kernels, blocks, gathered, strict=False)
    ]
    return value, [_from_blocks(plan, gradient) for gradient in gradients]


def _kept(arrays: Any) -> Any:
    """The arrays, each computed once; one by one, since JAX 0.12 cannot transpose them together."""
    return jax.tree.map(lax.optimization_barrier, arrays)


def _half_of_the_blocks(plan: Plan, within: Callable, between: Callable) -> Any:
    """Sums over the blocks on and above the diagonal of a symmetric matrix.

    Blocks stand around a circle, an odd number of them, and each meets the half of the others that
    follows it: every two meet once, in loops of fixed length. ``within(i)`` gives what block ``i``
    with itself adds to row ``i``; ``between(carry, i, j)`` what block ``(i, j)`` adds to row ``i``,
    and the carry, a pytree of that with one entry ``[blocks, ...]`` for each row, with what it adds
    to row ``j``.
    """
    count = plan.blocks
    if count == 1:
        return jax.tree.map(lambda leaf: leaf[None], within(0))
    carry = lax.map(jax.checkpoint(within), jnp.arange(count))

    def row(carry: Any, i: Array) -> tuple[Any, None]:
        def step(state: Any, offset: Array) -> tuple[Any, None]:
            carry, mine = state
            j = i + offset
            added, carry = between(carry, i, jnp.where(j < count, j, j - count))
            return (carry, jax.tree.map(jnp.add, mine, added)), None

        zero = _of_each_device(plan, jax.tree.map(lambda leaf: jnp.zeros_like(leaf[0]), carry))
        offsets = jnp.arange(1, (count + 1) // 2)
        (carry, mine), _ = lax.scan(jax.checkpoint(step), (carry, zero), offsets)
        return jax.tree.map(lambda leaf, added: leaf.at[i].add(added), carry, mine), None

    return lax.scan(row, carry, jnp.arange(count))[0]


def _around_the_ring(plan: Plan, visited: Callable, shard: list[Array], total: Any) -> Any:
    """Adds what the shards of the other devices contribute to each row, as they pass by.

    Each device holds its own shard and one guest. ``visited(guest, i, j)`` gives what block ``j``
    of the guest adds to row ``i``.
    """
    devices = lax.axis_size(plan.axis_name)
    onwards = [(device, (device + 1) % devices) for device in range(devices)]

    def station(state: Any, _: None) -> tuple[Any, None]:
        total, guest = state
        guest = [lax.ppermute(leaf, plan.axis_name, onwards) for leaf in guest]

        def row(i: Array) -> Any:
            def step(mine: Any, j: Array) -> tuple[Any, None]:
                return jax.tree.map(jnp.add, mine, visited(guest, i, j)), None

            zero = _of_each_device(plan, jax.tree.map(lambda leaf: jnp.zeros_like(leaf[0]), total))
            return lax.scan(jax.checkpoint(step), zero, jnp.arange(plan.blocks))[0]

        added = lax.map(row, jnp.arange(plan.blocks))
        return (jax.tree.map(jnp.add, total, added), guest), None

    began = _of_each_device(plan, (total, shard))
    return lax.scan(station, began, None, length=devices - 1)[0][0]


def _of_each_device(plan: Plan, arrays: Any) -> Any:
    """The arrays, as values that differ between devices: ``shard_map`` wants to know of a carry."""
    if plan.axis_name is None:
        return arrays
    nothing = 0 * lax.axis_index(plan.axis_name)
    return jax.tree.map(lambda leaf: leaf + nothing.astype(leaf.dtype), arrays)


def _kernel(plan: Plan, here: list[Array], there: list[Array], *, same: bool = False) -> Array:
    """One block of the kernel matrix, ``[block, block]``."""
    values = [
        kernel.profile(_PAIRINGS[kernel.pairing].statistic(x, y, same, plan.precision))
        for kernel, x, y in zip(plan.kernels, here, there, strict=True)
    ]
    return functools.reduce(jnp.multiply, values)


def _kernel_and_slopes(
    plan: Plan, here: list[Array], there: list[Array], *, same: bool
) -> tuple[Array, list[Array]]:
    """One block of the kernel matrix, and its derivative by the statistic of each layer."""
    values, slopes = [], []
    for kernel, x, y in zip(plan.kernels, here, there, strict=True):
        statistic = _PAIRINGS[kernel.pairing].statistic(x, y, same, plan.precision)
        value, slope = kernel.with_slope(statistic)
        values.append(value)
        slopes.append(slope)
    for layer, slope in enumerate(slopes):
        others = values[:layer] + values[layer + 1 :]
        slopes[layer] = functools.reduce(jnp.multiply, others, slope)
    return functools.reduce(jnp.multiply, values), slopes


class _Pairing(NamedTuple):
    """A statistic of two points.

    Attributes:
      statistic: ``(x [a, d], y [b, d], same, precision) -> [a, b]``.
      gather: ``(slopes [a, b], x, y, transposed, precision) -> parts``, arrays ``[a, ...]`` that
        add up over blocks of ``y``, or if transposed ``[b, ...]`` over blocks of ``x``; slopes are
        coefficient times derivative of the kernel by the statistic.
      finish: ``(x [..., a, d], parts) -> [..., a, d]``, the sum over all ``y`` of slope times the
        derivative of the statistic by ``x``.
      aligned: ``(x [a, d], y [a, d]) -> [a]``, row by row.
    """

    statistic: Callable[[Array, Array, bool, Any], Array]
    gather: Callable[[Array, Array, Array, bool, Any], tuple[Array, ...]]
    finish: Callable[[Array, Any], Array]
    aligned: Callable[[Array, Array], Array]


def _squared_l2(x: Array, y: Array, same: bool, precision: Any) -> Array:
    products = jnp.matmul(x, y.T, precision=precision)
    squares = jnp.sum(x * x, axis=1)[:, None] + jnp.sum(y * y, axis=1)[None, :]
    distances = squares - 2 * products
    # What is no more than rounding is 0, so that points that are equal are at no distance.
    distances = jnp.where(distances <= 4 * jnp.finfo(x.dtype).eps * squares, 0, distances)
    return jnp.where(jnp.eye(len(x), dtype=bool), 0, distances) if same else distances


def _gather_squared_l2(
    slopes: Array, x: Array, y: Array, transposed: bool, precision: Any
) -> tuple[Array, ...]:
    (products,) = _gather_inner(slopes, x, y, transposed, precision)
    return jnp.sum(slopes, axis=0 if transposed else 1), products


def _finish_squared_l2(x: Array, parts: tuple[Array, Array]) -> Array:
    sums, products = parts
    return 2 * (sums[..., None] * x - products)


def _inner(x: Array, y: Array, same: bool, precision: Any) -> Array:
    return jnp.matmul(x, y.T, precision=precision)


def _gather_inner(
    slopes: Array, x: Array, y: Array, transposed: bool, precision: Any
) -> tuple[Array, ...]:
    if transposed:  # the smaller matrix is the one to transpose
        return (jnp.matmul(x.T, slopes, precision=precision).T,)
    return (jnp.matmul(slopes, y, precision=precision),)


def _l1(x: Array, y: Array, same: bool, precision: Any) -> Array:
    def feature(total: Array, pair: tuple[Array, Array]) -> tuple[Array, None]:
        return total + jnp.abs(pair[0][:, None] - pair[1][None, :]), None

    zero = jnp.zeros((len(x), len(y)), x.dtype)
    return lax.scan(jax.checkpoint(feature), zero, (x.T, y.T))[0]


def _gather_l1(
    slopes: Array, x: Array, y: Array, transposed: bool, precision: Any
) -> tuple[Array, ...]:
    if transposed:
        slopes, x, y = slopes.T, y, x

    def feature(pair: tuple[Array, Array]) -> Array:
        return jnp.sum(slopes * jnp.sign(pair[0][:, None] - pair[1][None, :]), axis=1)

    return (lax.map(jax.checkpoint(feature), (x.T, y.T)).T,)


def _finish_alone(x: Array, parts: tuple[Array]) -> Array:
    return parts[0]


_PAIRINGS = {
    "squared_l2": _Pairing(
        _squared_l2,
        _gather_squared_l2,
        _finish_squared_l2,
        lambda x, y: jnp.sum((x - y) ** 2, -1),
    ),
    "inner": _Pairing(_inner, _gather_inner, _finish_alone, lambda x, y: jnp.sum(x * y, -1)),
    "l1": _Pairing(_l1, _gather_l1, _finish_alone, lambda x, y: jnp.sum(jnp.abs(x - y), -1)),
}


def _to_blocks(plan: Plan, rows: Array) -> Array:
    """``[n, ...]`` to ``[blocks, block, ...]``: an equal share of each segment, padded by zeros."""
    parts, start = [], 0
    for size in plan.segments:
        share = math.ceil(size / plan.blocks)
        part = rows[start : start + size]
        missing = plan.blocks * share - size
        part = jnp.pad(part, [(0, missing)] + [(0, 0)] * (rows.ndim - 1)) if missing else part
        parts.append(part.reshape(plan.blocks, share, *rows.shape[1:]))
        start += size
    return jnp.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]


def _from_blocks(plan: Plan, blocks: Array) -> Array:
    """The inverse of :func:`_to_blocks`."""
    parts, start = [], 0
    for size in plan.segments:
        share = math.ceil(size / plan.blocks)
        part = blocks[:, start : start + share]
        parts.append(part.reshape(plan.blocks * share, *blocks.shape[2:])[:size])
        start += share
    return jnp.concatenate(parts) if len(parts) > 1 else parts[0]


def _measured_block_size(kernels: Sequence[Kernel], points: int) -> int:
    """Where the whole matrix at once stops being faster, and how large blocks are beyond that."""
    if any(kernel.pairing == "l1" for kernel in kernels):
        return 256
    if jax.default_backend() != "cpu":
        return 4096
    return 1024 if points > 1024 else 512
