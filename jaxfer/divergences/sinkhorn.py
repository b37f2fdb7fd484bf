"""Entropic optimal transport: the plan between two samples, and the divergence made of it."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import logsumexp

from jaxfer.divergences.options import check_count, check_number
from jaxfer.divergences.samples import floating, two_samples


class SinkhornInfo(NamedTuple):
    """How far Sinkhorn's iteration came; of several problems, the one that came least far.

    Attributes:
      converged: whether ``marginal_error`` is at most the tolerance.
      iterations: number of iterations taken.
      marginal_error: sum over points of the absolute difference between the plan's marginal and the
        weight, between 0 and 2.
      epsilon: the regularisation, in units of the cost.

    >>> _, info = sinkhorn_plan(jnp.array([[0.0, 1.0], [1.0, 0.0]]), epsilon=0.1)
    >>> bool(info.converged)
    True
    """

    converged: Array
    iterations: Array
    marginal_error: Array
    epsilon: Array


def sinkhorn_divergence(
    source: Any,
    target: Any,
    *,
    epsilon: float | Array,
    relative: bool = False,
    cost: Literal["squared_l2", "l2"] = "squared_l2",
    tolerance: float | Array = 1e-4,
    max_iterations: int = 1000,
    source_weights: Any = None,
    target_weights: Any = None,
) -> tuple[Array, SinkhornInfo]:
    r"""Debiased entropic optimal transport between two samples (batch-coupled).

    .. math::
        S_\epsilon(a, b) = \mathrm{OT}_\epsilon(a, b) - \tfrac{1}{2} \mathrm{OT}_\epsilon(a, a)
        - \tfrac{1}{2} \mathrm{OT}_\epsilon(b, b), \qquad
        \mathrm{OT}_\epsilon(a, b) = \min_P \langle P, C \rangle + \epsilon \, \mathrm{KL}(P \,\|\,
        a \otimes b)

    over plans :math:`P` whose marginals are the weights :math:`a` and :math:`b`. Small
    :math:`\epsilon` gives optimal transport and takes many iterations; large :math:`\epsilon` gives
    a distance of means.

    The iteration runs on logarithms and is not differentiated. By the envelope theorem the
    gradient is that of :math:`\langle P, C \rangle` with the plan held fixed, and with respect to
    weights the potentials; it is exact at convergence, in reverse and in forward mode, and its
    memory does not grow with the iterations. A second derivative holds the plan fixed too: it
    holds the curvature of the cost and leaves out how the plan itself would change.

    Args:
      source: ``[n, d]``, floating point.
      target: ``[m, d]``, likewise.
      epsilon: :math:`\epsilon`, positive, in units of the cost; a constant in differentiation.
      relative: ``epsilon`` is instead a multiple of the mean cost between source and target, which
        is a constant in differentiation too. 0.05 is usual.
      cost: ``"squared_l2"`` for :math:`\|x - y\|^2` (not halved), or ``"l2"`` for
        :math:`\|x - y\|`.
      tolerance: positive; the ``marginal_error`` to stop at. The value's error is of the order of
        its square, the gradient's of the order of itself. Float32 resolves about 1e-7 times the
        largest cost over ``epsilon``.
      max_iterations: at least 1.
      source_weights: ``[n]``, not negative, on any scale; a point of weight 0 is absent, one of
        weight 2 counts as two. ``None`` weighs all points alike.
      target_weights: ``[m]``, likewise.

    Returns:
      The value, a scalar in units of the cost, at least 0 up to the tolerance, 0 where traced
      weights leave a side empty; and the :class:`SinkhornInfo` of the least converged of the three
      problems.

    Raises:
      TypeError: for samples that are not of floating point, or options that are no numbers.
      ValueError: for wrong shapes or options; where arrays are concrete also for NaN, infinity or
        negative weights.

    Source: Feydy et al. 2019, Interpolating between optimal transport and MMD using Sinkhorn
    divergences, equations 1 and 3, with equation 25 for the two terms of one sample. Deviation:
    none from ott's ``sinkdiv``; geomloss halves the squared cost.

    >>> points = jnp.array([[0.0], [1.0], [2.0]])
    >>> value, info = sinkhorn_divergence(points, points + 0.5, epsilon=1.0)
    >>> f"{value:.4f}", bool(info.converged)  # a shift: the squared distance of the means
    ('0.2500', True)
    """
    if cost not in _COSTS:
        raise ValueError(f"cost must be 'squared_l2' or 'l2'; it is {cost!r}.")
    _check_solver(epsilon, relative, tolerance, max_iterations)
    samples = two_samples(source, target, source_weights, target_weights)
    return _divergence(
        samples.source,
        samples.target,
        samples.source_weights,
        samples.target_weights,
        epsilon,
        tolerance,
        cost=cost,
        relative=relative,
        max_iterations=max_iterations,
    )


def sinkhorn_plan(
    cost: Any,
    *,
    epsilon: float | Array,
    relative: bool = False,
    tolerance: float | Array = 1e-4,
    max_iterations: int = 1000,
    source_weights: Any = None,
    target_weights: Any = None,
) -> tuple[Array, SinkhornInfo]:
    r"""The entropic optimal transport plan of a matrix of costs (batch-coupled).

    .. math::
        P = \arg\min_P \langle P, C \rangle + \epsilon \, \mathrm{KL}(P \,\|\, a \otimes b),
        \qquad P_{ij} = a_i b_j \exp \big( (f_i + g_j - C_{ij}) / \epsilon \big)

    over plans whose marginals are the weights. The plan is a constant in differentiation:
    ``jnp.sum(plan * cost)`` has the gradient of the envelope theorem with respect to the cost.

    Args:
      cost: :math:`C`, ``[n, m]``, floating point, finite.
      epsilon: :math:`\epsilon`, positive, in units of the cost.
      relative: ``epsilon`` is instead a multiple of the mean absolute cost.
      tolerance: positive; the ``marginal_error`` to stop at.
      max_iterations: at least 1.
      source_weights: :math:`a`, ``[n]``, not negative, on any scale; the plan's rows sum to them
        once they sum to 1. ``None`` weighs all rows alike.
      target_weights: :math:`b`, ``[m]``, likewise for its columns.

    Returns:
      The plan ``[n, m]``, at least 0, that sums to 1, with 0 for a row or column of weight 0, or
      everywhere where traced weights leave a side empty; and its :class:`SinkhornInfo`. Its columns
      sum to the target's weights up to rounding, its rows to the source's up to the tolerance.

    Raises:
      TypeError: for a cost that is not of floating point, or options that are no numbers.
      ValueError: for wrong shapes or options; where arrays are concrete also for NaN, infinity or
        negative weights.

    Source: Cuturi 2013, Sinkhorn distances, equation 2 in the dual form of section 3; the entropy
    is relative to the product of the weights, which does not change the plan.

    >>> cost = jnp.array([[0.0, 1.0], [1.0, 0.0]])
    >>> plan, info = sinkhorn_plan(cost, epsilon=0.1)
    >>> [f"{mass:.4f}" for mass in plan[0]]
    ['0.5000', '0.0000']
    """
    cost = floating("cost", cost)
    if cost.ndim != 2 or 0 in cost.shape:
        raise ValueError(
            "cost must be an array [n, m] with n and m of at least 1; "
            f"it has the shape {cost.shape}."
        )
    _check_solver(epsilon, relative, tolerance, max_iterations)
    # Of the samples that the rows and columns stand for, only the weights matter here.
    samples = two_samples(
        jnp.zeros(cost.shape[0], cost.dtype),
        jnp.zeros(cost.shape[1], cost.dtype),
        source_weights,
        target_weights,
        rank=1,
    )
    return _plan(
        cost,
        samples.source_weights,
        samples.target_weights,
        epsilon,
        tolerance,
        relative=relative,
        max_iterations=max_iterations,
    )


def _check_solver(epsilon: Any, relative: Any, tolerance: Any, max_iterations: Any) -> None:
    check_number("epsilon", epsilon, above=0)
    if not isinstance(relative, bool):
        raise TypeError(f"relative must be True or False; it is {relative!r}.")
    check_number("tolerance", tolerance, above=0)
    check_count("max_iterations", max_iterations)


class _Solution(NamedTuple):
    """Potentials ``[n]`` and ``[m]``, the plan ``[n, m]``, and how it was reached."""

    source_potential: Array
    target_potential: Array
    plan: Array
    iterations: Array
    error: Array


@partial(jax.jit, static_argnames=("relative", "max_iterations"))
def _plan(
    cost: Array,
    source_weights: Array,
    target_weights: Array,
    epsilon: Array,
    tolerance: Array,
    *,
    relative: bool,
    max_iterations: int,
) -> tuple[Array, SinkhornInfo]:
    cost, a, b = lax.stop_gradient((cost, source_weights, target_weights))
    epsilon, tolerance = _as_constants(cost, a, b, epsilon, tolerance, relative)
    a, b, present = _present(a, b)
    solution = _solve(cost, a, b, epsilon, tolerance, max_iterations)
    plan = jnp.where(present, solution.plan, 0)
    return plan, _inform([solution], epsilon, tolerance)


@partial(jax.jit, static_argnames=("cost", "relative", "max_iterations"))
def _divergence(
    source: Array,
    target: Array,
    source_weights: Array,
    target_weights: Array,
    epsilon: Array,
    tolerance: Array,
    *,
    cost: str,
    relative: bool,
    max_iterations: int,
) -> tuple[Array, SinkhornInfo]:
    # A distance does not depend on the origin; near the points it loses least to rounding.
    origin = lax.stop_gradient(0.5 * (source_weights @ source + target_weights @ target))
    source, target = source - origin, target - origin
    between = _COSTS[cost](source, target)
    epsilon, tolerance = _as_constants(
        between, source_weights, target_weights, epsilon, tolerance, relative
    )
    a, b, present = _present(source_weights, target_weights)

    def transport(costs: Array, a: Array, b: Array, symmetric: bool) -> tuple[Array, _Solution]:
        fixed = lax.stop_gradient((costs, a, b))
        solution = _solve(*fixed, epsilon, tolerance, max_iterations, symmetric)
        # The dual objective, whose error is of second order; then nothing, whose derivative is
        # that of the cost under the fixed plan.
        value = (
            a @ solution.source_potential
            + b @ solution.target_potential
            - epsilon * (jnp.sum(solution.plan) - 1)
        )
        return value + jnp.sum(solution.plan * (costs - fixed[0])), solution

    cross, cross_solution = transport(between, a, b, False)
    own_source, source_solution = transport(_COSTS[cost](source, source), a, a, True)
    own_target, target_solution = transport(_COSTS[cost](target, target), b, b, True)
    value = jnp.where(present, cross - 0.5 * (own_source + own_target), 0)
    solutions = [cross_solution, source_solution, target_solution]
    return value, _inform(solutions, epsilon, tolerance)


def _solve(
    cost: Array,
    a: Array,
    b: Array,
    epsilon: Array,
    tolerance: Array,
    max_iterations: int,
    symmetric: bool = False,
) -> _Solution:
    """Sinkhorn's iteration on the potentials; of one potential alone for a symmetric problem."""
    log_a, log_b = jnp.log(a), jnp.log(b)

    def best(potential: Array, log_weights: Array, costs: Array) -> Array:
        """The potential of the rows of the cost that satisfies their marginals."""
        return -epsilon * logsumexp(log_weights + (potential - costs) / epsilon, axis=1)

    def deviation(potential: Array, satisfying: Array) -> Array:
        """Marginal error of the rows: they hold ``a exp((potential - satisfying) / epsilon)``."""
        excess = jnp.where(a > 0, (potential - satisfying) / epsilon, 0)
        return jnp.sum(a * jnp.abs(jnp.expm1(excess)))

    def alternate(f: Array, g: Array) -> tuple[Array, Array, Array]:
        satisfying = best(g, log_b, cost)
        return satisfying, best(satisfying, log_a, cost.T), deviation(f, satisfying)

    def halve(f: Array, _: Array) -> tuple[Array, Array, Array]:
        satisfying = best(f, log_a, cost)
        mean = 0.5 * (f + satisfying)
        return mean, mean, deviation(f, satisfying)

    update: Callable[[Array, Array], tuple[Array, Array, Array]]
    update = halve if symmetric else alternate

    def going_on(carry: tuple[Array, Array, Array, Array]) -> Array:
        _, _, error, iteration = carry
        return (error > tolerance) & (iteration < max_iterations)

    def step(carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        f, g, _, iteration = carry
        return *update(f, g), iteration + 1

    start = (jnp.zeros_like(a), jnp.zeros_like(b), jnp.full((), jnp.inf, a.dtype), jnp.array(0))
    f, g, _, iterations = lax.while_loop(going_on, step, start)
    plan = jnp.exp(log_a[:, None] + log_b + (f[:, None] + g - cost) / epsilon)
    error = jnp.sum(jnp.abs(plan.sum(axis=1) - a))
    return _Solution(f, g, plan, iterations, error)


def _as_constants(
    cost: Array, a: Array, b: Array, epsilon: Array, tolerance: Array, relative: bool
) -> tuple[Array, Array]:
    """Regularisation and tolerance of the cost's type, neither of them to be differentiated."""
    epsilon = jnp.asarray(epsilon, cost.dtype)
    if relative:
        scale = a @ jnp.abs(cost) @ b
        # Where every cost is 0 any regularisation gives the same plan.
        epsilon = epsilon * jnp.where(scale > 0, scale, 1)
    return lax.stop_gradient((epsilon, jnp.asarray(tolerance, cost.dtype)))


def _present(a: Array, b: Array) -> tuple[Array, Array, Array]:
    """The weights, equal ones where a side has none at all, and whether both sides have some."""
    present = (a.sum() > 0) & (b.sum() > 0)
    return (
        jnp.where(present, a, 1 / len(a)),
        jnp.where(present, b, 1 / len(b)),
        present,
    )


def _inform(solutions: list[_Solution], epsilon: Array, tolerance: Array) -> SinkhornInfo:
    error = jnp.max(jnp.stack([solution.error for solution in solutions]))
    iterations = jnp.max(jnp.stack([solution.iterations for solution in solutions]))
    return SinkhornInfo(error <= tolerance, iterations, error, epsilon)


def squared_distances(x: Array, y: Array) -> Array:
    """Squared distances ``[n, m]``, up to rounding, by a product of matrices."""
    product = jnp.matmul(x, y.T, precision="highest")
    squares = jnp.sum(jnp.square(x), axis=1)[:, None] + jnp.sum(jnp.square(y), axis=1)
    return squares - 2 * product


def _l2(x: Array, y: Array) -> Array:
    """Distances ``[n, m]``, 0 with derivative 0 where points are equal.

    Their values come from differences, since a root makes the rounding of a product large near 0;
    their derivatives come from the product, which needs no array ``[n, m, d]``.
    """
    fixed = lax.stop_gradient((x, y))
    squares = lax.map(
        lambda point: jnp.sum(jnp.square(point - fixed[1]), axis=1), fixed[0], batch_size=32
    )
    apart = squares > 0
    squares = jnp.where(apart, squares, 1)
    product = squared_distances(x, y)
    change = product - lax.stop_gradient(product)  # 0, for its derivatives alone
    return jnp.where(apart, jnp.sqrt(squares) * jnp.sqrt(1 + change / squares), 0)


_COSTS = {"squared_l2": squared_distances, "l2": _l2}
