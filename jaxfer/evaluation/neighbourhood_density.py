"""Soft neighbourhood density: do the predictions lie in dense clusters?"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxfer.divergences.logits import one_prediction
from jaxfer.divergences.options import check_number
from jaxfer.divergences.samples import is_concrete

_BLOCK = 256
"""Rows of the similarity matrix that are in memory at once."""


def soft_neighbourhood_density(
    logits: Any, *, temperature: float | Array = 0.05, where: Any = None
) -> Array:
    r"""How many neighbours the predictions have, softly counted (SND); higher is better.

    .. math::
        \mathrm{SND} = \frac{1}{n} \sum_i H(P_i), \qquad
        P_{ij} = \frac{\exp(f_i \cdot f_j / \tau)}{\sum_{l \ne i} \exp(f_i \cdot f_l / \tau)}
        \quad (j \ne i), \qquad f_i = \frac{p_i}{\|p_i\|}, \quad p = \mathrm{softmax}(z)

    Raw quantity: the density itself, a mean entropy in nats. An example with :math:`c` others as
    close as itself has :math:`\ln c`. It rewards one cluster above several, so that a predictor
    which has collapsed to one class gets the most that can be had, :math:`\ln (n - 1)`: use it with
    :func:`reject_collapsed`. Scores of different numbers of examples cannot be compared.

    The similarity matrix is computed in blocks of rows; memory grows with ``n``.

    Args:
      logits: :math:`z`, ``[n, classes]``, of target examples, floating point, finite.
      temperature: :math:`\tau`, positive.
      where: ``[n]``, booleans; an example that is left out is absent. At least two are present.

    Returns:
      A scalar between 0 and :math:`\ln (n - 1)`; NaN where traced logits hold NaN, 0 where a traced
      ``where`` leaves fewer than two.

    Raises:
      TypeError: for logits that are not of floating point or a ``where`` that is not of booleans.
      ValueError: for wrong shapes, fewer than two examples or a temperature that is not positive;
        where arrays are concrete also for NaN or infinity.

    Source: Saito et al. 2021, Tune it the right way: unsupervised validation of domain adaptation
    via soft neighborhood density, section 3. Deviation: the similarity of an example to itself is
    left out, where the released code sets it to -1; at the default temperature that is the same.

    >>> scattered = jnp.array([[3.0, 0, 0], [1, 0, 0], [0, 3, 0], [0, 1, 0], [0, 0, 3], [0, 0, 1]])
    >>> clustered = jnp.repeat(jnp.array([[9.0, 0, 0], [0, 9, 0]]), 3, axis=0)
    >>> collapsed = jnp.repeat(jnp.array([[9.0, 0, 0]]), 6, axis=0)
    >>> [f"{soft_neighbourhood_density(z):.2f}" for z in (scattered, clustered, collapsed)]
    ['0.05', '0.69', '1.61']
    """
    check_number("temperature", temperature, above=0)
    if jnp.ndim(logits) != 2 or jnp.shape(logits)[0] < 2:
        raise ValueError(
            "logits must be an array [n, classes] of at least 2 examples; "
            f"their shape is {jnp.shape(logits)}."
        )
    _, probabilities = one_prediction(logits)
    if where is None:
        where = jnp.ones(len(probabilities), bool)
    where = jnp.asarray(where)
    if where.dtype != bool:
        raise TypeError(f"where must hold booleans; it is {where.dtype}. Convert it: where != 0.")
    if where.shape != probabilities.shape[:1]:
        raise ValueError(
            f"where must hold one boolean for each row of logits: {probabilities.shape[:1]}; "
            f"its shape is {where.shape}."
        )
    if is_concrete(where) and np.asarray(where).sum() < 2:
        raise ValueError("where must leave at least 2 examples, or there is no neighbour.")
    return _density(probabilities, temperature, where)


@jax.jit
def _density(probabilities: Array, temperature: Array, where: Array) -> Array:
    features = probabilities / jnp.linalg.norm(probabilities, axis=-1, keepdims=True)
    points = jnp.arange(len(features))
    row = partial(_row_entropy, features, temperature, where)
    entropies = lax.map(row, (points, features), batch_size=min(_BLOCK, len(features)))
    count = jnp.sum(where)
    return jnp.where(count > 1, jnp.sum(jnp.where(where, entropies, 0)) / jnp.maximum(count, 1), 0)


def _row_entropy(
    features: Array, temperature: Array, where: Array, row: tuple[Array, Array]
) -> Array:
    """Entropy of the softmax over the others of the similarities to one point."""
    index, own = row
    others = where & (jnp.arange(len(features)) != index)
    similarity = jnp.matmul(features, own, precision="highest") / temperature
    log_share, share = one_prediction(similarity, where=others)
    return -jnp.sum(share * log_share)
