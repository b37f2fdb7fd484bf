"""Reverse validation: adapt back from the self-labelled target, and look at the source's labels."""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from jaxfer.evaluation.accuracy import accuracy
from jaxfer.typing import Key, LabelledBatch, PyTree


class Fit(Protocol):
    """Adapts a classifier from a labelled source to an unlabelled target."""

    def __call__(
        self,
        start: PyTree | None,
        source: LabelledBatch,
        target: PyTree,
        held_out: LabelledBatch,
        target_held_out: PyTree,
        key: Key,
    ) -> PyTree:
        """Gives whatever ``predict`` takes.

        Args:
          start: what another fit gave, to begin from; ``None`` for a fresh start.
          source: the labelled examples to learn from.
          target: the unlabelled examples to adapt to.
          held_out: labelled examples of the source that are not learnt from, for early stopping.
          target_held_out: unlabelled examples of the target that are not learnt from.
          key: for all that is random.
        """


class Predict(Protocol):
    """Applies a fitted classifier."""

    def __call__(self, fitted: PyTree, x: PyTree) -> Array:
        """Gives logits ``[n, classes]`` for ``n`` examples."""


class ReverseValidationInfo(NamedTuple):
    """What stands behind a score of reverse validation.

    Attributes:
      forward: the classifier that was adapted to the target, as ``fit`` gave it.
      reverse: the one that was adapted back to the source.
      target_labels, target_held_out_labels: ``[m]`` and ``[k]``, what the forward one says of the
        target, and the reverse one learnt from.
      source_logits: ``[n, classes]``, what the reverse one says of the held-out source.

    >>> info = ReverseValidationInfo({}, {}, jnp.array([0]), jnp.array([1]), jnp.zeros((1, 2)))
    >>> info.target_labels.tolist()
    [0]
    """

    forward: PyTree
    reverse: PyTree
    target_labels: Array
    target_held_out_labels: Array
    source_logits: Array


def reverse_validation_accuracy(
    fit: Fit,
    predict: Predict,
    source: LabelledBatch,
    target: PyTree,
    *,
    held_out: LabelledBatch,
    target_held_out: PyTree,
    key: Key,
    warm_start: bool = True,
) -> tuple[Array, ReverseValidationInfo]:
    r"""Accuracy on the source of a classifier adapted back from the target; higher is better.

    1. Adapt from the labelled source to the target: :math:`\eta`.
    2. Label the target with it: :math:`\{(x, \eta(x))\}`.
    3. Adapt from these to the source, whose labels are not looked at: :math:`\eta_r`.
    4. Compare :math:`\eta_r` with the labels of the held-out source.

    Raw quantity: the reverse validation risk, 1 minus this. A method that puts the target's classes
    where they do not belong has nothing to come back with. It is the method with its strength that
    is scored, not one network: each candidate costs two fits.

    Pure where ``fit`` and ``predict`` are, so that it is jitted, and vmapped over seeds and
    strengths, as a whole::

        def score(strength, key):
            fit_at = functools.partial(fit, strength=strength)
            return reverse_validation_accuracy(fit_at, predict, source, target, ..., key=key)


        scores, info = jax.vmap(jax.vmap(score, (None, 0)), (0, None))(strengths, keys)

    ``info.forward`` then holds all networks to pick from. One's own program that fits in pieces has
    to do no more than what is written here: take the argmax of the forward logits as labels, fit
    again with the domains exchanged, and score the held-out source by :func:`source_accuracy`.

    Args:
      fit: adapts: ``fit(start, source, target, held_out, target_held_out, key)``; see :class:`Fit`.
      predict: ``predict(fitted, x)`` gives logits ``[n, classes]``.
      source: the labelled source, without its held-out part.
      target: inputs of the target, without their held-out part.
      held_out: the held-out part of the source; it stops the forward fit early where ``fit`` does
        so, and scores the reverse one.
      target_held_out: inputs of the held-out part of the target; with their predicted labels they
        stop the reverse fit early.
      key: for both fits.
      warm_start: begin the reverse fit from the forward one, which the source found to be more
        accurate.

    Returns:
      The accuracy, a scalar in [0, 1], and the :class:`ReverseValidationInfo`.

    Raises:
      TypeError, ValueError: as :func:`accuracy`, of what ``predict`` gives.

    Source: Ganin et al. 2016, Domain-adversarial training of neural networks, section 5.1.1, after
    Zhong et al. 2010, Cross validation framework to choose amongst models and datasets for transfer
    learning.

    >>> def fit(start, source, target, held_out, target_held_out, key):  # the nearest class mean
    ...     one_hot = jax.nn.one_hot(source.y, 2)
    ...     return one_hot.T @ (source.x - source.x.mean(0)) / one_hot.sum(0)[:, None]
    >>> def predict(means, x):
    ...     return -jnp.square((x - x.mean(0))[:, None] - means).sum(-1)
    >>> x, y = jnp.array([[-1.0], [-2.0], [1.0], [2.0]]), jnp.array([0, 0, 1, 1])
    >>> source = LabelledBatch(x, y)
    >>> score, info = reverse_validation_accuracy(
    ...     fit,
    ...     predict,
    ...     source,
    ...     x + 9,
    ...     held_out=source,
    ...     target_held_out=x + 9,
    ...     key=jax.random.key(0),
    ... )
    >>> float(score), info.target_labels.tolist()
    (1.0, [0, 0, 1, 1])
    """
    forward_key, reverse_key = jax.random.split(key)
    forward = fit(None, source, target, held_out, target_held_out, forward_key)
    labels, held_out_labels = (
        jnp.argmax(predict(forward, x), axis=-1) for x in (target, target_held_out)
    )
    reverse = fit(
        forward if warm_start else None,
        LabelledBatch(target, labels),
        source.x,
        LabelledBatch(target_held_out, held_out_labels),
        held_out.x,
        reverse_key,
    )
    logits = predict(reverse, held_out.x)
    score = accuracy(logits, held_out.y)
    return score, ReverseValidationInfo(forward, reverse, labels, held_out_labels, logits)
