"""Sinusoids to regress on: the family of tasks that shows what adapting fast means."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxfer.typing import Key, LabelledBatch, Task

AMPLITUDE = (0.1, 5.0)
PHASE = (0.0, jnp.pi)
INPUT = (-5.0, 5.0)


class Sinusoid(NamedTuple):
    r"""A function to regress on, :math:`y = a \sin(x - p)`.

    Attributes:
      amplitude: :math:`a`, a scalar.
      phase: :math:`p`, a scalar, in radians.

    >>> Sinusoid(amplitude=2.0, phase=0.0)(jnp.array(jnp.pi / 2))
    Array(2., dtype=float32, weak_type=True)
    """

    amplitude: jax.Array
    phase: jax.Array

    def __call__(self, x: jax.Array) -> jax.Array:
        """The value at ``x``, of the same shape."""
        return self.amplitude * jnp.sin(x - self.phase)


def sample_sinusoid(key: Key) -> Sinusoid:
    r"""Draws a sinusoid, :math:`a \sim U(0.1, 5), \; p \sim U(0, \pi)`.

    Args:
      key: a JAX random key.

    Returns:
      The function.

    Source: Finn et al. 2017, section 5.1.

    >>> bool(0.1 <= sample_sinusoid(jax.random.key(0)).amplitude <= 5.0)
    True
    """
    amplitude_key, phase_key = jax.random.split(key)
    return Sinusoid(
        amplitude=jax.random.uniform(amplitude_key, minval=AMPLITUDE[0], maxval=AMPLITUDE[1]),
        phase=jax.random.uniform(phase_key, minval=PHASE[0], maxval=PHASE[1]),
    )


def sample_sinusoid_task(key: Key, *, shot: int, queries: int) -> Task:
    r"""Draws a sinusoid, and points :math:`x \sim U(-5, 5)` on it to adapt to and be judged on.

    The function is ``sample_sinusoid`` of the first half of ``jax.random.split(key)``.

    Args:
      key: a JAX random key.
      shot: support points, at least 1.
      queries: query points, at least 1.

    Returns:
      ``Task(support, query)``, each with ``x`` and ``y`` float32 ``[n, 1]``.

    Raises:
      ValueError: if there are no support or no query points.

    Source: Finn et al. 2017, section 5.1.

    >>> task = sample_sinusoid_task(jax.random.key(0), shot=10, queries=20)
    >>> task.support.x.shape, task.query.y.shape
    ((10, 1), (20, 1))
    """
    if shot < 1 or queries < 1:
        raise ValueError(f"shot and queries must be at least 1; got {shot} and {queries}.")
    function_key, point_key = jax.random.split(key)
    x = jax.random.uniform(point_key, (shot + queries, 1), minval=INPUT[0], maxval=INPUT[1])
    y = sample_sinusoid(function_key)(x)
    return Task(LabelledBatch(x[:shot], y[:shot]), LabelledBatch(x[shot:], y[shot:]))
