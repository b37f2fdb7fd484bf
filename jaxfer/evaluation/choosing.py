"""The validator's pick: the best score that the guard lets through, or else source-only."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class Choice(NamedTuple):
    """Which candidate was picked.

    Attributes:
      candidate: ``[...]``, integers, its place among the scores; 0 and without meaning where
        ``source_only``.
      source_only: ``[...]``, booleans, whether no candidate could be picked.
      score: ``[...]``, the score of the pick; NaN where ``source_only``.

    >>> choice = Choice(jnp.int32(3), source_only=jnp.array(False), score=jnp.float32(0.5))
    >>> choice.candidate.item()
    3
    """

    candidate: Array
    source_only: Array
    score: Array


def choose(scores: Any, *, rejected: Any = None) -> Choice:
    """Picks the candidate of the highest score among those that the guard lets through.

    Candidates are steps, strengths or methods; scores are those of one validator, higher is better.
    A score that is NaN is never picked. Of equal scores the first is. Where no candidate is left
    the choice is to stay with the source-only network, which always is at hand.

    Args:
      scores: ``[..., candidates]``; for steps of several configurations flatten the last two axes.
      rejected: booleans that broadcast to the shape of ``scores``, from :func:`reject_collapsed`.

    Returns:
      The :class:`Choice`; :func:`chosen` looks up what belongs to it.

    Raises:
      TypeError: for scores that are no numbers, or a ``rejected`` that is not of booleans.
      ValueError: for shapes that do not fit or no candidate at all.

    >>> choice = choose(jnp.array([0.3, 0.9, 0.5]), rejected=jnp.array([False, True, False]))
    >>> choice.candidate.item(), choice.source_only.item()
    (2, False)
    """
    scores = jnp.asarray(scores)
    if not jnp.issubdtype(scores.dtype, jnp.number) or jnp.iscomplexobj(scores):
        raise TypeError(f"scores must be real numbers; they are {scores.dtype}.")
    if not jnp.issubdtype(scores.dtype, jnp.floating):
        scores = scores.astype(float)
    if scores.ndim < 1 or not scores.shape[-1]:
        raise ValueError(
            f"scores must be [..., candidates] with at least 1; their shape is {scores.shape}."
        )
    if rejected is None:
        rejected = jnp.zeros((), bool)
    else:
        rejected = jnp.asarray(rejected)
        if rejected.dtype != bool:
            raise TypeError(f"rejected must hold booleans; it is {rejected.dtype}.")
        try:
            rejected = jnp.broadcast_to(rejected, scores.shape)
        except ValueError:
            raise ValueError(
                f"rejected must broadcast to the shape of scores, {scores.shape}; "
                f"its shape is {rejected.shape}."
            ) from None
    return _choose(scores, rejected)


@jax.jit
def _choose(scores: Array, rejected: Array) -> Choice:
    allowed = ~jnp.isnan(scores) & ~rejected
    # Among scores of minus infinity too, only a candidate that is allowed is picked.
    best = jnp.max(jnp.where(allowed, scores, -jnp.inf), axis=-1, keepdims=True)
    candidate = jnp.argmax(allowed & (scores == best), axis=-1)
    none = ~jnp.any(allowed, axis=-1)
    return Choice(candidate, none, jnp.where(none, jnp.nan, best[..., 0]))


def chosen(choice: Choice, values: Any, source_only: Any) -> Array:
    """What belongs to a choice: a candidate's value, or that of source-only.

    Args:
      choice: from :func:`choose`.
      values: ``[..., candidates]``, of the shape of the scores: accuracies, or steps.
      source_only: ``[...]``, or one for all: the same of the source-only network.

    Returns:
      ``[...]``.

    Raises:
      ValueError: for shapes that do not fit.

    >>> accuracies = jnp.array([0.6, 0.8])
    >>> f"{chosen(choose(jnp.array([1.0, 2.0])), accuracies, 0.7):.2f}"
    '0.80'
    >>> collapsed = choose(jnp.array([1.0, 2.0]), rejected=jnp.array([True, True]))
    >>> f"{chosen(collapsed, accuracies, 0.7):.2f}"
    '0.70'
    """
    values, source_only = jnp.asarray(values), jnp.asarray(source_only)
    if values.ndim < 1 or values.shape[:-1] != choice.candidate.shape:
        raise ValueError(
            f"values must be [..., candidates] with the leading axes of the choice, "
            f"{choice.candidate.shape}; their shape is {values.shape}."
        )
    if source_only.shape not in ((), choice.candidate.shape):
        raise ValueError(
            f"source_only must be one number or one for each choice, {choice.candidate.shape}; "
            f"its shape is {source_only.shape}."
        )
    picked = jnp.take_along_axis(values, choice.candidate[..., None], axis=-1)[..., 0]
    return jnp.where(choice.source_only, source_only, picked)
