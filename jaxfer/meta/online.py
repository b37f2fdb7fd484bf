"""Online-aware meta-learning: a representation in which learning one example at a time sticks."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from jaxfer.meta.adapt import Adapted, LossFn
from jaxfer.meta.conditional import Embed
from jaxfer.meta.learner import Learner, MetaGradient
from jaxfer.typing import Key, LabelledBatch, PyTree, Task

Reset: TypeAlias = Callable[[PyTree, Array, Key], PyTree]
Learn: TypeAlias = Callable[[PyTree, PyTree, LabelledBatch, Key | None], Adapted]


class OnlineInfo(NamedTuple):
    """What happened along a trajectory.

    Attributes:
      losses: of each example before its step, ``[examples]``.

    >>> OnlineInfo(losses=jnp.array([1.0, 0.5])).losses.shape
    (2,)
    """

    losses: Array


def learn_online(
    loss_fn: LossFn,
    params: PyTree,
    state: PyTree,
    trajectory: PyTree,
    key: Key | None = None,
    *,
    rule: optax.GradientTransformation,
    remat: bool = False,
) -> Adapted:
    r"""Parameters after one pass over a trajectory, a step for each example as it comes.

    .. math:: W_{t+1} = W_t + \mathrm{rule}\big(\nabla_W \ell(W_t; x_t, y_t)\big)

    One program, by ``lax.scan``; differentiate through it for the exact meta-gradient.

    Args:
      loss_fn: ``loss_fn(params, state, batch, key) -> (loss, (state, metrics))``; it is given
        batches of one example.
      params: what learning starts from, any pytree; all of it is changed.
      state: the network's state, ``{}`` for none; each step passes it on.
      trajectory: a batch, any pytree of leaves ``[examples, ...]``, in the order of learning.
      key: randomness of the loss, folded with the step; ``None`` for a loss without any.
      rule: any optax transformation; plain ``optax.sgd`` as published.
      remat: recompute each step in the backward pass: only parameters stay in memory.

    Returns:
      :class:`Adapted` parameters and state, and :class:`OnlineInfo`.

    Raises:
      ValueError: for a trajectory without examples.

    Source: Javed and White 2019, Meta-learning representations for continual learning, algorithm 2,
    its inner loop.

    >>> loss_fn = lambda p, state, batch, key: (0.5 * jnp.mean((p - batch) ** 2), (state, {}))
    >>> trajectory = jnp.array([1.0, 3.0])  # from 0 half of the way to 1, then half of that to 3
    >>> learn_online(loss_fn, jnp.array(0.0), {}, trajectory, rule=optax.sgd(0.5)).params
    Array(1.75, dtype=float32)
    """
    examples = len(jax.tree.leaves(trajectory)[0])
    if not examples:
        raise ValueError("trajectory must hold at least one example; it holds none.")

    def step(carry: tuple[PyTree, PyTree, PyTree], index: Array) -> tuple[Any, Array]:
        params, state, optimiser = carry
        # One example as a batch of one, by its place: the scan then holds no copy of them all.
        batch = jax.tree.map(lambda leaf: lax.dynamic_slice_in_dim(leaf, index, 1), trajectory)
        step_key = None if key is None else jax.random.fold_in(key, index)
        (loss, (state, _)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            params, state, batch, step_key
        )
        updates, optimiser = rule.update(grads, optimiser, params)
        return (optax.apply_updates(params, updates), state, optimiser), loss

    (learned, state, _), losses = lax.scan(
        jax.checkpoint(step) if remat else step,
        (params, state, rule.init(params)),
        jnp.arange(examples),
    )
    return Adapted(learned, state, OnlineInfo(losses))


def reset_columns(*, head: str = "head") -> Reset:
    """Draws the weights of given classes anew, in a head ``{"kernel", "bias"}``.

    A class that the head already knows teaches nothing about learning it: its row starts over.

    Args:
      head: key of the head in the parameters of the prediction network.

    Returns:
      ``reset(params, labels, key) -> params``: of the classes in ``labels`` ``[n]`` the columns of
      the kernel ``[features, classes]`` are drawn from a normal distribution of variance ``2 /
      features``, and the biases are 0. The others keep their gradient.

    Source: Javed and White 2019, published code, where rows are drawn by Kaiming's rule, the gain
    that of a ReLU. There the outer step goes on from the new rows; here from the old ones, which
    get no gradient from them.

    >>> params = {"head": {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)}}
    >>> reset_columns()(params, jnp.array([1, 1]), jax.random.key(0))["head"]["bias"]
    Array([1., 0., 1.], dtype=float32)
    """

    def reset(params: PyTree, labels: Array, key: Key) -> PyTree:
        kernel, bias = params[head]["kernel"], params[head]["bias"]
        chosen = jnp.zeros(kernel.shape[1], bool).at[labels].set(True)
        drawn = jax.random.normal(key, kernel.shape, kernel.dtype)
        fresh = {
            "kernel": jnp.where(chosen, drawn * jnp.sqrt(2 / len(kernel)), kernel),
            "bias": jnp.where(chosen, 0, bias),
        }
        return {**params, head: fresh}

    return reset


def oml(
    represent: Embed,
    loss_fn: LossFn,
    learn: Learn,
    *,
    reset: Reset | None = None,
    representation: str = "representation",
    prediction: str = "prediction",
) -> Learner:
    r"""Online-aware meta-learning: two networks, of which one learns along a trajectory.

    .. math::
        W_{t+1} = W_t - \alpha \nabla_W \ell\big(g_{W_t}(\phi_\theta(x_t)), y_t\big), \qquad
        \min_{\theta, W_0} L\big(g_{W_T} \circ \phi_\theta; \; S \cup R\big)

    The representation network :math:`\phi_\theta` is changed only in the outer loop, the prediction
    network :math:`g_W` one example at a time along the trajectory :math:`S`; the outer loss is on
    the trajectory and on a random batch :math:`R` of all classes, through all the steps. As the
    representation does not change along the way, it is computed once, for trajectory and random
    batch together, outside the loop.

    Args:
      represent: the representation network, ``represent(params, state, x, *, train, key) ->
        (features, state)``.
      loss_fn: the loss of the prediction network on features: ``loss_fn(params, state, batch, key)
        -> (loss, (state, metrics))`` with ``batch.x`` features and ``state`` always ``{}``.
      learn: how the prediction network learns, ``learn(params, state, trajectory, key) ->
        Adapted``: :func:`learn_online` with its loss and rule, or for an ``Mlp`` and plain gradient
        descent the much faster :func:`learn_online_mlp` with its rate.
      reset: called before each trajectory, such as :func:`reset_columns`; ``None`` leaves the
        prediction network as it is.
      representation: key of the representation network's parameters.
      prediction: key of the prediction network's parameters.

    Returns:
      A :class:`Learner` with meta-parameters ``{"params": params}``, for tasks whose support is the
      trajectory in its order, one class after the other, and whose query is the random batch. A key
      is needed where there is a reset.

    Raises:
      ValueError: from its functions, for a reset without a key or an empty trajectory.

    Source: Javed and White 2019, equation 2 and algorithm 2.

    >>> represent = lambda params, state, x, *, train, key=None: (params * x, state)
    >>> loss_fn = lambda w, state, batch, key: (
    ...     0.5 * jnp.mean((w * batch.x - batch.y) ** 2),
    ...     (state, {}),
    ... )
    >>> learn = lambda *arguments: learn_online(loss_fn, *arguments, rule=optax.sgd(0.5))
    >>> learner = oml(represent, loss_fn, learn)
    >>> meta = learner.init({"representation": 1.0, "prediction": jnp.array(0.0)})
    >>> trajectory = LabelledBatch(jnp.array([1.0, 1.0]), jnp.array([1.0, 1.0]))
    >>> learner.adapt(meta, {}, trajectory, None).params
    {'representation': 1.0, 'prediction': Array(0.75, dtype=float32)}
    """

    def start(meta: PyTree, labels: Array, key: Key | None) -> tuple[PyTree, Key | None]:
        begun = meta["params"][prediction]
        if reset is None:
            return begun, key
        if key is None:
            raise ValueError("key must be given to an online learner that resets its head.")
        reset_key, key = jax.random.split(key)
        return reset(begun, labels, reset_key), key

    def adapt(meta: PyTree, state: PyTree, support: LabelledBatch, key: Key | None) -> Adapted:
        features, state = represent(
            meta["params"][representation], state, support.x, train=False, key=None
        )
        begun, key = start(meta, support.y, key)
        learned = learn(begun, {}, LabelledBatch(features, support.y), key)
        params = {**meta["params"], prediction: learned.params}
        return Adapted(params, state, learned.info)

    def gradient(
        meta: PyTree, state: PyTree, task: Task, key: Key | None, step: jax.Array | int
    ) -> MetaGradient:
        del step

        def outer(meta: PyTree) -> tuple[Array, Any]:
            both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), task.support, task.query)
            features, recorded = represent(
                meta["params"][representation], state, both.x, train=True, key=None
            )
            begun, rest = start(meta, task.support.y, key)
            count = len(task.support.y)
            trajectory = LabelledBatch(features[:count], task.support.y)
            learned = learn(begun, {}, trajectory, rest)
            loss, (_, metrics) = loss_fn(learned.params, {}, LabelledBatch(features, both.y), rest)
            return loss, (recorded, metrics)

        (loss, (recorded, metrics)), grads = jax.value_and_grad(outer, has_aux=True)(meta)
        return MetaGradient(grads, recorded, {"loss": loss, **metrics})

    return Learner(lambda params: {"params": params}, adapt, gradient)
