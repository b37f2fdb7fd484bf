"""Margin disparity discrepancy: where an adversarial classifier can disagree on target alone."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxfer.divergences.options import check_number
from jaxfer.divergences.samples import floating, two_samples
from jaxfer.losses.batch_mean import batch_sum
from jaxfer.losses.log_odds import log_odds


def margin_disparity(
    source_logits: Any,
    source_adversary_logits: Any,
    target_logits: Any,
    target_adversary_logits: Any,
    *,
    margin: float | Array = 4.0,
    source_weights: Any = None,
    target_weights: Any = None,
    axis_name: str | None = None,
) -> Array:
    r"""Margin disparity discrepancy of a classifier and its adversary (batch-coupled).

    .. math::
        D_\gamma = \gamma \sum_i a_i \ln p'(\hat y_i \,|\, x_i) + \sum_j b_j \ln \big( 1 - p'(\hat
        y_j \,|\, x_j) \big), \qquad \hat y = \arg\max_k z_k

    with weights that sum to 1 in each domain, :math:`z` the classifier's logits and :math:`p'` the
    softmax of the adversary's. The adversary maximises it, and the features minimise it: minimise
    ``-margin_disparity(...)`` with the adversary's logits computed from
    ``jaxfer.adapters.reverse_gradient(features)``. The classifier's logits give labels alone and
    have the gradient 0.

    Both logarithms are those of the log-odds of one class against the others, so that none is
    infinite, and none needs a small number added.

    Args:
      source_logits: ``[n, classes]``, the classifier's for source examples; at least 2 classes.
      source_adversary_logits: ``[n, classes]``, the adversary's for the same examples.
      target_logits: ``[m, classes]``, the classifier's for target examples.
      target_adversary_logits: ``[m, classes]``, the adversary's for the same examples.
      margin: :math:`\gamma`, positive; :math:`\ln \gamma` is the margin of the theory.
      source_weights: :math:`a`, ``[n]``, not negative, on any scale; an example of weight 0 is
        absent. ``None`` weighs all alike.
      target_weights: :math:`b`, ``[m]``, likewise.
      axis_name: mapped axis over which the batch is spread. Every device then returns the value of
        the global batch; average the gradients with ``lax.pmean``.

    Returns:
      A scalar in nats, at most 0. 0 where traced weights leave a side empty.

    Raises:
      TypeError: for logits that are not of floating point.
      ValueError: for wrong shapes, a single class or a margin that is not positive; where arrays
        are concrete also for NaN, infinity, or weights that are negative or all 0.

    Source: Zhang et al. 2019, Bridging theory and algorithm for domain adaptation, section 5, the
    combined cross-entropy loss. Deviation: tllib adds 1e-6 inside the second logarithm.

    >>> logits = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> f"{margin_disparity(logits, 0 * logits, logits, 0 * logits, margin=4.0):.4f}"  # -5 ln 2
    '-3.4657'
    """
    check_number("margin", margin, above=0)
    samples = two_samples(
        source_adversary_logits,
        target_adversary_logits,
        source_weights,
        target_weights,
        axis_name=axis_name,
        names=("source_adversary_logits", "target_adversary_logits"),
    )
    if samples.source.shape[1] < 2:
        raise ValueError(
            "source_adversary_logits must hold at least 2 classes; "
            f"their shape is {samples.source.shape}."
        )
    source_labels = _predicted("source", source_logits, samples.source)
    target_labels = _predicted("target", target_logits, samples.target)
    source_odds, _ = log_odds(samples.source, source_labels)
    target_odds, _ = log_odds(samples.target, target_labels)
    own = samples.source_weights @ -jax.nn.softplus(-source_odds)
    other = samples.target_weights @ -jax.nn.softplus(target_odds)
    value = batch_sum(margin * own + other, axis_name)
    return jnp.where((samples.source_count > 0) & (samples.target_count > 0), value, 0)


def _predicted(side: str, logits: Any, adversary_logits: Array) -> Array:
    """The classes ``[n, 1]`` that the classifier predicts."""
    logits = floating(f"{side}_logits", logits)
    if logits.shape != adversary_logits.shape:
        raise ValueError(
            f"{side}_logits and {side}_adversary_logits must have the same shape; "
            f"their shapes are {logits.shape} and {adversary_logits.shape}."
        )
    return jnp.argmax(logits, axis=1, keepdims=True)
