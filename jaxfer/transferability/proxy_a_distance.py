"""Proxy A-distance: how well a classifier can tell two samples apart."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxfer.divergences.options import check_count, check_number
from jaxfer.divergences.samples import two_samples

Parameters: TypeAlias = tuple[Array, Array]  # a weight for each feature, and the intercept

_CG_ITERATIONS = 500


class ProxyADistanceInfo(NamedTuple):
    """How the classifier fared on the points that were held out.

    Attributes:
      error: the held-out error, a scalar in [0, 1]: the mean of the shares of wrong answers on the
        two sides.
      fold_errors: ``[folds]``, the same within each fold.
      converged: ``[folds]``, whether the fold's classifier reached the tolerance.
      iterations: ``[folds]``, how many steps it took.
      source_log_odds, target_log_odds: ``[n]`` and ``[m]``, what the classifier that had not seen a
        point says of it: above 0 for the source, below for the target.
      source_folds, target_folds: ``[n]`` and ``[m]``, the fold in which a point was held out.

    >>> x = jnp.arange(20.0)[:, None]
    >>> _, info = proxy_a_distance(x, x + 30, key=jax.random.key(0), folds=4)
    >>> info.fold_errors.tolist(), bool(info.converged.all())
    ([0.0, 0.0, 0.0, 0.0], True)
    """

    error: Array
    fold_errors: Array
    converged: Array
    iterations: Array
    source_log_odds: Array
    target_log_odds: Array
    source_folds: Array
    target_folds: Array


def proxy_a_distance(
    source: Any,
    target: Any,
    *,
    key: Array,
    folds: int = 5,
    l2: float | Array = 0.1,
    tolerance: float | Array = 1e-5,
    max_iterations: int = 100,
) -> tuple[Array, ProxyADistanceInfo]:
    r"""Proxy A-distance of two samples: how much better than chance a linear classifier is.

    .. math::
        d_A = 2 (1 - 2 \epsilon)

    with :math:`\epsilon` the held-out error of a classifier that tells source from target; 0 where
    it does no better than a coin, 2 where it is never wrong. A classifier that does worse than a
    coin, as happens by chance on samples of one distribution, would give a negative number: the
    distance is clipped to [0, 2], the error in the info is not.

    The classifier is logistic regression on standardised features,

    .. math::
        \min_{w, b} \; \sum_i p_i \log \big( 1 + \exp(-y_i (w \cdot z_i + b)) \big)
        + \frac{\lambda}{2} \|w\|^2

    with :math:`y = \pm 1` for source and target, weights :math:`p` that sum to 1/2 on either side
    whatever their sizes, and :math:`z` the features less their mean, over their standard deviation;
    both of the training points alone, with the weights :math:`p`. It is fitted once for each fold,
    all folds side by side, by Newton's method; conjugate gradients solve for each step, which is
    halved until the loss falls. An answer of exactly 0 counts as half an error.

    Under one distribution the distance is not 0 on average but of the order of
    :math:`\sqrt{1/n + 1/m}`, its standard deviation before clipping. Being linear, the classifier
    sees a difference of means far more easily than one of spread or shape.

    Args:
      source, target: ``[n, d]`` and ``[m, d]``, floating point.
      key: of the division into folds; each side is dealt evenly.
      folds: how many, from 2 to the number of points of the smaller side.
      l2: :math:`\lambda`, positive. scikit-learn's ``C`` is :math:`1 / \lambda` for sample weights
        that sum to 1.
      tolerance: positive; the largest component of the gradient to stop at.
      max_iterations: at least 1, of Newton's method.

    Returns:
      The distance, a scalar in [0, 2], and the :class:`ProxyADistanceInfo`.

    Raises:
      TypeError: for arrays that are not of floating point, or options that are no numbers.
      ValueError: for wrong shapes or options; where arrays are concrete also for NaN or infinity.

    Source: Ben-David et al. 2010, A theory of learning from different domains, lemma 2, which adds
    the two sides' errors as they are added here; Ben-David et al. 2006, Analysis of representations
    for domain adaptation, for a linear classifier in the place of the best one. Deviations: the
    lemma takes the least error on the points at hand, this one the error on held-out points, so
    that many features do not make any two samples look far apart; the loss is logistic.

    >>> keys = jax.random.split(jax.random.key(0), 3)
    >>> x, y = (jax.random.normal(key, (200, 3)) for key in keys[:2])
    >>> [round(float(proxy_a_distance(x, y + s, key=keys[2])[0]), 1) for s in (0, 1, 9)]
    [0.0, 1.1, 2.0]
    """
    samples = two_samples(source, target, points=2)
    check_count("folds", folds, at_least=2)
    fewest = min(len(samples.source), len(samples.target))
    if folds > fewest:
        raise ValueError(
            f"folds must be from 2 to {fewest}, the points of the smaller side; it is {folds}."
        )
    check_number("l2", l2, above=0)
    check_number("tolerance", tolerance, above=0)
    check_count("max_iterations", max_iterations)
    return _proxy_a_distance(
        samples.source, samples.target, key, l2, tolerance, folds, max_iterations
    )


@partial(jax.jit, static_argnums=(5, 6))
def _proxy_a_distance(
    source: Array,
    target: Array,
    key: Array,
    l2: Array,
    tolerance: Array,
    folds: int,
    max_iterations: int,
) -> tuple[Array, ProxyADistanceInfo]:
    n, m, dtype = len(source), len(target), source.dtype
    dealt = [
        jax.random.permutation(side, jnp.arange(size) % folds)
        for side, size in zip(jax.random.split(key), (n, m), strict=True)
    ]
    x = jnp.concatenate([source, target])
    # Of no account for the result, as each fold standardises anew; it spares rounding.
    x = x - x.mean(0)
    largest = jnp.abs(x).max(0)
    x = x / jnp.where(largest > 0, largest, 1)
    sign = jnp.concatenate([jnp.ones(n, dtype), -jnp.ones(m, dtype)])
    held_out = jnp.concatenate(dealt) == jnp.arange(folds)[:, None]
    log_odds, converged, iterations = _fit(x, sign, ~held_out, l2, tolerance, max_iterations)
    log_odds = jnp.sum(jnp.where(held_out, log_odds, 0), axis=0)
    wrong = (1 - jnp.sign(log_odds * sign)) / 2
    sides = [
        jnp.sum(jnp.where(held_out & mine, wrong, 0), axis=1) / jnp.sum(held_out & mine, axis=1)
        for mine in (sign > 0, sign < 0)
    ]
    error = (wrong[:n].mean() + wrong[n:].mean()) / 2
    info = ProxyADistanceInfo(
        error=error,
        fold_errors=(sides[0] + sides[1]) / 2,
        converged=converged,
        iterations=iterations,
        source_log_odds=log_odds[:n],
        target_log_odds=log_odds[n:],
        source_folds=dealt[0],
        target_folds=dealt[1],
    )
    return jnp.clip(2 * (1 - 2 * error), 0, 2), info


def _fit(
    x: Array, sign: Array, chosen: Array, l2: Array, tolerance: Array, max_iterations: int
) -> tuple[Array, Array, Array]:
    """Fits one classifier for each row of ``chosen`` ``[folds, points]``.

    Returns the log-odds ``[folds, points]``, whether it converged, and its iterations.
    """
    first, second = chosen & (sign > 0), chosen & (sign < 0)
    share = jnp.where(first, first.sum(1, keepdims=True), second.sum(1, keepdims=True))
    weights = jnp.where(chosen, 0.5 / share, 0).astype(x.dtype)
    mean = jnp.matmul(weights, x, precision="highest")
    variance = lax.map(lambda fold: fold[0] @ jnp.square(x - fold[1]), (weights, mean))
    # What does not vary beyond rounding tells nothing; centred it is 0 as it is.
    resolved = jnp.sqrt(variance) > 16 * jnp.finfo(x.dtype).eps
    scale = jnp.where(resolved, jnp.sqrt(variance), 1)
    newton = partial(_newton, x, sign, l2=l2, tolerance=tolerance, max_iterations=max_iterations)
    return jax.vmap(newton)(weights, mean, scale)


def _newton(
    x: Array,
    sign: Array,
    weights: Array,
    mean: Array,
    scale: Array,
    *,
    l2: Array,
    tolerance: Array,
    max_iterations: int,
) -> tuple[Array, Array, Array]:
    """One classifier; ``x`` is not standardised itself, so that all folds read the same matrix."""
    product = partial(jnp.matmul, precision="highest")

    def answers(parameters: Parameters) -> Array:
        slope = parameters[0] / scale
        return product(x, slope) - product(mean, slope) + parameters[1]

    def pull_back(points: Array, slope: Array) -> Parameters:
        """The transpose of ``answers``, and the penalty's gradient at ``slope``."""
        total = jnp.sum(points)
        return (product(points, x) - total * mean) / scale + l2 * slope, total

    def loss(odds: Array, slope: Array) -> Array:
        penalty = l2 / 2 * product(slope, slope)
        return product(weights, jax.nn.softplus(-sign * odds)) + penalty

    def gradient(odds: Array, slope: Array) -> Parameters:
        return pull_back(-weights * sign * jax.nn.sigmoid(-sign * odds), slope)

    def largest(gradient: Parameters) -> Array:
        return jnp.maximum(jnp.abs(gradient[0]).max(initial=0), jnp.abs(gradient[1]))

    def unfinished(state: tuple[Parameters, Array, Parameters, Array]) -> Array:
        return (state[3] < max_iterations) & (largest(state[2]) > tolerance)

    def step(
        state: tuple[Parameters, Array, Parameters, Array],
    ) -> tuple[Parameters, Array, Parameters, Array]:
        (slope, intercept), odds, downhill, iterations = state
        probability = jax.nn.sigmoid(odds)
        curvature = weights * probability * (1 - probability)
        move = _conjugate_gradients(
            lambda change: pull_back(curvature * answers(change), change[0]), downhill
        )
        change, before = answers(move), loss(odds, slope)
        slack = 8 * jnp.finfo(x.dtype).eps * before

        def too_far(size: Array) -> Array:
            after = loss(odds + size * change, slope + size * move[0])
            return (after > before - 1e-4 * size * _inner(downhill, move) + slack) & (size > 1e-6)

        size = lax.while_loop(too_far, lambda size: size / 2, jnp.ones((), x.dtype))
        slope, intercept = slope + size * move[0], intercept + size * move[1]
        odds = answers((slope, intercept))
        downhill = jax.tree.map(jnp.negative, gradient(odds, slope))
        return (slope, intercept), odds, downhill, iterations + 1

    start = jnp.zeros(x.shape[1], x.dtype), jnp.zeros((), x.dtype)
    odds = jnp.zeros(len(x), x.dtype)
    downhill = jax.tree.map(jnp.negative, gradient(odds, start[0]))
    state = (start, odds, downhill, jnp.zeros((), jnp.int32))
    _, odds, downhill, iterations = lax.while_loop(unfinished, step, state)
    return odds, largest(downhill) <= tolerance, iterations


def _conjugate_gradients(
    times: Callable[[Parameters], Parameters], right: Parameters
) -> Parameters:
    """Solves ``times(z) = right``, the more closely the smaller ``right`` has become."""
    square = _inner(right, right)
    enough = square * jnp.square(jnp.clip(jnp.sqrt(square), 1e-3, 0.1))

    def add(z: Parameters, factor: Array, direction: Parameters) -> Parameters:
        return z[0] + factor * direction[0], z[1] + factor * direction[1]

    def unfinished(state: tuple[Parameters, Parameters, Parameters, Array, Array]) -> Array:
        return (state[3] > enough) & (state[4] < _CG_ITERATIONS)

    def step(
        state: tuple[Parameters, Parameters, Parameters, Array, Array],
    ) -> tuple[Parameters, Parameters, Parameters, Array, Array]:
        z, rest, direction, square, count = state
        image = times(direction)
        size = square / _inner(direction, image)
        z, rest = add(z, size, direction), add(rest, -size, image)
        smaller = _inner(rest, rest)
        return z, rest, add(rest, smaller / square, direction), smaller, count + 1

    zero = jnp.zeros_like(right[0]), jnp.zeros_like(right[1])
    state = (zero, right, right, square, jnp.zeros((), jnp.int32))
    return lax.while_loop(unfinished, step, state)[0]


def _inner(a: Parameters, b: Parameters) -> Array:
    return jnp.matmul(a[0], b[0], precision="highest") + a[1] * b[1]
