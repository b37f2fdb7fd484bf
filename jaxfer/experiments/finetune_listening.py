"""What examples without labels do for a network that has been fine-tuned elsewhere."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jaxfer.experiments.finetune_methods import Tuning
from jaxfer.losses import information_maximization
from jaxfer.typing import Classification, Key, PyTree

RATE = 3e-4
"""Learning rate of Adam."""

BATCH = 100


def listen(
    tuning: Tuning,
    params: PyTree,
    state: PyTree,
    x: PyTree,
    key: Key,
    *,
    steps: int,
) -> tuple[PyTree, PyTree]:
    r"""Moves what trains until predictions are sure one by one and diverse together.

    .. math:: \min_\theta \; \frac{1}{m} \sum_j H(p_j) - H(\bar p)

    by Adam, on batches of 100 at most; batch statistics become those of these examples. Pure.

    Args:
      tuning: how the network was trained.
      params, state: what trains of it, and its batch statistics.
      x: the examples as the network takes them, without labels.
      key: a JAX random key, for the batches and the dropout.
      steps: how many.

    Returns:
      The parameters and the statistics.

    Source: Liang et al. 2020, Do we really need to access the source data?, equation 3. Deviation:
    the head moves too.
    """
    n = len(jax.tree.leaves(x)[0])
    optimiser = optax.adam(RATE)

    def loss(params: PyTree, state: PyTree, x: PyTree, key: Key) -> tuple[jax.Array, PyTree]:
        output, state = tuning.network.apply(tuning.whole(params), state, x, train=True, key=key)
        return information_maximization(output.logits), state

    def step(carry: tuple[PyTree, PyTree, PyTree], key: Key) -> tuple[PyTree, None]:
        params, state, moments = carry
        index_key, network_key = jax.random.split(key)
        places = jax.random.randint(index_key, (min(n, BATCH),), 0, n)
        some = jax.tree.map(lambda leaf: leaf[places], x)
        gradient, state = jax.grad(loss, has_aux=True)(params, state, some, network_key)
        updates, moments = optimiser.update(gradient, moments, params)
        return (optax.apply_updates(params, updates), state, moments), None

    begun = (params, state, optimiser.init(params))
    (params, state, _), _ = jax.lax.scan(step, begun, jax.random.split(key, steps))
    return params, state


def in_halves(n: int, key: Key) -> list[tuple[jax.Array, jax.Array]]:
    """Places of which some are listened to and the others asked, each asked once.

    Args:
      n: how many examples, at least 2.
      key: a JAX random key.

    Returns:
      Two pairs of places.

    >>> [(heard, asked), (also_asked, also_heard)] = in_halves(5, jax.random.key(0))
    >>> sorted([*asked.tolist(), *also_heard.tolist()])
    [0, 1, 2, 3, 4]
    """
    order = jax.random.permutation(key, n)
    one, other = jnp.split(order, [n // 2])
    return [(one, other), (other, one)]


def make_listening(
    tuning: Tuning,
    prepare: Callable[[PyTree, Key | None], PyTree],
    predict: Callable[[PyTree, PyTree, PyTree, PyTree], Classification],
    *,
    steps: int,
    seed: int,
) -> Callable[[PyTree, PyTree, PyTree, PyTree], jax.Array]:
    """Answers to examples, each half by a network that has listened to the other half.

    Args:
      tuning: how the network was trained.
      prepare: from what is stored to what the network takes.
      predict: ``predict(params, state, frozen, x)``, of what is stored.
      steps: of listening to each half.
      seed: of the halves, the batches and the dropout.

    Returns:
      ``answer(params, state, frozen, x)``: logits ``[n, classes]``, in the order of the examples.
    """

    def answer(params: PyTree, state: PyTree, frozen: PyTree, x: PyTree) -> jax.Array:
        split_key, key = jax.random.split(jax.random.key(seed))
        halves = in_halves(len(jax.tree.leaves(x)[0]), split_key)
        found = []
        for places in halves:
            heard, asked = (jax.tree.map(lambda leaf, at=at: leaf[at], x) for at in places)
            adapted = listen(
                tuning._replace(frozen=frozen), params, state, prepare(heard, None), key,
                steps=steps,
            )  # fmt: skip
            found.append(predict(*adapted, frozen, asked).logits)
        order = jnp.concatenate([asked for _, asked in halves])
        return jnp.concatenate(found)[jnp.argsort(order)]

    return answer
