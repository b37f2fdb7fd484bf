"""DAN: features whose means in a kernel's space are the same in both domains."""

from jax import Array

from jaxfer.adaptation.classifier import Classifier, Outputs
from jaxfer.adaptation.method import Method, minimise
from jaxfer.adapters import constant_strength
from jaxfer.adapters.strength_schedules import Schedule
from jaxfer.divergences import mmd
from jaxfer.typing import DomainBatch, Key, Metrics, PyTree


def dan(
    classifier: Classifier, *, strength: Schedule | None = None, axis_name: str | None = None
) -> Method:
    r"""Deep adaptation network: the supervised loss plus MMD of the features and of the logits.

    .. math:: \min \; L_s + \lambda(t) \sum_l \mathrm{MMD}^2(f^l_s, f^l_t)

    with ``jaxfer.mmd`` and its defaults, five Gaussians whose bandwidth follows the batch.

    Args:
      classifier: the network.
      strength: :math:`\lambda`, a function of the step; ``None`` is 1 at every step, as published.
      axis_name: as for ``jaxfer.mmd``.

    Returns:
      The method.

    Source: Long et al. 2015, Learning transferable features with deep adaptation networks, equation
    4. Deviations: all pairs instead of the linear-time estimate, and fixed weights of the kernels.

    >>> import jax
    >>> from jaxfer.adaptation.toy import toy_batch, toy_classifier
    >>> method = dan(toy_classifier())
    >>> params, state = method.init(jax.random.key(0))
    >>> loss, (_, metrics) = method.players[0].loss(
    ...     params, state, toy_batch(), step=0, key=jax.random.key(1)
    ... )
    >>> bool(metrics["term"] > 0)
    True
    """
    strength = strength or constant_strength()

    def term(
        params: PyTree, outputs: Outputs, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, Metrics]:
        source, target = outputs.source, outputs.target
        apart = mmd(source.features, target.features, axis_name=axis_name)
        apart += mmd(source.logits, target.logits, axis_name=axis_name)
        return strength(step) * apart, {"mmd": apart}

    return minimise(classifier, term)
