"""MAML and the methods that are settings of it: FOMAML, ANIL and BOIL."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from jaxfer.adapters.masks import Mask, by_path
from jaxfer.meta.adapt import Adapted, Gradient, LossFn, adapt
from jaxfer.meta.learner import Learner, MetaGradient
from jaxfer.typing import Key, PyTree, Task


def maml(
    loss_fn: LossFn,
    *,
    rule: optax.GradientTransformation,
    steps: int,
    mask: Mask = None,
    gradient: Gradient = "through",
    query_loss_fn: LossFn | None = None,
    **options: Any,
) -> Learner:
    r"""Model-agnostic meta-learning: initial parameters from which a few steps lead far.

    .. math:: \min_\theta \sum_i L_i^{\mathrm{query}}\big(\phi_i(\theta)\big), \qquad
              \phi_i = \mathrm{adapt}(\theta; L_i^{\mathrm{support}})

    Args:
      loss_fn: ``loss_fn(params, state, batch, key) -> (loss, (state, metrics))``.
      rule: the inner rule, any optax transformation.
      steps: inner steps.
      mask: which parameters are adapted; the others are shared by all tasks.
      gradient: ``"through"`` is MAML, ``"stop"`` FOMAML, ``"implicit"`` iMAML.
      query_loss_fn: the loss on the query batch where it is another one: a network that normalises
        by what it recorded of the support set. One more pass over the support set then records it
        with the adapted parameters.
      **options: ``proximal``, ``solver_steps``, ``order`` and ``remat`` of :func:`adapt`.

    Returns:
      A :class:`Learner` with meta-parameters ``{"params": params}``.

    Raises:
      ValueError: from its functions, as :func:`adapt`.

    Source: Finn et al. 2017, algorithm 2.

    >>> loss_fn = lambda p, state, batch, key: (0.5 * (p - batch) ** 2, (state, {}))
    >>> learner = maml(loss_fn, rule=optax.sgd(0.5), steps=1)
    >>> task = Task(support=1.0, query=1.0)  # the query gradient, -0.5, times d phi / d theta = 0.5
    >>> float(learner.gradient(learner.init(0.0), {}, task, None, 0).grads["params"])
    -0.25
    """

    def learn(meta: PyTree, state: PyTree, support: PyTree, key: Key | None) -> Adapted:
        adapted = adapt(
            loss_fn, meta["params"], state, support, key,
            rule=rule, steps=steps, mask=mask, gradient=gradient, **options,
        )  # fmt: skip
        return (
            adapted if query_loss_fn is None else record_statistics(loss_fn, adapted, support, key)
        )

    return learner_from(lambda params: {"params": params}, learn, query_loss_fn or loss_fn)


def learner_from(
    init: Callable[[PyTree], PyTree],
    learn: Callable[[PyTree, PyTree, PyTree, Key | None], Adapted],
    query_loss_fn: LossFn,
) -> Learner:
    """A learner whose meta-gradient is that of the query loss after adapting.

    Args:
      init: makes the meta-parameters from the network's.
      learn: ``learn(meta, state, support, key) -> Adapted``.
      query_loss_fn: the loss of the adapted parameters on the query batch.

    Returns:
      The :class:`Learner`.

    >>> from jaxfer.meta.adapt import Adapted
    >>> unadapted = lambda meta, state, support, key: Adapted(meta, state, None)
    >>> learner = learner_from(
    ...     lambda p: p, unadapted, lambda p, state, batch, key: ((p - batch) ** 2, (state, {}))
    ... )
    >>> float(learner.gradient(0.0, {}, Task(support=None, query=1.0), None, 0).grads)
    -2.0
    """

    def task_loss(
        meta: PyTree, state: PyTree, task: Task, key: Key | None
    ) -> tuple[jax.Array, Any]:
        support_key, query_key = (None, None) if key is None else jax.random.split(key)
        adapted = learn(meta, state, task.support, support_key)
        return query_loss_fn(adapted.params, adapted.state, task.query, query_key)

    def gradient(
        meta: PyTree, state: PyTree, task: Task, key: Key | None, step: jax.Array | int
    ) -> MetaGradient:
        del step
        (loss, (state, metrics)), grads = jax.value_and_grad(task_loss, has_aux=True)(
            meta, state, task, key
        )
        return MetaGradient(grads, state, {"loss": loss, **metrics})

    return Learner(init, learn, gradient)


def record_statistics(
    loss_fn: LossFn, adapted: Adapted, support: PyTree, key: Key | None
) -> Adapted:
    """The network's state after one more pass over the support set with the adapted parameters.

    Args:
      loss_fn: the support loss, whose pass records statistics.
      adapted: the adapted parameters and the state to start from.
      support: the support batch.
      key: randomness of the pass.

    Returns:
      ``adapted`` with that state.

    >>> counting = lambda params, state, batch, key: (0.0, (state + 1, {}))
    >>> record_statistics(counting, Adapted({}, 0, None), None, None).state
    1
    """
    return adapted._replace(state=loss_fn(adapted.params, adapted.state, support, key)[1][0])


def fomaml(loss_fn: LossFn, **options: Any) -> Learner:
    r"""First-order MAML: the query gradient at the adapted parameters.

    .. math:: g = \nabla_\phi L^{\mathrm{query}}(\phi), \qquad \phi = \mathrm{adapt}(\theta)

    Args:
      loss_fn: as for :func:`maml`.
      **options: as for :func:`maml`, without ``gradient``.

    Returns:
      A :class:`Learner`.

    Raises:
      ValueError: from its functions, as :func:`adapt`.

    Source: Finn et al. 2017, section 5.2.

    >>> loss_fn = lambda p, state, batch, key: (0.5 * (p - batch) ** 2, (state, {}))
    >>> learner = fomaml(loss_fn, rule=optax.sgd(0.5), steps=1)
    >>> float(
    ...     learner.gradient(learner.init(0.0), {}, Task(support=1.0, query=1.0), None, 0).grads[
    ...         "params"
    ...     ]
    ... )
    -0.5
    """
    return maml(loss_fn, gradient="stop", **options)


def anil(loss_fn: LossFn, *, head: str = "head", **options: Any) -> Learner:
    """Almost no inner loop: MAML that adapts the head alone.

    Args:
      loss_fn: as for :func:`maml`.
      head: key of the head in the nested parameters.
      **options: as for :func:`maml`, without ``mask``.

    Returns:
      A :class:`Learner`.

    Raises:
      ValueError: from its functions, if no parameter lies below ``head``, and as :func:`adapt`.

    Source: Raghu et al. 2020, Rapid learning or feature reuse?, section 4.

    >>> loss_fn = lambda p, state, batch, key: ((p["body"] * p["head"] - batch) ** 2, (state, {}))
    >>> learner = anil(loss_fn, rule=optax.sgd(0.5), steps=1)
    >>> learner.adapt(learner.init({"body": 1.0, "head": 0.0}), {}, 1.0, None).params["body"]
    1.0
    """
    return maml(loss_fn, mask=by_path(head), **options)


def boil(loss_fn: LossFn, *, head: str = "head", **options: Any) -> Learner:
    """Body only in the inner loop: MAML that adapts everything but the head.

    Args:
      loss_fn: as for :func:`maml`.
      head: key of the head in the nested parameters.
      **options: as for :func:`maml`, without ``mask``.

    Returns:
      A :class:`Learner`.

    Raises:
      ValueError: from its functions, if no parameter lies below ``head``, and as :func:`adapt`.

    Source: Oh et al. 2021, BOIL: towards representation change for few-shot learning, section 3.

    >>> loss_fn = lambda p, state, batch, key: ((p["body"] * p["head"] - batch) ** 2, (state, {}))
    >>> learner = boil(loss_fn, rule=optax.sgd(0.5), steps=1)
    >>> learner.adapt(learner.init({"body": 0.0, "head": 1.0}), {}, 1.0, None).params["head"]
    1.0
    """
    return maml(loss_fn, mask=by_path(head, invert=True), **options)
