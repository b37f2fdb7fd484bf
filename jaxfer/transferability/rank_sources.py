"""Which source, which layer? Candidates in the order of a score, before anything is trained."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxfer.transferability.h_score import h_score
from jaxfer.transferability.labelled_features import labelled_features
from jaxfer.transferability.logme import logme
from jaxfer.transferability.trans_rate import trans_rate

Score = Callable[[Array, Array, int], Array]


class Ranking(NamedTuple):
    """Candidates, the most promising first.

    Attributes:
      names: of the candidates.
      scores: ``[candidates]`` float64, falling.

    >>> Ranking(("a", "b"), np.array([2.0, 1.0])).names[0]
    'a'
    """

    names: tuple[str, ...]
    scores: np.ndarray


def log_evidence(features: Array, labels: Array, classes: int) -> Array:
    """LogME as a score for :func:`rank_sources`.

    Args:
      features: ``[n, features]``.
      labels: ``[n]``.
      classes: how many.

    Returns:
      A scalar; higher is better.

    >>> bool(log_evidence(jnp.array([[1.0], [-1.0]]), jnp.array([0, 1]), 2) < 0)
    True
    """
    return logme(features, labels, classes=classes)[0]


def shrunk_h_score(features: Array, labels: Array, classes: int) -> Array:
    """H-score with Ledoit and Wolf's shrinkage as a score for :func:`rank_sources`.

    Args:
      features: ``[n, features]``.
      labels: ``[n]``.
      classes: how many.

    Returns:
      A scalar; higher is better.

    >>> float(shrunk_h_score(jnp.array([[1.0], [-1.0]]), jnp.array([0, 1]), 2))
    1.0
    """
    return h_score(features, labels, classes=classes, shrinkage="ledoit_wolf")[0]


def coding_rate_gain(features: Array, labels: Array, classes: int) -> Array:
    """TransRate of features scaled to a mean squared length of 1, for :func:`rank_sources`.

    Args:
      features: ``[n, features]``.
      labels: ``[n]``.
      classes: how many.

    Returns:
      A scalar; higher is better. On a common scale, unlike TransRate itself: candidates with larger
      features would be preferred for that alone.

    >>> x = jnp.array([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.1], [-1.0, -0.1]])
    >>> a, b = (coding_rate_gain(f * x, jnp.array([0, 0, 1, 1]), 2) for f in (1, 10))
    >>> bool(abs(a - b) < 1e-3)
    True
    """
    centred = features - jnp.mean(features, axis=0)
    square = jnp.mean(jnp.sum(jnp.square(centred), axis=1))
    scaled = features / jnp.sqrt(jnp.where(square > 0, square, 1))
    return trans_rate(scaled, labels, classes=classes)


def rank_sources(
    candidates: Mapping[str, Any], labels: Any, *, score: Score = log_evidence
) -> Ranking:
    """Ranks candidate sources, or layers of one, by what their features say of a target's labels.

    Candidates whose features have one shape are scored by one compiled program, vmapped over them.

    Args:
      candidates: features ``[n, ...]`` of the same target examples by name, such as those of
        several networks or of the layers of one; what lies behind the first axis is flattened.
      labels: ``[n]``, integers.
      score: ``score(features, labels, classes) -> scalar``, higher is better: :func:`log_evidence`,
        :func:`shrunk_h_score`, :func:`coding_rate_gain`, or any function that can be traced.

    Returns:
      A :class:`Ranking`; a score that is not a number comes last.

    Raises:
      TypeError: for features that are not of floating point or labels that are no integers.
      ValueError: without a candidate, or for shapes that do not fit.

    >>> draw = np.random.default_rng(0)
    >>> labels = np.arange(20) % 2
    >>> noise = draw.normal(size=(20, 3)).astype(np.float32)
    >>> useful = noise + 3 * labels[:, None].astype(np.float32)
    >>> rank_sources({"noise": noise, "useful": useful}, labels).names
    ('useful', 'noise')
    """
    if not candidates:
        raise ValueError("candidates must hold the features of at least one source.")
    flat: dict[str, jax.Array] = {}
    groups: dict[tuple[Any, Any], list[str]] = {}  # names by shape and type
    for name, features in candidates.items():
        array = jnp.asarray(features)
        array = array.reshape(array.shape[0], -1) if array.ndim > 2 else array
        try:
            checked = labelled_features(array, labels, None)
        except (TypeError, ValueError) as error:
            raise type(error)(f"candidate {name!r}: {error}") from None
        flat[name] = checked.features
        groups.setdefault((checked.features.shape, checked.features.dtype), []).append(name)
    integers, classes = checked.labels, checked.classes
    found: dict[str, float] = {}
    of_all = jax.jit(jax.vmap(lambda x: score(x, integers, classes)))
    for names in groups.values():
        scores = of_all(jnp.stack([flat[name] for name in names]))
        found |= dict(zip(names, np.asarray(scores, np.float64).tolist(), strict=True))
    order = sorted(found, key=lambda name: -found[name] if found[name] == found[name] else np.inf)
    return Ranking(tuple(order), np.array([found[name] for name in order]))
