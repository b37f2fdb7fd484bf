"""Joint MMD: several layers at once, by the product of their kernels."""

from collections.abc import Sequence
from typing import Any

from jax import Array

from jaxfer.divergences.bandwidths import check_bandwidth
from jaxfer.divergences.estimators import Settings, check_estimator, estimate, points_needed
from jaxfer.divergences.kernels import Kernel, named_kernel
from jaxfer.divergences.pairs import make_plan
from jaxfer.divergences.samples import two_samples


def joint_mmd(
    source: Sequence[Any],
    target: Sequence[Any],
    *,
    kernel: str | Kernel | Sequence[str | Kernel] = "gaussian",
    bandwidth: str | float | Array | Sequence[str | float | Array] = "mean",
    estimator: str = "biased",
    source_weights: Any = None,
    target_weights: Any = None,
    axis_name: str | None = None,
    block_size: int | None = None,
    precision: Any = None,
) -> Array:
    r"""Joint maximum mean discrepancy, squared, of several layers (batch-coupled).

    .. math::
        \mathrm{JMMD}^2 = \Big\| \sum_i p_i \bigotimes_l \phi_l(x^l_i) - \sum_j q_j \bigotimes_l
        \phi_l(y^l_j) \Big\|^2, \qquad k(x, x') = \prod_l k_l(x^l, x'^l)

    The discrepancy of the joint distribution of the layers: two networks whose layers agree one by
    one, but not together, are told apart. One pass over the pairs serves all layers.

    Args:
      source, target: one array for each layer, ``[n, d_l]`` and ``[m, d_l]``.
      kernel: one for all layers, or one for each; as for :func:`mmd`.
      bandwidth: one for all layers (a rule is applied to each by itself), or one for each.
      estimator: as for :func:`mmd`.
      source_weights, target_weights: ``[n]`` and ``[m]``, as for :func:`mmd`.
      axis_name: the mapped axis over which the samples are spread, as for :func:`mmd`.
      block_size: points in a block; ``None`` chooses.
      precision: of the matrix products; ``None`` is the highest.

    Returns:
      JMMD squared, a scalar.

    Raises:
      TypeError: for arrays that are not of floating point.
      ValueError: for different numbers of layers, and as :func:`mmd`.

    Source: Long et al. 2017, Deep transfer learning with joint adaptation networks, equation 9.
    The published code gives the second layer, of predictions, one Gaussian of ``bandwidth=1.68**2``
    and ``scales=(1.0,)``.

    >>> import jax, jax.numpy as jnp
    >>> features, logits = jnp.eye(4), 2 * jnp.eye(4)
    >>> swapped = logits[::-1]  # each layer has the same points, in another company
    >>> float(joint_mmd([features, logits], [features, swapped])) > 0.1
    True
    >>> abs(float(joint_mmd([features], [features]))) < 1e-6
    True
    """
    check_estimator(estimator)
    if not _is_several(source) or not _is_several(target) or len(source) != len(target):
        raise ValueError(
            "source and target must be lists of one array for each layer, of the same length; "
            f"they have {_how_many(source)} and {_how_many(target)}."
        )
    kernels = tuple(named_kernel(k) for k in _one_each("kernel", kernel, len(source)))
    bandwidths = [
        check_bandwidth(b, axis_name) for b in _one_each("bandwidth", bandwidth, len(source))
    ]
    layers = [
        two_samples(
            x,
            y,
            source_weights,
            target_weights,
            axis_name=axis_name,
            points=points_needed(estimator),
        )
        for x, y in zip(source, target, strict=True)
    ]
    for name, side in (("source", source), ("target", target)):
        lengths = [len(array) for array in side]
        if len(set(lengths)) > 1:
            raise ValueError(
                f"the layers of {name} must have the same points; they have {lengths}."
            )
    make_plan(kernels, (1, 1), block_size=block_size, precision=precision)
    rules = tuple(b if isinstance(b, str) else None for b in bandwidths)
    numbers = [None if isinstance(b, str) else b for b in bandwidths]
    settings = Settings(kernels, rules, estimator, axis_name, block_size, precision)
    return estimate(settings, layers, numbers)


def _is_several(layers: Any) -> bool:
    return isinstance(layers, (list, tuple)) and len(layers) > 0


def _how_many(layers: Any) -> str:
    return f"{len(layers)} layers" if isinstance(layers, (list, tuple)) else "one array"


def _one_each(name: str, value: Any, layers: int) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)):
        return [value] * layers
    if len(value) != layers:
        raise ValueError(f"{name} must be one or {layers}, one for each layer; it is {len(value)}.")
    return value
