"""Names that more than one package shares: aliases, batches, outputs, and the user's error."""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np

PyTree: TypeAlias = Any
Key: TypeAlias = jax.Array
Metrics: TypeAlias = Mapping[str, jax.Array]


class UserError(ValueError):
    """A mistake outside the code: a bad file, folder or option.

    One sentence says what is wrong and what to do. The command line prints that sentence alone;
    ``--debug`` adds the traceback.

    >>> raise UserError("--way is 0; give at least 2.")
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: --way is 0; give at least 2.
    """


class LabelledBatch(NamedTuple):
    """Inputs with their labels.

    Attributes:
      x: inputs, any pytree whose leaves are ``[batch, ...]``.
      y: labels ``[batch]`` (integer classes), or targets ``[batch, outputs]`` for a regression.

    >>> LabelledBatch(x=[[0.0], [1.0]], y=[0, 1]).y
    [0, 1]
    """

    x: PyTree
    y: PyTree


class Task(NamedTuple):
    """One episode: adapt on ``support``, be judged on ``query``.

    Attributes:
      support: the batch that a learner adapts to, any pytree.
      query: the batch that the adapted learner is measured on, of the same structure.

    >>> Task(support=LabelledBatch([0.0], [0]), query=LabelledBatch([1.0], [1])).query.y
    [1]
    """

    support: PyTree
    query: PyTree


class DomainBatch(NamedTuple):
    """What an adaptation method sees in one step.

    Attributes:
      source: labelled examples, ``x`` ``[n, ...]`` and ``y`` ``[n]``.
      target: unlabelled examples ``[m, ...]``, any pytree of the structure of ``source.x``.
      labelled_target: the few target examples whose labels are known; ``None`` for none.
      target_index: ``[m]`` int32, which examples of the target set these are, for methods that
        remember something about each; ``None`` where no method does.

    >>> DomainBatch(LabelledBatch([[0.0]], [1]), target=[[2.0]]).labelled_target is None
    True
    """

    source: LabelledBatch
    target: PyTree
    labelled_target: LabelledBatch | None = None
    target_index: jax.Array | None = None


class Classification(NamedTuple):
    """What a classifier returns.

    Attributes:
      features: ``[n, features]``, the input of the last linear layer.
      logits: ``[n, classes]``, unnormalised log-probabilities.

    >>> Classification(features=[[0.0]], logits=[[1.0, 2.0]]).logits
    [[1.0, 2.0]]
    """

    features: jax.Array
    logits: jax.Array


class Tokens(NamedTuple):
    """Texts as numbers.

    Attributes:
      ids: ``[n, length]`` int32, the number of each token; what stands where the mask is False is
        of no account.
      mask: ``[n, length]`` bool, False for padding.
      segments: ``[n, length]`` int32, which sentence of a pair a token belongs to; ``None`` for
        single ones.

    >>> Tokens(ids=[[101, 102]], mask=[[True, True]]).segments is None
    True
    """

    ids: jax.Array | np.ndarray
    mask: jax.Array | np.ndarray
    segments: jax.Array | np.ndarray | None = None
