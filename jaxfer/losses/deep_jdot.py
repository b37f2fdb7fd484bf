"""DeepJDOT: transport of features and labels at once, from source to target."""

from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from jaxfer.divergences.labels import soft_labels
from jaxfer.divergences.logits import one_prediction
from jaxfer.divergences.options import check_number
from jaxfer.divergences.samples import floating, two_samples, whole_batch
from jaxfer.divergences.sinkhorn import SinkhornInfo, sinkhorn_plan, squared_distances


def deep_jdot(
    source_features: Any,
    source_labels: Any,
    target_features: Any,
    target_logits: Any,
    *,
    feature_weight: float | Array = 1.0,
    label_weight: float | Array = 1.0,
    epsilon: float | Array = 0.05,
    relative: bool = True,
    tolerance: float | Array = 1e-4,
    max_iterations: int = 1000,
    source_weights: Any = None,
    target_weights: Any = None,
    axis_name: str | None = None,
) -> tuple[Array, SinkhornInfo]:
    r"""Cost of transporting labelled features onto predicted ones (batch-coupled).

    .. math::
        L = \langle P, C \rangle, \qquad C_{ij} = \alpha \| f_i - g_j \|^2 - \lambda \sum_k y_{ik}
        \ln p_{jk}, \qquad p = \mathrm{softmax}(z)

    with :math:`P` the entropic optimal plan of :math:`C` by :func:`sinkhorn_plan`, held fixed: the
    gradient moves features and predictions, and not the plan. The method adds the cross-entropy of
    the source.

    Args:
      source_features: :math:`f`, ``[n, features]``, floating point.
      source_labels: :math:`y`, integers ``[n]`` from 0 to the number of classes less 1, or
        probabilities ``[n, classes]``.
      target_features: :math:`g`, ``[m, features]``.
      target_logits: :math:`z`, ``[m, classes]``.
      feature_weight: :math:`\alpha`, at least 0. The paper takes 0.001 for digits.
      label_weight: :math:`\lambda`, at least 0. The paper takes 0.0001 for digits.
      epsilon: positive, of the entropy; a constant in differentiation.
      relative: ``epsilon`` is a multiple of the mean cost; otherwise in units of the cost.
      tolerance, max_iterations: of the solver, as for :func:`sinkhorn_plan`.
      source_weights: ``[n]``, not negative, on any scale; an example of weight 0 is absent.
        ``None`` weighs all alike.
      target_weights: ``[m]``, likewise.
      axis_name: mapped axis over which the batch is spread; it is gathered. Every device then
        returns the cost of the global batch; average the gradients with ``lax.pmean``.

    Returns:
      The cost, a scalar, at least 0, 0 where traced weights leave a side empty; and the plan's
      :class:`SinkhornInfo`.

    Raises:
      TypeError: for arrays that are not of floating point, or options that are no numbers.
      ValueError: for wrong shapes, labels or options; where arrays are concrete also for NaN,
        infinity, or weights that are negative or all 0.

    Source: Damodaran et al. 2018, DeepJDOT, equation 6. Deviation: the plan is entropic, and the
    paper's exact, to which it tends as ``epsilon`` falls.

    >>> features, labels = jnp.array([[0.0], [5.0]]), jnp.array([0, 1])
    >>> logits = 100 * jnp.eye(2)
    >>> value, info = deep_jdot(features, labels, features + 1.0, logits)
    >>> f"{value:.4f}", bool(info.converged)  # each to its own, by 1
    ('1.0000', True)
    """
    check_number("feature_weight", feature_weight, at_least=0)
    check_number("label_weight", label_weight, at_least=0)
    samples = two_samples(
        source_features,
        target_features,
        source_weights,
        target_weights,
        axis_name=axis_name,
        names=("source_features", "target_features"),
    )
    logits = floating("target_logits", target_logits)
    if logits.ndim != 2 or len(logits) != len(samples.target):
        raise ValueError(
            f"target_logits must be an array [{len(samples.target)}, classes], one row for each of "
            f"target_features; their shape is {logits.shape}."
        )
    labels = soft_labels("source_labels", source_labels, len(samples.source), logits.shape[1])
    log_probabilities, _ = one_prediction(logits, name="target_logits")
    source, target, a, b = samples[:4]
    source, target, a, b, labels, log_probabilities = (
        whole_batch(rows, axis_name) for rows in (source, target, a, b, labels, log_probabilities)
    )
    # A distance does not depend on the origin; near the points it loses least to rounding.
    origin = lax.stop_gradient(0.5 * (a @ source + b @ target))
    apart = squared_distances(source - origin, target - origin)
    labels = labels.astype(log_probabilities.dtype)
    disagreement = -jnp.matmul(labels, log_probabilities.T, precision="highest")
    cost = feature_weight * apart + label_weight * disagreement
    plan, info = sinkhorn_plan(
        cost,
        epsilon=epsilon,
        relative=relative,
        tolerance=tolerance,
        max_iterations=max_iterations,
        source_weights=a,
        target_weights=b,
    )
    return jnp.sum(plan * cost), info
