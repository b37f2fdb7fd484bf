"""What a training run is at one step: a tree of arrays, each with a leading axis over runs."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxfer.typing import Key, PyTree


class Best(NamedTuple):
    """The parameters that scored highest on validation so far, one set per run.

    Attributes:
      params: as in `TrainState`.
      state: as in `TrainState`.
      score: ``[runs]``, higher is better; -inf before the first validation.
      step: ``[runs]``, int32, the step they come from; -1 before the first validation.

    >>> Best(params={}, state={}, score=0.5, step=3).step
    3
    """

    params: PyTree
    state: PyTree
    score: jax.Array
    step: jax.Array


class TrainState(NamedTuple):
    """A run's whole state, every array ``[runs, ...]`` (inside a step: one run, without that axis).

    Attributes:
      params: what the optimiser changes.
      state: batch statistics and the like; ``{}`` for a network without any.
      opt_state: the optimiser's state.
      step: int32, steps taken so far.
      key: raw uint32 ``[runs, 2]``, for ``jax.random``; it stays as it is unless a step replaces
        it, so that ``jax.random.fold_in(key, step)`` gives each step its own randomness.
      best: `Best`.
      alive: bool, False once parameters or loss were not finite; the run is frozen then.
      died: int32, the step that was not finite; -1 while alive.

    >>> TrainState({}, {}, (), 7, None, None, True, -1).step
    7
    """

    params: PyTree
    state: PyTree
    opt_state: PyTree
    step: jax.Array
    key: Key
    best: Best
    alive: jax.Array
    died: jax.Array


def init_train_state(
    init_one: Callable[[Key], tuple[PyTree, PyTree]],
    optimiser: optax.GradientTransformation,
    *,
    seeds: Sequence[int],
) -> TrainState:
    """Starts one run per seed; run i is what a single run started from ``seeds[i]`` would be.

    Args:
      init_one: ``key -> (params, state)`` for one run.
      optimiser: an optax transformation over ``params``.
      seeds: one integer per run.

    Returns:
      The state at step 0, every array ``[runs, ...]``.

    Raises:
      ValueError: if there are no seeds.

    >>> state = init_train_state(
    ...     lambda key: ({"w": jnp.zeros(3)}, {}), optax.sgd(0.1), seeds=[0, 1]
    ... )
    >>> state.params["w"].shape, state.step.tolist()
    ((2, 3), [0, 0])
    """
    if not seeds:
        raise ValueError("seeds is empty; expected one integer per run.")

    @jax.jit
    def start(key: Key) -> TrainState:
        key, init_key = jax.random.split(key)
        params, state = init_one(init_key)
        none_yet = jnp.array(-1, jnp.int32)
        return TrainState(
            params=params,
            state=state,
            opt_state=optimiser.init(params),
            step=jnp.array(0, jnp.int32),
            key=key,
            best=Best(params, state, jnp.array(-jnp.inf, jnp.float32), none_yet),
            alive=jnp.array(True),
            died=none_yet,
        )

    # Stacked, not vmapped: no batching rule can then change a bit of a run's start.
    runs = [start(jax.random.PRNGKey(seed)) for seed in seeds]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *runs)


@jax.jit
def remember_best(train_state: TrainState, scores: jax.Array) -> TrainState:
    """Keeps, for each run, the current parameters where they score higher than any before.

    Args:
      train_state: arrays ``[runs, ...]``.
      scores: ``[runs]``, higher is better; NaN never wins, nor does a dead run.

    Returns:
      The same state with a new ``best``.

    >>> state = init_train_state(lambda key: (jnp.zeros(()), {}), optax.sgd(0.1), seeds=[0, 1])
    >>> remember_best(state, jnp.array([0.5, jnp.nan])).best.step.tolist()
    [0, -1]
    """
    scores = jnp.asarray(scores, jnp.float32)
    best = train_state.best
    better = train_state.alive & (scores > best.score)

    def choose(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(better.reshape(better.shape + (1,) * (old.ndim - 1)), new, old)

    current = Best(train_state.params, train_state.state, scores, train_state.step)
    return train_state._replace(best=jax.tree.map(choose, current, best))
