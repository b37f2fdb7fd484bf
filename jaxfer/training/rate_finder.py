"""Which learning rate? One short run in which it rises until the loss does."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxfer.typing import PyTree


class RateSearch(NamedTuple):
    """What a rising learning rate did to the loss.

    Attributes:
      rates: ``[steps]``, each a constant factor above the one before.
      losses: ``[steps]``, of the step that began with that rate, smoothed by a moving average.
      suggested: the rate at the steepest fall of the smoothed loss before its lowest point, the
        first tenth of the steps left out.

    >>> RateSearch(np.ones(2), np.ones(2), 1e-3).suggested
    0.001
    """

    rates: np.ndarray
    losses: np.ndarray
    suggested: float


def find_rate(
    loss_fn: Callable[[PyTree, PyTree], jax.Array],
    params: PyTree,
    batches: PyTree,
    *,
    optimiser: Callable[[float], optax.GradientTransformation] = optax.adam,
    lowest: float = 1e-6,
    highest: float = 1.0,
    smoothing: float = 0.9,
) -> RateSearch:
    """Trains for one pass over some batches while the learning rate rises exponentially.

    Args:
      loss_fn: ``loss_fn(params, batch) -> scalar``.
      params: where to begin; they are not changed.
      batches: any pytree of arrays ``[steps, batch, ...]``, at least 10 steps.
      optimiser: ``optimiser(learning_rate)``, an optax transformation.
      lowest, highest: rates of the first and the last step.
      smoothing: of the moving average, at least 0 and below 1.

    Returns:
      A :class:`RateSearch`.

    Raises:
      ValueError: for numbers out of range or too few steps.

    Source: Smith 2017, Cyclical learning rates for training neural networks, section 3.3; the
      choice by the steepest fall is fastai's.

    >>> search = find_rate(
    ...     lambda w, x: jnp.mean((w - x) ** 2), jnp.array(1.0), jnp.zeros((50, 4)), highest=10.0
    ... )
    >>> 1e-3 < search.suggested < 1
    True
    """
    steps = len(jax.tree.leaves(batches)[0])
    if steps < 10:
        raise ValueError(f"batches must hold at least 10 steps; they hold {steps}.")
    if not 0 < lowest < highest or not 0 <= smoothing < 1:
        raise ValueError(
            f"0 < lowest < highest and 0 <= smoothing < 1 must hold; they are {lowest}, {highest} "
            f"and {smoothing}."
        )
    rates = np.geomspace(lowest, highest, steps)
    transformation = optax.inject_hyperparams(optimiser)(learning_rate=lowest)

    @jax.jit
    def sweep(params: PyTree, batches: PyTree) -> jax.Array:
        def step(
            carry: tuple[PyTree, PyTree], given: tuple[PyTree, jax.Array]
        ) -> tuple[tuple[PyTree, PyTree], jax.Array]:
            params, state = carry
            batch, rate = given
            state = state._replace(hyperparams={**state.hyperparams, "learning_rate": rate})
            loss, gradient = jax.value_and_grad(loss_fn)(params, batch)
            updates, state = transformation.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), loss

        start = (params, transformation.init(params))
        return jax.lax.scan(step, start, (batches, jnp.asarray(rates, jnp.float32)))[1]

    losses = np.asarray(sweep(params, batches), float)
    # What diverges is worse than anything.
    finite = np.isfinite(losses)
    losses = np.where(finite, losses, losses[finite].max(initial=0))
    smooth, average = np.empty(steps), 0.0
    for i, loss in enumerate(losses):
        average = smoothing * average + (1 - smoothing) * loss
        smooth[i] = average / (1 - smoothing ** (i + 1))
    end = max(2, int(np.argmin(smooth)) + 1)
    slope = np.gradient(smooth[:end], np.log(rates[:end]))
    # At first the average is of few steps, and falls and rises with each of them.
    begin = min(steps // 10, end - 1)
    return RateSearch(rates, smooth, float(rates[begin + int(np.argmin(slope[begin:]))]))
