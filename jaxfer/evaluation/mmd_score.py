"""How close the features of two domains are, as a validator."""

from typing import Any

from jax import Array

from jaxfer.divergences import mmd


def mmd_score(
    source_features: Any,
    target_features: Any,
    *,
    source_weights: Any = None,
    target_weights: Any = None,
    **options: Any,
) -> Array:
    r"""Minus the squared MMD between the features of source and target; higher is better.

    .. math:: - \mathrm{MMD}^2(f_s, f_t)

    Raw quantity: MMD squared. It says how well the domains are aligned, not whether class meets
    class, and a method that minimises MMD is not to be judged by it. Features that shrink to one
    point would have an MMD of 0; the default bandwidth, the mean squared distance, shrinks with
    them.

    Args:
      source_features, target_features: ``[n, d]`` and ``[m, d]``, floating point.
      source_weights, target_weights: ``[n]`` and ``[m]``, not negative, on any scale. A point of
        weight 0 is absent.
      **options: of :func:`jaxfer.divergences.mmd`: kernel, bandwidth, estimator.

    Returns:
      A scalar, at most 0 with the default estimator.

    Raises:
      TypeError, ValueError: as :func:`jaxfer.divergences.mmd`.

    Source: Musgrave et al. 2022, Benchmarking validation methods for unsupervised domain
    adaptation, section 3, which scores by MMD among others.

    >>> import jax
    >>> x, y = (jax.random.normal(jax.random.key(seed), (100, 3)) for seed in (0, 1))
    >>> bool(mmd_score(x, y) > mmd_score(x, y + 1))
    True
    """
    return -mmd(
        source_features,
        target_features,
        source_weights=source_weights,
        target_weights=target_weights,
        **options,
    )
