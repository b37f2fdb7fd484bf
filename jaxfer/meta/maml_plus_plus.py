"""MAML++: what makes second-order MAML train steadily, on one page."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxfer.adapters.masks import Mask, merge, partition
from jaxfer.meta.adapt import Adapted, AdaptInfo, LossFn, adapt
from jaxfer.meta.learner import Learner, MetaGradient
from jaxfer.meta.maml import record_statistics
from jaxfer.meta.rules import learned_rates
from jaxfer.typing import Key, PyTree, Task


def multi_step_weights(step: jax.Array | int, *, steps: int, anneal_steps: int) -> jax.Array:
    r"""Weights of the query losses after each inner step, annealed from equal to the last alone.

    .. math:: v_k = \tfrac{1}{K} \max(0, 1 - t / T) \; (k < K), \qquad v_K = 1 - \sum_{k<K} v_k

    Args:
      step: number :math:`t` of the outer step.
      steps: inner steps :math:`K`, at least 1.
      anneal_steps: outer steps :math:`T` after which only the last loss counts; 0 for at once.

    Returns:
      ``[steps]``, non-negative, summing to 1.

    Source: Antoniou et al. 2019, section 4, multi-step loss optimisation. Their code stops at 0.03
      / K before the end.

    >>> (
    ...     multi_step_weights(0, steps=2, anneal_steps=10),
    ...     multi_step_weights(5, steps=2, anneal_steps=10),
    ... )
    (Array([0.5, 0.5], dtype=float32), Array([0.25, 0.75], dtype=float32))
    """
    remaining = jnp.maximum(0.0, 1.0 - step / max(anneal_steps, 1)) if anneal_steps else 0.0
    early = jnp.full((steps - 1,), remaining / steps)
    return jnp.concatenate([early, jnp.reshape(1.0 - jnp.sum(early), (1,))])


def maml_plus_plus(
    loss_fn: LossFn,
    *,
    rate: float,
    steps: int,
    anneal_steps: int = 0,
    first_order_steps: int = 0,
    per_step: Mask = None,
    query_loss_fn: LossFn | None = None,
    remat: bool = False,
) -> Learner:
    r"""MAML with learned per-layer per-step rates, a multi-step loss and a first-order warm-up.

    .. math:: \phi_{k+1} = \phi_k - \alpha_{k} \nabla L^{\mathrm{support}}(\phi_k), \qquad
              \min_{\theta, \alpha} \sum_i \sum_{k=1}^{K} v_k L_i^{\mathrm{query}}(\phi_{i,k})

    Args:
      loss_fn: as for :func:`maml`.
      rate: initial value of every rate.
      steps: inner steps :math:`K`. Steps beyond those that the meta-parameters were made for go by
        the last one's rates and values.
      anneal_steps: of :func:`multi_step_weights`.
      first_order_steps: outer steps during which the second-order terms are left out.
      per_step: a mask of parameters of which every step has its own value and which are not
        adapted: the paper's per-step scales and biases of batch normalisation. ``None`` for none.
      query_loss_fn: as for :func:`maml`.
      remat: of :func:`adapt`.

    Returns:
      A :class:`Learner` with meta-parameters ``{"params": params, "rates": rates}``: ``rates``
      ``[steps]`` for every adapted leaf; the leaves of ``per_step`` have a leading axis ``[steps +
      1]``.

    Raises:
      ValueError: if ``steps`` is negative; from its functions, if a mask does not fit.

    Source: Antoniou et al. 2019, How to train your MAML, section 4. Per-step running statistics are
      not kept: the
    statistics are those of the batch or of the support set. Cosine annealing is the outer
    optimiser's schedule.

    >>> loss_fn = lambda p, state, batch, key: (0.5 * (p - batch) ** 2, (state, {}))
    >>> learner = maml_plus_plus(loss_fn, rate=0.5, steps=2)
    >>> meta = learner.init(jnp.array(0.0))
    >>> meta["rates"], float(learner.adapt(meta, {}, 1.0, None).params)
    (Array([0.5, 0.5], dtype=float32), 0.75)
    """
    if steps < 0:
        raise ValueError(f"steps must be at least 0; got {steps}.")

    def split(params: PyTree) -> tuple[PyTree, PyTree]:
        """The parameters of which every step has its own values, and those that are adapted."""
        if per_step is None:
            own, adapted = jax.tree.map(lambda _: None, params), params
        else:
            own, adapted = partition(params, per_step)
        return own, adapted

    def at_step(stacked: PyTree, k: int) -> PyTree:
        return jax.tree.map(lambda leaf: leaf[min(k, len(leaf) - 1)], stacked)

    def init(params: PyTree) -> PyTree:
        own, adapted = split(params)
        own = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (steps + 1, *leaf.shape)), own)
        rates = jax.tree.map(lambda _: jnp.full((steps,), rate, jnp.result_type(float)), adapted)
        return {"params": merge(own, adapted), "rates": rates}

    def walk(
        meta: PyTree, state: PyTree, support: PyTree, key: Key | None, order: jax.Array | float
    ) -> list[Adapted]:
        """The parameters before the first inner step and after each of them."""
        own, adapted = split(meta["params"])
        mask = jax.tree.map(lambda leaf: leaf is None, own, is_leaf=lambda leaf: leaf is None)
        params, losses = merge(at_step(own, 0), adapted), jnp.zeros(0)
        path = [Adapted(params, state, AdaptInfo(losses, jnp.zeros(())))]
        for k in range(steps):
            step_key = None if key is None else jax.random.fold_in(key, k)
            params, state, info = adapt(
                loss_fn,
                params,
                state,
                support,
                step_key,
                rule=learned_rates(at_step(meta["rates"], k)),
                steps=1,
                mask=mask,
                order=order,
                remat=remat,
            )
            params = merge(at_step(own, k + 1), partition(params, mask)[0])
            losses = jnp.concatenate([losses, info.losses])
            path.append(Adapted(params, state, AdaptInfo(losses, info.residual)))
        if query_loss_fn is None:
            return path
        return [record_statistics(loss_fn, point, support, key) for point in path]

    def learn(meta: PyTree, state: PyTree, support: PyTree, key: Key | None) -> Adapted:
        return walk(meta, state, support, key, 1.0)[-1]

    def task_loss(
        meta: PyTree, state: PyTree, task: Task, key: Key | None, step: jax.Array | int
    ) -> tuple[jax.Array, Any]:
        support_key, query_key = (None, None) if key is None else jax.random.split(key)
        order = jnp.where(step < first_order_steps, 0.0, 1.0) if first_order_steps else 1.0
        path = walk(meta, state, task.support, support_key, order)
        judged = path[1:] if anneal_steps and steps else path[-1:]
        results = [
            (query_loss_fn or loss_fn)(point.params, point.state, task.query, query_key)
            for point in judged
        ]
        last_loss, (last_state, metrics) = results[-1]
        loss = last_loss
        if len(results) > 1:
            weights = multi_step_weights(step, steps=steps, anneal_steps=anneal_steps)
            loss = jnp.dot(weights, jnp.stack([each for each, _ in results]))
        return loss, (last_state, {"loss": last_loss, **metrics})

    def gradient(
        meta: PyTree, state: PyTree, task: Task, key: Key | None, step: jax.Array | int
    ) -> MetaGradient:
        (_, (state, metrics)), grads = jax.value_and_grad(task_loss, has_aux=True)(
            meta, state, task, key, step
        )
        return MetaGradient(grads, state, metrics)

    return Learner(init, learn, gradient)
