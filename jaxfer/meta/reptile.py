"""Reptile: move the initial parameters towards those that a task's training ends at."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxfer.meta.adapt import Adapted, LossFn, adapt
from jaxfer.meta.learner import Learner, MetaGradient
from jaxfer.meta.maml import record_statistics
from jaxfer.typing import Key, PyTree, Task


def reptile(
    loss_fn: LossFn,
    *,
    rule: optax.GradientTransformation,
    steps: int,
    query_loss_fn: LossFn | None = None,
    **options: Any,
) -> Learner:
    r"""First-order meta-learning without a query loss.

    .. math:: g = \theta - \phi_K(\theta)

    A task's support and query batches are joined and trained on together, as the method wants more
    shots in training than at test time. With ``optax.sgd(epsilon)`` outside, :math:`\theta
    \leftarrow \theta + \epsilon (\phi_K - \theta)`.

    Args:
      loss_fn: as for :func:`maml`.
      rule: the inner rule, any optax transformation (Adam in the paper).
      steps: inner steps.
      query_loss_fn: as for :func:`maml`; it only reports.
      **options: ``mask`` and ``remat`` of :func:`adapt`.

    Returns:
      A :class:`Learner` with meta-parameters ``{"params": params}``. Its metrics are those of the
      query batch after training on it too, and so are no estimate of the accuracy on a new task.

    Raises:
      ValueError: from its functions, as :func:`adapt`.

    Source: Nichol et al. 2018, On first-order meta-learning algorithms, algorithm 2.

    >>> loss_fn = lambda p, state, batch, key: (0.5 * jnp.mean((p - batch) ** 2), (state, {}))
    >>> learner = reptile(loss_fn, rule=optax.sgd(0.5), steps=1)
    >>> task = Task(support=jnp.array([1.0]), query=jnp.array([3.0]))
    >>> float(learner.gradient(learner.init(jnp.array(0.0)), {}, task, None, 0).grads["params"])
    -1.0
    """

    def learn(meta: PyTree, state: PyTree, support: PyTree, key: Key | None) -> Adapted:
        adapted = adapt(
            loss_fn,
            meta["params"],
            state,
            support,
            key,
            rule=rule,
            steps=steps,
            gradient="stop",
            **options,
        )
        return (
            adapted if query_loss_fn is None else record_statistics(loss_fn, adapted, support, key)
        )

    def gradient(
        meta: PyTree, state: PyTree, task: Task, key: Key | None, step: jax.Array | int
    ) -> MetaGradient:
        del step
        joined = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), task.support, task.query)
        adapted = learn(meta, state, joined, key)
        grads = {"params": jax.tree.map(jnp.subtract, meta["params"], adapted.params)}
        loss, (state, metrics) = (query_loss_fn or loss_fn)(
            adapted.params, adapted.state, task.query, key
        )
        return MetaGradient(grads, state, {"loss": loss, **metrics})

    return Learner(lambda params: {"params": params}, learn, gradient)
