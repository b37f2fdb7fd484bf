"""Domain-adversarial loss: can a critic tell source from target?"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxfer.divergences.samples import two_samples
from jaxfer.losses.batch_mean import batch_sum
from jaxfer.losses.entropy import entropy


def domain_adversarial(
    source_logits: Any,
    target_logits: Any,
    *,
    source_weights: Any = None,
    target_weights: Any = None,
    axis_name: str | None = None,
) -> Array:
    r"""Binary cross-entropy of a domain critic, half of it for each domain (batch-coupled).

    .. math::
        L = -\tfrac{1}{2} \sum_i a_i \ln \sigma(u_i) - \tfrac{1}{2} \sum_j b_j \ln (1 -
        \sigma(v_j))

    with weights that sum to 1 in each domain: source is the positive class. The critic minimises
    it; the features maximise it, through ``jaxfer.adapters.reverse_gradient`` between features and
    critic. DANN's critic sees the features, CDAN's their product with the prediction
    (``jaxfer.adapters.multilinear_map``), with weights by :func:`entropy_conditioning` in CDAN+E.
    A critic that cannot tell has the loss ln 2.

    Args:
      source_logits: :math:`u`, ``[n]``, the critic's logits for source examples.
      target_logits: :math:`v`, ``[m]``, for target examples.
      source_weights: :math:`a`, ``[n]``, not negative, on any scale; an example of weight 0 is
        absent. ``None`` weighs all alike. Weights are differentiated.
      target_weights: :math:`b`, ``[m]``, likewise.
      axis_name: mapped axis over which the batch is spread. Every device then returns the loss of
        the global batch; average the gradients with ``lax.pmean``.

    Returns:
      A scalar in nats, at least 0. 0 where traced weights leave a side empty.

    Raises:
      TypeError: for logits that are not of floating point.
      ValueError: for wrong shapes; where arrays are concrete also for NaN, infinity, or weights
        that are negative or all 0.

    Source: Ganin et al. 2016, Domain-adversarial training of neural networks, section 4; Long et
    al. 2018, Conditional adversarial domain adaptation, section 3.3, for the weights. Deviation:
    the papers sum the two means, and do not halve them; tllib takes one mean over both batches, and
    normalises the weights over both.

    >>> source_logits, target_logits = jnp.array([2.0, 0.0]), jnp.array([-2.0])
    >>> f"{domain_adversarial(source_logits, target_logits):.4f}"
    '0.2685'
    >>> f"{domain_adversarial(0 * source_logits, 0 * target_logits):.4f}"  # ln 2
    '0.6931'
    """
    samples = two_samples(
        source_logits,
        target_logits,
        source_weights,
        target_weights,
        axis_name=axis_name,
        rank=1,
        names=("source_logits", "target_logits"),
    )
    own = samples.source_weights @ jax.nn.softplus(-samples.source)
    other = samples.target_weights @ jax.nn.softplus(samples.target)
    value = 0.5 * batch_sum(own + other, axis_name)
    return jnp.where((samples.source_count > 0) & (samples.target_count > 0), value, 0)


def entropy_conditioning(
    logits: Any, *, axis: int | tuple[int, ...] = -1, where: Any = None
) -> Array:
    r"""Weights that are larger where a prediction is sure (per-example).

    .. math:: w(z) = 1 + e^{-H(z)}

    :math:`H` is the :func:`entropy` of the softmax of the logits. They are differentiated: pass
    them through ``lax.stop_gradient`` for weights that are constants, as in tllib.

    Args:
      logits: :math:`z`, ``[batch, classes]``, floating point, finite.
      axis: the axis, or axes, of the classes.
      where: booleans that broadcast to the shape of the logits: which classes take part.

    Returns:
      ``[batch]``, from 1 plus one over the number of classes, to 2; 0 for an example with no class.

    Raises:
      TypeError, ValueError: as :func:`entropy`.

    Source: Long et al. 2018, Conditional adversarial domain adaptation, section 3.3.

    >>> [f"{w:.4f}" for w in entropy_conditioning(jnp.array([[0.0, 0.0], [100.0, 0.0]]))]
    ['1.5000', '2.0000']
    """
    weights = 1 + jnp.exp(-entropy(logits, axis=axis, where=where))
    if where is None:
        return weights
    some = jnp.any(jnp.broadcast_to(where, jnp.shape(logits)), axis=axis)
    return jnp.where(some, weights, 0)
