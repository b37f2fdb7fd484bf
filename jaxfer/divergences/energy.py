"""Energy distance: MMD without a bandwidth."""

from typing import Any

from jax import Array

from jaxfer.divergences.estimators import Settings, check_estimator, estimate, points_needed
from jaxfer.divergences.kernels import DistanceKernel
from jaxfer.divergences.pairs import make_plan
from jaxfer.divergences.samples import two_samples


def energy_distance(
    source: Any,
    target: Any,
    *,
    estimator: str = "biased",
    source_weights: Any = None,
    target_weights: Any = None,
    axis_name: str | None = None,
    block_size: int | None = None,
    precision: Any = None,
) -> Array:
    r"""Energy distance of two samples (batch-coupled).

    .. math::
        D = 2 E \|x - y\|_2 - E \|x - x'\|_2 - E \|y - y'\|_2

    It is the MMD squared of the kernel :math:`-\|x - y\|_2`, in units of the distance, and 0 only
    for equal distributions. For one feature ``scipy.stats.energy_distance`` is its square root.

    Args:
      source, target: ``[n, d]`` and ``[m, d]``.
      estimator: as for :func:`mmd`; ``biased`` is never negative, beyond rounding.
      source_weights, target_weights: ``[n]`` and ``[m]``, as for :func:`mmd`.
      axis_name: the mapped axis over which the samples are spread, as for :func:`mmd`.
      block_size: points in a block; ``None`` chooses.
      precision: of the matrix products; ``None`` is the highest.

    Returns:
      The distance, a scalar. Its gradient at coinciding points is 0.

    Raises:
      TypeError: for arrays that are not of floating point.
      ValueError: as :func:`mmd`.

    Source: Székely and Rizzo 2013, Energy statistics, equation 5; Sejdinovic et al. 2013 for the
    equality with MMD.

    >>> import jax.numpy as jnp
    >>> round(float(energy_distance(jnp.array([[0.0], [0.0]]), jnp.array([[3.0]]))), 4)
    6.0
    """
    check_estimator(estimator)
    samples = two_samples(
        source,
        target,
        source_weights,
        target_weights,
        axis_name=axis_name,
        points=points_needed(estimator),
    )
    make_plan((DistanceKernel(),), (1, 1), block_size=block_size, precision=precision)
    settings = Settings((DistanceKernel(),), (None,), estimator, axis_name, block_size, precision)
    return estimate(settings, [samples], [None])
