"""CAVIA: adapt a few context parameters that condition a shared network."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxfer.adapters.masks import by_path, merge, partition
from jaxfer.meta.adapt import Adapted, LossFn, adapt
from jaxfer.meta.learner import Learner
from jaxfer.meta.maml import learner_from, record_statistics
from jaxfer.typing import Key, PyTree


def cavia(
    loss_fn: LossFn,
    *,
    rule: optax.GradientTransformation,
    steps: int,
    context: str = "context",
    query_loss_fn: LossFn | None = None,
    **options: Any,
) -> Learner:
    r"""Fast context adaptation: context :math:`\phi` starts at 0 in each task and alone is adapted.

    .. math:: \phi_0 = 0, \quad \phi_{k+1} = \phi_k - \alpha \nabla_\phi
              L^{\mathrm{support}}(\theta, \phi_k), \qquad
              \min_\theta \sum_i L_i^{\mathrm{query}}(\theta, \phi_i)

    Args:
      loss_fn: as for :func:`maml`, of a network with context parameters, such as
        ``Conv4(context=100)``.
      rule: the inner rule, any optax transformation.
      steps: inner steps.
      context: key of the context in the nested parameters.
      query_loss_fn: as for :func:`maml`.
      **options: of :func:`adapt`.

    Returns:
      A :class:`Learner` with meta-parameters ``{"params": params}``; the context in them stays as
      it is.

    Raises:
      ValueError: from its functions, if no parameter lies below ``context``, and as :func:`adapt`.

    Source: Zintgraf et al. 2019, Fast context adaptation via meta-learning, equations 5 and 6.

    >>> loss_fn = lambda p, state, batch, key: (
    ...     (p["shared"] + p["context"] - batch) ** 2,
    ...     (state, {}),
    ... )
    >>> learner = cavia(loss_fn, rule=optax.sgd(0.5), steps=1)
    >>> meta = learner.init({"shared": jnp.array(1.0), "context": jnp.array(7.0)})
    >>> {name: float(value) for name, value in learner.adapt(meta, {}, 3.0, None).params.items()}
    {'context': 2.0, 'shared': 1.0}
    """
    mask = by_path(context)

    def learn(meta: PyTree, state: PyTree, support: PyTree, key: Key | None) -> Adapted:
        fast, shared = partition(meta["params"], mask)
        start = merge(jax.tree.map(jnp.zeros_like, fast), shared)
        adapted = adapt(
            loss_fn, start, state, support, key, rule=rule, steps=steps, mask=mask, **options
        )
        return (
            adapted if query_loss_fn is None else record_statistics(loss_fn, adapted, support, key)
        )

    return learner_from(lambda params: {"params": params}, learn, query_loss_fn or loss_fn)
