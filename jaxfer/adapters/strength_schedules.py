"""How strong an adversary is at each step: functions of the step, without a counter."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array

from jaxfer.divergences.options import check_count, check_number

Schedule = Callable[[Any], Array]


def dann_strength(
    steps: int, *, end: float | Array = 1.0, gamma: float = 10.0, over: int | None = None
) -> Schedule:
    r"""The schedule of DANN: from 0 at step 0 to its end, fast at first.

    .. math::
        \lambda(t) = \lambda_{\mathrm{end}} \Big( \frac{2}{1 + e^{-\gamma p}} - 1 \Big), \qquad
        p = \min(t / T, 1)

    Args:
      steps: of the whole training, at least 1.
      end: :math:`\lambda_{\mathrm{end}}`, at least 0.
      gamma: :math:`\gamma`, positive. 10 reaches 99.99% of the end.
      over: :math:`T`, the steps in which the schedule runs; ``None`` takes all of them.

    Returns:
      A function of the step, a Python or traced number, that gives a scalar.

    Raises:
      TypeError: for what is not a number, or no integer where one is needed.
      ValueError: for a number out of range, and where ``over`` is more than ``steps``: such a
        training would end before its schedule does.

    Warns:
      UserWarning: where ``gamma`` is so small that the last step has less than 99% of the end.

    Source: Ganin et al. 2016, Domain-adversarial training of neural networks, section 5.2.2, with
    :math:`\lambda_{\mathrm{end}} = 1`. Deviation: tllib's layer counts its own calls, and stops at
    46% of the end, as its :math:`\gamma` is 1.

    >>> schedule = dann_strength(1000)
    >>> [f"{schedule(step):.3f}" for step in (0, 100, 1000, 2000)]
    ['0.000', '0.462', '1.000', '1.000']
    """
    over = _check_length(steps, over)
    check_number("end", end, at_least=0)
    check_number("gamma", gamma, above=0)
    reached = math.tanh(0.5 * float(gamma))
    if reached < 0.99:
        warnings.warn(
            f"with gamma={gamma} the strength reaches {reached:.0%} of its end; "
            "a gamma of at least 5.3 reaches 99%.",
            stacklevel=2,
        )
    # 2 / (1 + exp(-x)) - 1, without the difference of nearly equal numbers.
    return lambda step: end * jnp.tanh(0.5 * gamma * _share(step, over))


def linear_strength(
    steps: int, *, start: float | Array = 0.0, end: float | Array = 1.0, over: int | None = None
) -> Schedule:
    r"""A linear warm-up, and then a constant.

    .. math::
        \lambda(t) = \lambda_{\mathrm{start}} + (\lambda_{\mathrm{end}} - \lambda_{\mathrm{start}})
        \min(t / T, 1)

    Args:
      steps: of the whole training, at least 1.
      start, end: of the strength, at least 0.
      over: :math:`T`, the steps of the warm-up; ``None`` takes all of them.

    Returns:
      A function of the step, a Python or traced number, that gives a scalar.

    Raises:
      TypeError: for what is not a number, or no integer where one is needed.
      ValueError: for a number out of range, and where ``over`` is more than ``steps``: such a
        training would end before its schedule does.

    >>> schedule = linear_strength(1000, end=0.5, over=100)
    >>> [f"{schedule(step):.3f}" for step in (0, 50, 100, 1000)]
    ['0.000', '0.250', '0.500', '0.500']
    """
    over = _check_length(steps, over)
    check_number("start", start, at_least=0)
    check_number("end", end, at_least=0)
    return lambda step: start + (end - start) * _share(step, over)


def constant_strength(strength: float | Array = 1.0) -> Schedule:
    r"""The same strength at every step.

    .. math:: \lambda(t) = \lambda

    Args:
      strength: :math:`\lambda`, at least 0.

    Returns:
      A function of the step that gives a scalar.

    Raises:
      TypeError: for what is not a number.
      ValueError: for a number that is negative or not finite.

    >>> constant_strength(0.5)(100)
    Array(0.5, dtype=float32)
    """
    check_number("strength", strength, at_least=0)
    return lambda step: strength * jnp.ones_like(_share(step, 1))


def _check_length(steps: int, over: int | None) -> int:
    check_count("steps", steps)
    if over is None:
        return steps
    check_count("over", over)
    if over > steps:
        raise ValueError(
            f"over must be at most steps, or the schedule never reaches its end; over is {over} "
            f"and steps {steps}."
        )
    return over


def _share(step: Any, over: int) -> Array:
    """How much of the schedule has passed, from 0 to 1."""
    return jnp.clip(jnp.asarray(step).astype(float) / over, 0, 1)
