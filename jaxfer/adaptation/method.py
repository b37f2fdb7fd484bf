"""What a method is: players who take turns at minimising, over explicit state."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from jaxfer.adaptation import classifier as network
from jaxfer.adaptation.classifier import Classifier, Outputs
from jaxfer.adapters import FeatureMap, Mask, merge, partition
from jaxfer.typing import Classification, DomainBatch, Key, Metrics, PyTree


class Loss(Protocol):
    """``loss(params, state, batch, *, step, key) -> (loss, (state, metrics))``."""

    def __call__(
        self, params: PyTree, state: PyTree, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, tuple[PyTree, Metrics]]: ...


class Term(Protocol):
    """``term(params, outputs, batch, *, step, key) -> (loss, metrics)``.

    ``params`` are those of the whole method, ``outputs`` features and logits of both domains.
    """

    def __call__(
        self, params: PyTree, outputs: Outputs, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, Metrics]: ...


class Player(NamedTuple):
    """Who minimises what.

    Attributes:
      loss: see :class:`Loss`.
      trains: a mask of the parameters that move, such as ``entries("encoder")``; ``None`` for all.
        Of the others no gradient is computed.
      repeats: how many times in each step.
      when: ``when(step) -> bool``, the steps in which it has its turns; ``None`` for all. In the
        others its parameters, its optimiser and the state stay as they are.
      sees: ``sees(params, state, batch, *, step, key) -> (seen, state)``: ``seen`` is what the loss
        gets in place of the batch, computed once for all turns of a step, such as features for a
        critic; ``None`` for the batch itself.

    >>> Player(loss=None).repeats
    1
    """

    loss: Loss
    trains: Mask = None
    repeats: int = 1
    when: Callable[[Any], Any] | None = None
    sees: Callable[..., tuple[PyTree, PyTree]] | None = None


def entries(*names: str) -> Callable[[PyTree], PyTree]:
    """A mask of whole entries of a method's parameters.

    Args:
      *names: such as ``"encoder"``, ``"head"`` or what the method adds.

    Returns:
      ``mask(params) -> {name: bool}``, for :class:`Player` or ``jaxfer.adapters.partition``.

    >>> entries("head")({"encoder": {"w": 1.0}, "head": {"w": 2.0}})
    {'encoder': False, 'head': True}
    """
    return lambda params: {name: name in names for name in params}


class Method(NamedTuple):
    """A way to adapt, as pure functions.

    Attributes:
      init: ``init(key, start=None) -> (params, state)``; ``start`` is ``(params, state)`` of a
        trained source-only network, from which encoder and head are taken.
      players: in the order of their turns. With one player that trains everything,
        ``players[0].loss`` is the objective of the method, for a training loop of one's own.
      predict: ``predict(params, state, x) -> Classification`` of target examples.
      settle: ``settle(params, state, step) -> (params, state)``, after all turns: a teacher
        follows its student.

    >>> Method(init=None, players=(), predict=None).settle({"w": 1.0}, {}, 0)
    ({'w': 1.0}, {})
    """

    init: Callable[..., tuple[PyTree, PyTree]]
    players: tuple[Player, ...]
    predict: Callable[[PyTree, PyTree, PyTree], Classification]
    settle: Callable[[PyTree, PyTree, Any], tuple[PyTree, PyTree]] = lambda params, state, step: (
        params,
        state,
    )


class Remembered(NamedTuple):
    """The state of a method that keeps more than the network's statistics.

    Attributes:
      network: the classifier's state.
      memory: what the method keeps.

    >>> Remembered(network={}, memory=0.5).memory
    0.5
    """

    network: PyTree
    memory: PyTree


class Updated(NamedTuple):
    """What a step leaves.

    Attributes:
      params, state, opt_state: the new ones.
      metrics: of all players; of one name, such as ``loss``, the first one's that had its turns.

    >>> Updated({}, {}, (), {"loss": 0.5}).metrics
    {'loss': 0.5}
    """

    params: PyTree
    state: PyTree
    opt_state: PyTree
    metrics: Metrics


def minimise(
    classifier: Classifier,
    term: Term | None = None,
    *,
    parts: Mapping[str, FeatureMap] | None = None,
) -> Method:
    """A method that is one objective: the supervised loss plus a term.

    Args:
      classifier: the network.
      term: what aligns the domains; ``None`` for nothing, which is training on the source alone.
      parts: what the method adds to the parameters, such as ``{"adversary": ...}``.

    Returns:
      The method.

    >>> from jaxfer.adaptation.toy import toy_batch, toy_classifier
    >>> def closer_means(params, outputs, batch, *, step, key):
    ...     gap = outputs.source.features.mean(0) - outputs.target.features.mean(0)
    ...     return (gap**2).sum(), {}
    >>> method = minimise(toy_classifier(), closer_means)
    >>> params, state = method.init(jax.random.key(0))
    >>> loss, _ = method.players[0].loss(params, state, toy_batch(), step=0, key=jax.random.key(1))
    >>> loss.shape
    ()
    """

    def loss(
        params: PyTree, state: PyTree, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        encoder_key, term_key = jax.random.split(key)
        outputs = network.forward(classifier, params, state, batch, encoder_key)
        total, metrics = network.supervised_loss(outputs, batch)
        if term is not None:
            value, more = term(params, outputs, batch, step=step, key=term_key)
            total, metrics = total + value, {**metrics, "term": value, **more}
        return total, (outputs.state, metrics)

    return play(classifier, (Player(loss),), parts=parts)


def play(
    classifier: Classifier,
    players: tuple[Player, ...],
    *,
    parts: Mapping[str, FeatureMap] | None = None,
    memory: PyTree = None,
) -> Method:
    """A method of several players on one classifier.

    Args:
      classifier: the network.
      players: in the order of their turns.
      parts: as for :func:`minimise`.
      memory: arrays that the method keeps beside the network's state, as they begin; the state is
        then a :class:`Remembered`.

    Returns:
      The method.

    >>> from jaxfer.adaptation.toy import toy_classifier
    >>> from jaxfer.adapters import linear_feature_map
    >>> method = play(toy_classifier(), (), parts={"critic": linear_feature_map(3, 1)})
    >>> sorted(method.init(jax.random.key(0))[0])
    ['critic', 'encoder', 'head']
    """
    parts = dict(parts or {})

    def init(key: Key, start: tuple[PyTree, PyTree] | None = None) -> tuple[PyTree, PyTree]:
        own, *others = jax.random.split(key, 1 + len(parts))
        params, state = network.init_classifier(classifier, own, start)
        added = {name: part.init(k) for (name, part), k in zip(parts.items(), others, strict=True)}
        return {**params, **added}, state if memory is None else Remembered(state, memory)

    def predict(params: PyTree, state: PyTree, x: PyTree) -> Classification:
        state = state.network if isinstance(state, Remembered) else state
        return network.predict(classifier, params, state, x)

    return Method(init, players, predict)


def init_optimiser(
    method: Method, optimiser: optax.GradientTransformation, params: PyTree
) -> tuple[PyTree, ...]:
    """A state of the optimiser for each player, of the parameters that it trains.

    Args:
      method: the method.
      optimiser: any optax transformation.
      params: as ``method.init`` gives them.

    Returns:
      A tuple, one state for each player.

    >>> from jaxfer.adaptation.toy import toy_classifier
    >>> method = minimise(toy_classifier())
    >>> len(init_optimiser(method, optax.sgd(0.1), method.init(jax.random.key(0))[0]))
    1
    """
    return tuple(optimiser.init(partition(params, player.trains)[0]) for player in method.players)


def update(
    method: Method,
    optimiser: optax.GradientTransformation,
    params: PyTree,
    state: PyTree,
    opt_state: tuple[PyTree, ...],
    batch: DomainBatch,
    *,
    step: Any,
    key: Key,
    axis_name: str | None = None,
) -> Updated:
    """One step: every player has its turns, then the method settles.

    Args:
      method: the method.
      optimiser: the one of :func:`init_optimiser`.
      params, state, opt_state: before the step.
      batch: both domains; over devices this device's share.
      step: steps taken so far, for schedules; possibly traced. An optimiser that takes extra
        arguments gets it too, see :func:`scale_by_step`.
      key: for everything random in this step.
      axis_name: mapped axis over which the batch is spread: gradients, new state and metrics are
        averaged over it.

    Returns:
      The :class:`Updated`.

    >>> from jaxfer.adaptation.toy import toy_batch, toy_classifier
    >>> method, optimiser = minimise(toy_classifier()), optax.sgd(0.5)
    >>> params, state = method.init(jax.random.key(0))
    >>> opt_state, losses = init_optimiser(method, optimiser, params), []
    >>> for step in range(3):
    ...     params, state, opt_state, metrics = update(
    ...         method,
    ...         optimiser,
    ...         params,
    ...         state,
    ...         opt_state,
    ...         toy_batch(),
    ...         step=step,
    ...         key=jax.random.key(step),
    ...     )
    ...     losses.append(float(metrics["loss"]))
    >>> losses[2] < losses[0]
    True
    """
    takes_step = optax.with_extra_args_support(optimiser)

    def turn(
        player: Player, params: PyTree, state: PyTree, own: PyTree, seen: PyTree, key: Key
    ) -> tuple[PyTree, PyTree, PyTree, Metrics]:
        trained, others = partition(params, player.trains)

        def objective(trained: PyTree) -> tuple[Array, tuple[PyTree, Metrics]]:
            return player.loss(merge(trained, others), state, seen, step=step, key=key)

        (loss, (state, metrics)), grads = jax.value_and_grad(objective, has_aux=True)(trained)
        metrics = {**metrics, "loss": loss}
        if axis_name is not None:
            grads, state, metrics = lax.pmean((grads, state, metrics), axis_name)
        changes, own = takes_step.update(grads, own, trained, step=step)
        return merge(optax.apply_updates(trained, changes), others), state, own, metrics

    def turns(
        player: Player, params: PyTree, state: PyTree, own: PyTree, key: Key
    ) -> tuple[PyTree, PyTree, PyTree, Metrics]:
        seen: PyTree = batch
        if player.sees is not None:
            seen_key = jax.random.fold_in(key, player.repeats)
            seen, state = player.sees(params, state, batch, step=step, key=seen_key)
        metrics: Metrics = {}
        for repeat in range(player.repeats):
            turn_key = jax.random.fold_in(key, repeat)
            params, state, own, more = turn(player, params, state, own, seen, turn_key)
            metrics = {**more, **metrics}
        return params, state, own, metrics

    states: list[PyTree] = []
    metrics: dict[str, Array] = {}
    heard: dict[str, Any] = {}  # of each metric, whether who gave it had a turn
    for number, (player, own) in enumerate(zip(method.players, opt_state, strict=True)):
        now: Any = True
        play_now = partial(turns, player, key=jax.random.fold_in(key, number))
        if player.when is None:
            params, state, own, seen = play_now(params, state, own)
        else:
            now = jnp.asarray(player.when(step))
            silent = jax.eval_shape(play_now, params, state, own)[3]
            silent = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), silent)
            params, state, own, seen = lax.cond(
                now, play_now, lambda *same, silent=silent: (*same, silent), params, state, own
            )
        for name, value in seen.items():
            if name not in metrics:
                metrics[name], heard[name] = value, now
            elif heard[name] is not True:
                metrics[name] = jnp.where(heard[name], metrics[name], value)
                heard[name] |= now
        states.append(own)
    params, state = method.settle(params, state, step)
    return Updated(params, state, tuple(states), metrics)


def scale_by_step(rate: Callable[[Any], Any]) -> optax.GradientTransformationExtraArgs:
    """A learning rate that is a function of the step, the last link of an optimiser's chain.

    optax's own schedules count the updates of each player, who may have several in a step, or none.

    Args:
      rate: a function of the step, such as ``optax.cosine_decay_schedule(1e-3, steps)``.

    Returns:
      The transformation; :func:`update` tells it the step.

    >>> optimiser = optax.chain(optax.identity(), scale_by_step(lambda step: 1 / (1 + step)))
    >>> gradient = jnp.array([3.0])
    >>> optimiser.update(gradient, optimiser.init(gradient), step=1)[0]
    Array([-1.5], dtype=float32)
    """

    def scale(
        updates: PyTree, state: PyTree, params: PyTree = None, *, step: Any, **others: Any
    ) -> tuple[PyTree, PyTree]:
        del params, others
        return jax.tree.map(lambda x: (-rate(step) * x).astype(x.dtype), updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), scale)
