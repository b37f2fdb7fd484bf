"""Learners that adapt by holding on to the support set: one function answers for any."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeAlias

import jax
import jax.numpy as jnp
import optax

from jaxfer.meta.adapt import Adapted, LossFn
from jaxfer.meta.heads import Head
from jaxfer.meta.learner import Learner, MetaGradient
from jaxfer.typing import Classification, Key, LabelledBatch, Metrics, PyTree, Task


class Answer(Protocol):
    """``answer(params, state, support, x, *, train, key) -> (outputs, state)``."""

    def __call__(
        self,
        params: PyTree,
        state: PyTree,
        support: LabelledBatch,
        x: PyTree,
        *,
        train: bool,
        key: Key | None = None,
    ) -> tuple[Any, PyTree]:
        """What is said of the queries ``x``, knowing ``support``, and the network's state."""


class Embed(Protocol):
    """``embed(params, state, x, *, train, key) -> (features or Classification, state)``."""

    def __call__(
        self, params: PyTree, state: PyTree, x: PyTree, *, train: bool, key: Key | None = None
    ) -> tuple[Any, PyTree]:
        """The features ``[n, ...]``, such as by ``jaxfer.models.Network.apply``."""


class Conditioned(NamedTuple):
    """What a learner without an inner loop adapts to: the same parameters, and the support set.

    Attributes:
      params: the network's, unchanged.
      support: the support batch.

    >>> Conditioned(params={}, support=LabelledBatch([0.0], [1])).support.y
    [1]
    """

    params: PyTree
    support: LabelledBatch


OutputLoss: TypeAlias = Callable[[Any, Any], tuple[jax.Array, Metrics]]


def classification_loss(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, Metrics]:
    """Mean cross-entropy of the queries, and their accuracy.

    Args:
      logits: ``[queries, classes]``.
      labels: ``[queries]``, integers.

    Returns:
      The loss and ``{"accuracy": ...}``, both scalars.

    >>> loss, metrics = classification_loss(jnp.array([[0.0, 9.0]]), jnp.array([1]))
    >>> float(metrics["accuracy"])
    1.0
    """
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return jnp.mean(losses), {"accuracy": jnp.mean(jnp.argmax(logits, -1) == labels)}


def conditional(answer: Answer, loss_fn: OutputLoss = classification_loss) -> Learner:
    r"""A learner whose network sees the support set itself: metric and black-box meta-learning.

    .. math:: \min_\theta \sum_i L\big(f_\theta(x_i; S_i), y_i\big)

    Args:
      answer: :math:`f`, see :class:`Answer`; :func:`answer_by_features` makes one of a network and
        a head.
      loss_fn: ``loss_fn(outputs, query_labels) -> (loss, metrics)``.

    Returns:
      A :class:`Learner` with meta-parameters ``{"params": params}`` that adapts to
      :class:`Conditioned` parameters. Its gradient trains with ``train=True`` and hands on the
      state that was recorded.

    >>> def answer(params, state, support, x, *, train, key=None):
    ...     return params * jnp.mean(support.y) + 0 * x, state
    >>> learner = conditional(answer, lambda y, target: (jnp.mean((y - target) ** 2), {}))
    >>> one, two = (LabelledBatch(jnp.zeros(1), jnp.array([y])) for y in (1.0, 2.0))
    >>> task = Task(support=one, query=two)  # (theta - 2)^2 at theta = 0
    >>> float(learner.gradient(learner.init(jnp.array(0.0)), {}, task, None, 0).grads["params"])
    -4.0
    """

    def gradient(
        meta: PyTree, state: PyTree, task: Task, key: Key | None, step: jax.Array | int
    ) -> MetaGradient:
        del step

        def loss(meta: PyTree) -> tuple[jax.Array, Any]:
            outputs, recorded = answer(
                meta["params"], state, task.support, task.query.x, train=True, key=key
            )
            value, metrics = loss_fn(outputs, task.query.y)
            return value, (recorded, metrics)

        (value, (recorded, metrics)), grads = jax.value_and_grad(loss, has_aux=True)(meta)
        return MetaGradient(grads, recorded, {"loss": value, **metrics})

    return Learner(_wrap, _hold, gradient)


def pretrained(loss_fn: LossFn) -> Learner:
    r"""A learner that does not train on episodes: it descends one loss of whole batches.

    .. math:: \min_\theta L(\theta; S \cup Q)

    Support and query batch are joined. What was learned is then put to use by an :class:`Answer` of
    its own: plain supervision and SimpleShot, a contrastive loss and the nearest centroid.

    Args:
      loss_fn: ``loss_fn(params, state, batch, key) -> (loss, (state, metrics))``.

    Returns:
      A :class:`Learner` with meta-parameters ``{"params": params}`` that adapts to
      :class:`Conditioned` parameters.

    >>> loss_fn = lambda p, state, batch, key: (jnp.mean((p - batch.y) ** 2), (state, {}))
    >>> learner = pretrained(loss_fn)
    >>> one, two = (LabelledBatch(jnp.zeros(1), jnp.array([y])) for y in (1.0, 3.0))
    >>> meta = learner.init(jnp.array(0.0))
    >>> float(learner.gradient(meta, {}, Task(one, two), None, 0).grads["params"])
    -4.0
    """

    def gradient(
        meta: PyTree, state: PyTree, task: Task, key: Key | None, step: jax.Array | int
    ) -> MetaGradient:
        del step
        batch = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), *task)
        (loss, (recorded, metrics)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            meta["params"], state, batch, key
        )
        return MetaGradient({"params": grads}, recorded, {"loss": loss, **metrics})

    return Learner(_wrap, _hold, gradient)


def answer_by_features(embed: Embed, head_from: Callable[[PyTree], Head]) -> Answer:
    """Answers by a head on the features of one network: metric-based few-shot learning.

    Support and queries go through the network together: while it trains they share their batch
    statistics, and later, by the running ones, no query has a part in another's answer.

    Args:
      embed: features of a batch, see :class:`Embed`; of a :class:`Classification` its features.
      head_from: ``head_from(params) -> head``, for a head with parameters of its own;
        ``lambda params: head`` for any other.

    Returns:
      The :class:`Answer`.

    >>> from functools import partial
    >>> from jaxfer.meta import nearest_centroid
    >>> embed = lambda params, state, x, *, train, key=None: (params * x, state)
    >>> answer = answer_by_features(embed, lambda params: partial(nearest_centroid, classes=2))
    >>> support = LabelledBatch(jnp.array([[0.0], [1.0]]), jnp.array([0, 1]))
    >>> answer(2.0, {}, support, jnp.array([[1.0]]), train=False)[0]
    Array([[-4., -0.]], dtype=float32)
    """

    def answer(
        params: PyTree,
        state: PyTree,
        support: LabelledBatch,
        x: PyTree,
        *,
        train: bool,
        key: Key | None = None,
    ) -> tuple[jax.Array, PyTree]:
        shown, asked, state = embed_both(embed, params, state, support.x, x, train=train, key=key)
        return head_from(params)(shown, support.y, asked), state

    return answer


def embed_both(
    embed: Embed,
    params: PyTree,
    state: PyTree,
    support_x: PyTree,
    query_x: PyTree,
    *,
    train: bool,
    key: Key | None = None,
) -> tuple[jax.Array, jax.Array, PyTree]:
    """Features of support and queries from one pass of the network.

    Args:
      embed: see :class:`Embed`; of a :class:`Classification` its features.
      params: of the network.
      state: of the network.
      support_x: inputs ``[n, ...]``, any pytree.
      query_x: inputs ``[m, ...]``.
      train: whether the batch at hand gives the statistics, and is recorded.
      key: randomness of the network.

    Returns:
      The features of both, ``[n, ...]`` and ``[m, ...]``, and the network's state.

    >>> double = lambda params, state, x, *, train, key=None: (2 * x, state)
    >>> embed_both(double, {}, {}, jnp.ones((2, 1)), jnp.ones((3, 1)), train=False)[1].shape
    (3, 1)
    """
    count = len(jax.tree.leaves(support_x)[0])
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), support_x, query_x)
    output, state = embed(params, state, both, train=train, key=key)
    features = output.features if isinstance(output, Classification) else output
    return features[:count], features[count:], state


def answer_by_adapting(learner: Learner, embed: Embed) -> Answer:
    """Answers by the network that a learner has adapted to the support set.

    So a gradient-based learner can stand where a metric one does.

    Args:
      learner: adapts ``params``, which are its meta-parameters' ``"params"``.
      embed: the network; of a :class:`Classification` its logits are the answer.

    Returns:
      The :class:`Answer`.

    >>> from jaxfer.meta import maml
    >>> loss_fn = lambda p, state, batch, key: (jnp.mean((p - batch.y) ** 2), (state, {}))
    >>> learner = maml(loss_fn, rule=optax.sgd(0.5), steps=1)
    >>> answer = answer_by_adapting(learner, lambda p, state, x, *, train, key=None: (p + x, state))
    >>> support = LabelledBatch(jnp.zeros(1), jnp.array([3.0]))
    >>> answer(jnp.array(0.0), {}, support, jnp.ones(1), train=False)[0]
    Array([4.], dtype=float32)
    """

    def answer(
        params: PyTree,
        state: PyTree,
        support: LabelledBatch,
        x: PyTree,
        *,
        train: bool,
        key: Key | None = None,
    ) -> tuple[Any, PyTree]:
        learn_key, embed_key = (None, None) if key is None else jax.random.split(key)
        adapted = learner.adapt({"params": params}, state, support, learn_key)
        output, state = embed(adapted.params, adapted.state, x, train=train, key=embed_key)
        return output.logits if isinstance(output, Classification) else output, state

    return answer


def _wrap(params: PyTree) -> PyTree:
    return {"params": params}


def _hold(meta: PyTree, state: PyTree, support: PyTree, key: Key | None) -> Adapted:
    del key
    return Adapted(Conditioned(meta["params"], support), state, None)
