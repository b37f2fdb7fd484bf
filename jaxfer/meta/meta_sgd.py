"""Meta-SGD: the initial parameters and a rate for each of them."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxfer.adapters.masks import Mask, partition
from jaxfer.meta.adapt import Adapted, LossFn, adapt
from jaxfer.meta.learner import Learner
from jaxfer.meta.maml import learner_from, record_statistics
from jaxfer.meta.rules import learned_rates
from jaxfer.typing import Key, PyTree


def meta_sgd(
    loss_fn: LossFn,
    *,
    rate: float,
    steps: int = 1,
    mask: Mask = None,
    query_loss_fn: LossFn | None = None,
    **options: Any,
) -> Learner:
    r"""MAML whose inner rates are learned, one for each parameter.

    .. math:: \phi = \theta - \alpha \odot \nabla L^{\mathrm{support}}(\theta), \qquad
              \min_{\theta, \alpha} \sum_i L_i^{\mathrm{query}}(\phi_i)

    Args:
      loss_fn: as for :func:`maml`.
      rate: initial value of every rate. The paper draws them at random; a constant is the common
        choice since.
      steps: inner steps; 1 in the paper.
      mask: which parameters are adapted.
      query_loss_fn: as for :func:`maml`.
      **options: of :func:`adapt`.

    Returns:
      A :class:`Learner` with meta-parameters ``{"params": params, "rates": rates}``, ``rates`` of
      the structure of the adapted parameters.

    Raises:
      ValueError: from its functions, as :func:`adapt`.

    Source: Li et al. 2017, Meta-SGD, algorithm 1.

    >>> loss_fn = lambda p, state, batch, key: (0.5 * (p - batch) ** 2, (state, {}))
    >>> learner = meta_sgd(loss_fn, rate=0.5)
    >>> float(learner.adapt(learner.init(jnp.array(0.0)), {}, 1.0, None).params)
    0.5
    """

    def init(params: PyTree) -> PyTree:
        adapted, _ = partition(params, mask)
        return {
            "params": params,
            "rates": jax.tree.map(lambda leaf: jnp.full_like(leaf, rate), adapted),
        }

    def learn(meta: PyTree, state: PyTree, support: PyTree, key: Key | None) -> Adapted:
        rule = learned_rates(meta["rates"])
        adapted = adapt(
            loss_fn,
            meta["params"],
            state,
            support,
            key,
            rule=rule,
            steps=steps,
            mask=mask,
            **options,
        )
        return (
            adapted if query_loss_fn is None else record_statistics(loss_fn, adapted, support, key)
        )

    return learner_from(init, learn, query_loss_fn or loss_fn)
