"""JAN: the joint distribution of features and predictions is the same in both domains."""

import jax
from jax import Array

from jaxfer.adaptation.classifier import Classifier, Outputs
from jaxfer.adaptation.method import Method, minimise
from jaxfer.adapters import constant_strength
from jaxfer.adapters.strength_schedules import Schedule
from jaxfer.divergences import GaussianKernel, joint_mmd
from jaxfer.typing import DomainBatch, Key, Metrics, PyTree


def jan(
    classifier: Classifier, *, strength: Schedule | None = None, axis_name: str | None = None
) -> Method:
    r"""Joint adaptation network: the supervised loss plus joint MMD of features and predictions.

    .. math::
        \min \; L_s + \lambda(t) \, \mathrm{JMMD}^2\big((f_s, p_s), (f_t, p_t)\big), \qquad
        p = \mathrm{softmax}(z)

    with five Gaussians of the features, whose bandwidth follows the batch, and one of the
    predictions, of bandwidth :math:`1.68^2`, as in the published code.

    Args:
      classifier: the network.
      strength: :math:`\lambda`, a function of the step; ``None`` is 1 at every step. The published
        one is ``jaxfer.adapters.dann_strength(steps)``.
      axis_name: as for ``jaxfer.joint_mmd``.

    Returns:
      The method. Metrics: ``joint_mmd``.

    Source: Long et al. 2017, Deep transfer learning with joint adaptation networks, equations 9 and
    10. Deviations: all pairs instead of the linear-time estimate, and no adversarial kernel.

    >>> from jaxfer.adaptation.toy import toy_batch, toy_classifier
    >>> method = jan(toy_classifier())
    >>> params, state = method.init(jax.random.key(0))
    >>> loss, (_, metrics) = method.players[0].loss(
    ...     params, state, toy_batch(), step=0, key=jax.random.key(1)
    ... )
    >>> bool(metrics["joint_mmd"] > 0)
    True
    """
    strength = strength or constant_strength()
    kernels = (GaussianKernel(), GaussianKernel(scales=(1.0,)))

    def term(
        params: PyTree, outputs: Outputs, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, Metrics]:
        source, target = (
            [side.features, jax.nn.softmax(side.logits)]
            for side in (outputs.source, outputs.target)
        )
        bandwidths = ("mean", 1.68**2)
        apart = joint_mmd(source, target, kernel=kernels, bandwidth=bandwidths, axis_name=axis_name)
        return strength(step) * apart, {"joint_mmd": apart}

    return minimise(classifier, term)
