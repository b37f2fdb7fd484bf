"""How much more frequent is an example in the target than in the source? By a domain classifier."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxfer.divergences.options import check_count, check_number
from jaxfer.divergences.samples import floating, two_samples


class DensityRatioInfo(NamedTuple):
    r"""The domain classifier behind density ratios, and what they are worth.

    Attributes:
      converged: whether the fit reached the tolerance.
      iterations: how many steps it took.
      effective_sample_size: a scalar from 1 to ``k``, :math:`(\sum r)^2 / \sum r^2` over the
        points whose ratios were asked for: as many points without weights would say as much.
      log_ratios: ``[k]``, the logarithms of the ratios.
      slope, intercept: ``[d]`` and a scalar, so that ``features @ slope + intercept`` is the
        logarithm of the ratio.

    >>> x = jnp.arange(8.0)[:, None]
    >>> ratios, info = domain_density_ratio(x, x + 2)
    >>> bool(jnp.allclose(jnp.exp(x @ info.slope + info.intercept), ratios, rtol=1e-4))
    True
    """

    converged: Array
    iterations: Array
    effective_sample_size: Array
    log_ratios: Array
    slope: Array
    intercept: Array


def domain_density_ratio(
    source_features: Any,
    target_features: Any,
    *,
    at: Any = None,
    l2: float | Array = 0.01,
    source_weights: Any = None,
    target_weights: Any = None,
    tolerance: float | Array = 1e-5,
    max_iterations: int = 100,
) -> tuple[Array, DensityRatioInfo]:
    r"""Ratio of the target's density to the source's, by a classifier that tells them apart.

    .. math::
        r(x) = \frac{p_t(x)}{p_s(x)} = \frac{P(t \mid x)}{P(s \mid x)} = \exp(w \cdot z + b)

    The classifier is logistic regression in which both sides count alike, whatever their sizes,

    .. math::
        \min_{w, b} \; \sum_i p_i \log \big( 1 + \exp(-y_i (w \cdot z_i + b)) \big)
        + \frac{\lambda}{2} \|w\|^2

    with :math:`y = \pm 1` for target and source, weights :math:`p` that sum to 1/2 on either side,
    and :math:`z` the features less their mean, over their standard deviation. Fitted by Newton's
    method, whose steps are halved until the loss falls; time grows with
    :math:`(n + m) d^2 + d^3`. Works under ``jit`` and ``vmap``; a loop inside, it has no gradient
    in reverse mode.

    The penalty draws the ratios towards 1. Being linear in the features, the classifier is meant
    for those of a network, whose last layer is linear too.

    Args:
      source_features, target_features: ``[n, d]`` and ``[m, d]``, floating point.
      at: ``[k, d]``, where ratios are wanted, such as the features of held-out source examples; by
        default ``source_features``.
      l2: :math:`\lambda`, positive. scikit-learn's ``C`` is :math:`1 / \lambda` for sample weights
        that sum to 1.
      source_weights, target_weights: ``[n]`` and ``[m]``, not negative, on any scale. A point of
        weight 0 is absent.
      tolerance: positive; the largest component of the gradient to stop at.
      max_iterations: at least 1, of Newton's method.

    Returns:
      The ratios ``[k]``, positive, and the :class:`DensityRatioInfo`. Where traced weights leave a
      side empty the ratios are 1.

    Raises:
      TypeError: for arrays that are not of floating point, or options that are no numbers.
      ValueError: for wrong shapes or options; where arrays are concrete also for NaN, infinity, or
        weights that are negative or all 0.

    Source: Bickel et al. 2007, Discriminative learning for differing training and test
    distributions, section 3; You et al. 2019, Towards accurate model selection in deep unsupervised
    domain adaptation, section 4, whose ratio it is. Deviation: You et al. train a small network.

    >>> import jax
    >>> x = jax.random.normal(jax.random.key(0), (2000, 1))
    >>> ratios, info = domain_density_ratio(x, x + 1, at=jnp.array([[0.0], [0.5], [1.0]]))
    >>> [f"{ratio:.1f}" for ratio in ratios]  # exp(x - 1/2)
    ['0.6', '1.0', '1.6']
    """
    samples = two_samples(source_features, target_features, source_weights, target_weights)
    check_number("l2", l2, above=0)
    check_number("tolerance", tolerance, above=0)
    check_count("max_iterations", max_iterations)
    at = samples.source if at is None else floating("at", at).astype(samples.source.dtype)
    if at.ndim != 2 or at.shape[1] != samples.source.shape[1]:
        raise ValueError(
            f"at must be an array [k, {samples.source.shape[1]}], with the features of the "
            f"samples; its shape is {at.shape}."
        )
    present = (samples.source_count > 0) & (samples.target_count > 0)
    x = jnp.concatenate([samples.source, samples.target])
    weights = jnp.concatenate([samples.source_weights, samples.target_weights]) / 2
    sign = jnp.concatenate(
        [-jnp.ones_like(samples.source_weights), jnp.ones_like(samples.target_weights)]
    )
    return _density_ratio(x, sign, weights * present, at, l2, tolerance, max_iterations)


class _Fit(NamedTuple):
    parameters: Array  # [d + 1], the last is the intercept
    odds: Array  # [points], log-odds of the target
    gradient: Array
    iterations: Array


@partial(jax.jit, static_argnums=6)
def _density_ratio(
    x: Array,
    sign: Array,
    weights: Array,
    at: Array,
    l2: Array,
    tolerance: Array,
    max_iterations: int,
) -> tuple[Array, DensityRatioInfo]:
    mean = _product(weights, x)
    apart = x - mean
    deviation = jnp.sqrt(_product(weights, jnp.square(apart)))
    # What does not vary beyond rounding tells nothing.
    resolved = deviation > 16 * jnp.finfo(x.dtype).eps * jnp.abs(x).max(0)
    scale = jnp.where(resolved, 1 / jnp.where(resolved, deviation, 1), 0)
    fit = _newton(_with_ones(apart * scale), sign, weights, l2, tolerance, max_iterations)
    log_ratios = _product(_with_ones((at - mean) * scale), fit.parameters)
    ratios = jnp.exp(log_ratios)
    # Scaled by the largest, whose square could overflow.
    shares = jnp.exp(log_ratios - log_ratios.max())
    slope = fit.parameters[:-1] * scale
    info = DensityRatioInfo(
        converged=jnp.abs(fit.gradient).max() <= tolerance,
        iterations=fit.iterations,
        effective_sample_size=jnp.square(shares.sum()) / jnp.square(shares).sum(),
        log_ratios=log_ratios,
        slope=slope,
        intercept=fit.parameters[-1] - _product(slope, mean),
    )
    return ratios, info


def _newton(
    z: Array, sign: Array, weights: Array, l2: Array, tolerance: Array, max_iterations: int
) -> _Fit:
    """Fits the classifier on rows ``z`` that end in a 1."""
    eps = jnp.finfo(z.dtype).eps
    penalty = l2 * jnp.ones(z.shape[1], z.dtype).at[-1].set(0)

    def loss(odds: Array, parameters: Array) -> Array:
        return (
            _product(weights, jax.nn.softplus(-sign * odds))
            + _product(penalty, jnp.square(parameters)) / 2
        )

    def gradient(odds: Array, parameters: Array) -> Array:
        return _product(-weights * sign * jax.nn.sigmoid(-sign * odds), z) + penalty * parameters

    def unfinished(fit: _Fit) -> Array:
        return (fit.iterations < max_iterations) & (jnp.abs(fit.gradient).max() > tolerance)

    def step(fit: _Fit) -> _Fit:
        curvature = weights * jax.nn.sigmoid(fit.odds) * jax.nn.sigmoid(-fit.odds)
        hessian = _product(z.T * curvature, z) + jnp.diag(penalty.at[-1].set(eps))
        move = -jax.scipy.linalg.solve(hessian, fit.gradient, assume_a="pos")
        change, before = _product(z, move), loss(fit.odds, fit.parameters)
        enough, slack = 1e-4 * _product(fit.gradient, move), 8 * eps * before

        def too_far(size: Array) -> Array:
            after = loss(fit.odds + size * change, fit.parameters + size * move)
            return (after > before + size * enough + slack) & (size > 1e-6)

        size = lax.while_loop(too_far, lambda size: size / 2, jnp.ones((), z.dtype))
        parameters = fit.parameters + size * move
        odds = _product(z, parameters)
        return _Fit(parameters, odds, gradient(odds, parameters), fit.iterations + 1)

    parameters, odds = jnp.zeros(z.shape[1], z.dtype), jnp.zeros(len(z), z.dtype)
    start = _Fit(parameters, odds, gradient(odds, parameters), jnp.zeros((), jnp.int32))
    return lax.while_loop(unfinished, step, start)


def _with_ones(x: Array) -> Array:
    return jnp.concatenate([x, jnp.ones((len(x), 1), x.dtype)], axis=1)


_product = partial(jnp.matmul, precision="highest")
