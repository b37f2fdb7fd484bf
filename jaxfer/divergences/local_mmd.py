"""Local MMD: class by class, with hard or soft labels on either side."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxfer.divergences.bandwidths import check_bandwidth
from jaxfer.divergences.estimators import Settings, plan_of, scaled_layers
from jaxfer.divergences.kernels import Kernel, named_kernel
from jaxfer.divergences.labels import soft_labels
from jaxfer.divergences.pairs import make_plan, pair_sum
from jaxfer.divergences.samples import Samples, two_samples


def local_mmd(
    source: Any,
    target: Any,
    source_labels: Any,
    target_labels: Any,
    *,
    classes: int | None = None,
    kernel: str | Kernel = "gaussian",
    bandwidth: str | float | Array = "mean",
    source_weights: Any = None,
    target_weights: Any = None,
    axis_name: str | None = None,
    block_size: int | None = None,
    precision: Any = None,
) -> Array:
    r"""Local maximum mean discrepancy, squared: the mean of the classes' own (batch-coupled).

    .. math::
        \mathrm{LMMD}^2 = \frac{1}{|C|} \sum_{c \in C} \Big\| \sum_i w^c_i \phi(x_i) - \sum_j v^c_j
        \phi(y_j) \Big\|^2, \qquad w^c_i = \frac{p_i\, y_{ic}}{\sum_{i'} p_{i'}\, y_{i'c}}

    :math:`C` are the classes with any weight on both sides. One pass over the pairs serves all of
    them. Biased estimate.

    Args:
      source, target: ``[n, d]`` and ``[m, d]``.
      source_labels, target_labels: hard, integers ``[n]`` and ``[m]`` from 0 to ``classes - 1``; or
        soft, probabilities ``[n, classes]`` and ``[m, classes]``, such as ``jax.nn.softmax`` of
        logits. Soft labels are differentiated; the published method stops them by
        ``jax.lax.stop_gradient``.
      classes: how many there are; taken from soft labels, needed where both sides are hard.
      kernel: as for :func:`mmd`.
      bandwidth: as for :func:`mmd`; a rule is applied to all points, not to each class.
      source_weights, target_weights: ``[n]`` and ``[m]``, as for :func:`mmd`.
      axis_name: the mapped axis over which the samples are spread, as for :func:`mmd`.
      block_size: points in a block; ``None`` chooses.
      precision: of the matrix products; ``None`` is the highest.

    Returns:
      LMMD squared, a scalar; 0 where no class is on both sides.

    Raises:
      TypeError: for points that are not of floating point.
      ValueError: for labels of a wrong shape or, where concrete, out of range, and as :func:`mmd`.

    Source: Zhu et al. 2021, Deep subdomain adaptation network for image classification, equation 6.
    The published code counts a class of soft target labels as present where it is some point's most
    probable one.

    >>> import jax.numpy as jnp
    >>> source, labels = jnp.array([[0.0], [1.0]]), jnp.array([0, 1])
    >>> matched = local_mmd(source, source, labels, labels, classes=2)
    >>> swapped = local_mmd(source, source, labels, labels[::-1], classes=2)
    >>> bool(matched < 1e-6), bool(swapped > 1)
    (True, True)
    """
    kernel = named_kernel(kernel)
    bandwidth = check_bandwidth(bandwidth, axis_name)
    samples = two_samples(source, target, source_weights, target_weights, axis_name=axis_name)
    sides = (("source", source_labels, len(source)), ("target", target_labels, len(target)))
    for _, labels, _ in sides:
        classes = jnp.shape(labels)[1] if classes is None and jnp.ndim(labels) == 2 else classes
    if not isinstance(classes, int) or classes < 1:
        raise ValueError(
            "classes must be the number of classes, as neither side has soft labels "
            f"[points, classes]; it is {classes!r}."
        )
    soft = [
        soft_labels(f"{side}_labels", labels, points, classes) for side, labels, points in sides
    ]
    make_plan((kernel,), (1, 1), block_size=block_size, precision=precision)
    rule, number = (bandwidth, None) if isinstance(bandwidth, str) else (None, bandwidth)
    settings = Settings((kernel,), (rule,), "biased", axis_name, block_size, precision)
    return _local_mmd(settings, samples, number, *soft)


@functools.partial(jax.jit, static_argnums=0)
def _local_mmd(
    settings: Settings,
    samples: Samples,
    bandwidth: Array | None,
    source_labels: Array,
    target_labels: Array,
) -> Array:
    sources, targets = scaled_layers(settings, [samples], [bandwidth])
    dtype = samples.source.dtype
    source = samples.source_weights[:, None] * source_labels.astype(dtype)
    target = samples.target_weights[:, None] * target_labels.astype(dtype)
    masses = [jnp.sum(source, axis=0), jnp.sum(target, axis=0)]
    if settings.axis_name is not None:
        masses = lax.psum(masses, settings.axis_name)
    present = (masses[0] > 0) & (masses[1] > 0)
    source, target = (
        jnp.where(present, side / jnp.where(present, mass, 1), 0)
        for side, mass in zip((source, target), masses, strict=True)
    )
    columns = jnp.concatenate([source, -target])
    plan = plan_of(settings, sources, targets)
    points = [jnp.concatenate([sources[0], targets[0]])]
    return pair_sum(plan, points, columns / jnp.maximum(jnp.sum(present), 1), columns)
