"""iMAML: a meta-gradient that does not depend on the path of the inner optimisation."""

from typing import Any

from jaxfer.meta.adapt import LossFn
from jaxfer.meta.learner import Learner
from jaxfer.meta.maml import maml


def imaml(
    loss_fn: LossFn, *, proximal: float = 2.0, solver_steps: int = 5, **options: Any
) -> Learner:
    r"""MAML with a proximal inner objective, and the implicit gradient of its solution.

    .. math::
        \phi^*(\theta) = \arg\min_\phi L^{\mathrm{support}}(\phi) + \tfrac{\lambda}{2} \|\phi -
        \theta\|^2, \qquad \frac{d\phi^*}{d\theta} = \big(I + \tfrac{1}{\lambda} \nabla^2
        L^{\mathrm{support}}(\phi^*)\big)^{-1}

    Memory does not grow with the inner steps. Exact only where the inner optimisation has
    converged; ``info.residual`` of :func:`adapt` says how far from that it stopped.

    Args:
      loss_fn: as for :func:`maml`.
      proximal: :math:`\lambda`, positive.
      solver_steps: conjugate-gradient steps of the inverse.
      **options: ``rule``, ``steps``, ``mask`` and ``query_loss_fn`` of :func:`maml`.

    Returns:
      A :class:`Learner` with meta-parameters ``{"params": params}``.

    Raises:
      ValueError: from its functions, as :func:`adapt`.

    Source: Rajeswaran et al. 2019, Meta-learning with implicit gradients, equations 3 and 6.

    >>> import optax
    >>> from jaxfer.typing import Task
    >>> loss_fn = lambda p, state, batch, key: (0.5 * (p - batch) ** 2, (state, {}))
    >>> learner = imaml(
    ...     loss_fn, proximal=1.0, rule=optax.sgd(0.5), steps=20
    ... )  # phi* = (theta + batch) / 2
    >>> gradient = learner.gradient(learner.init(0.0), {}, Task(support=1.0, query=1.0), None, 0)
    >>> round(float(gradient.grads["params"]), 4)
    -0.25
    """
    return maml(
        loss_fn, gradient="implicit", proximal=proximal, solver_steps=solver_steps, **options
    )
