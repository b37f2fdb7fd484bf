"""Conditional neural processes: a support set becomes one vector, and the vector a function."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array

from jaxfer.meta.conditional import Answer
from jaxfer.meta.heads import class_means, episode_features
from jaxfer.typing import Key, LabelledBatch, Metrics, PyTree


def neural_process(
    encode: Callable[[PyTree, Array], Array], decode: Callable[[PyTree, Array], Array]
) -> Answer:
    r"""Answers of a conditional neural process, for a regression.

    .. math:: r = \frac{1}{n} \sum_i h([x_i, y_i]), \qquad f(x; S) = g([x, r])

    Args:
      encode: :math:`h`, ``encode(params, pairs [n, inputs + outputs]) -> [n, features]``.
      decode: :math:`g`, ``decode(params, [m, inputs + features]) -> outputs [m, ...]``.

    Returns:
      The :class:`Answer` for batches of ``x`` ``[n, inputs]`` and ``y`` ``[n, outputs]``, whose
      outputs are those of ``decode``. The order of the support examples does not matter, nor does
      their number.

    Source: Garnelo et al. 2018, Conditional neural processes, equations 2 to 4.

    >>> answer = neural_process(lambda p, pairs: pairs[:, 1:], lambda p, both: p * both[:, 1:])
    >>> support = LabelledBatch(jnp.zeros((2, 1)), jnp.array([[1.0], [3.0]]))
    >>> answer(2.0, {}, support, jnp.zeros((1, 1)), train=False)[0]
    Array([[4.]], dtype=float32)
    """

    def answer(
        params: PyTree,
        state: PyTree,
        support: LabelledBatch,
        x: Array,
        *,
        train: bool,
        key: Key | None = None,
    ) -> tuple[Array, PyTree]:
        del train, key
        pairs = jnp.concatenate([support.x, support.y.astype(support.x.dtype)], axis=-1)
        summary = jnp.mean(encode(params, pairs), axis=0)
        repeated = jnp.broadcast_to(summary, (len(x), *summary.shape))
        return decode(params, jnp.concatenate([x, repeated], axis=-1)), state

    return answer


def class_summaries(
    support_features: Any,
    support_labels: Any,
    query_features: Any,
    *,
    classes: int,
    decode: Callable[[Array], Array],
) -> Array:
    r"""Logits of a conditional neural process: of a query beside the mean of each class in turn.

    .. math:: \mathrm{logits}(q) = g([q, c_1, \dots, c_K]), \qquad
        c_k = \frac{1}{|S_k|} \sum_{i \in S_k} s_i

    Args:
      support_features: :math:`s`, ``[n, features]``, floating point.
      support_labels: ``[n]`` integers from 0, or ``[n, classes]`` probabilities, which weigh.
      query_features: :math:`q`, ``[m, features]``.
      classes: :math:`K`, at least 2.
      decode: :math:`g`, ``[m, (1 + classes) * features] -> [m, classes]``. What it is given has a
        place for each class, so that permuting classes permutes the logits only as far as it has
        learned to.

    Returns:
      Logits ``[m, classes]``.

    Raises:
      TypeError: for features that are not of floating point.
      ValueError: for shapes that do not fit; where arrays are concrete also for NaN, infinity,
        labels out of range and a class without support.

    Source: Garnelo et al. 2018, section 4.3.

    >>> support, query = jnp.array([[1.0], [3.0], [5.0]]), jnp.array([[7.0]])
    >>> class_summaries(support, jnp.array([0, 0, 1]), query, classes=2, decode=lambda x: x[:, 1:])
    Array([[2., 5.]], dtype=float32)
    """
    support, labels, query = episode_features(
        support_features, support_labels, query_features, classes
    )
    means = class_means(support, labels).reshape(-1)
    repeated = jnp.broadcast_to(means, (len(query), len(means)))
    return decode(jnp.concatenate([query, repeated], axis=-1))


def gaussian_loss(outputs: Array, targets: Array) -> tuple[Array, Metrics]:
    r"""Mean negative log-likelihood of targets under independent normal distributions.

    .. math:: L = \frac{1}{m} \sum_j \Big( \frac{(y_j - \mu_j)^2}{2 \sigma_j^2} + \ln \sigma_j
        + \tfrac{1}{2} \ln 2 \pi \Big), \qquad \sigma = 0.1 + 0.9 \, \mathrm{softplus}(s)

    Args:
      outputs: ``[m, 2 * outputs]``: first :math:`\mu`, then :math:`s`.
      targets: :math:`y`, ``[m, outputs]``.

    Returns:
      The loss and ``{"mse": ...}``, both scalars.

    Raises:
      ValueError: for shapes that do not fit.

    Source: Garnelo et al. 2018, section 4.1; the floor of the deviation is its published code's.

    >>> loss, metrics = gaussian_loss(jnp.array([[1.0, 0.0]]), jnp.array([[3.0]]))
    >>> float(metrics["mse"])
    4.0
    """
    if outputs.ndim != 2 or outputs.shape != (len(targets), 2 * targets.shape[-1]):
        raise ValueError(
            f"outputs must be [m, 2 * outputs] for targets [m, outputs]; their shapes are "
            f"{outputs.shape} and {targets.shape}."
        )
    mean, spread = jnp.split(outputs, 2, axis=-1)
    deviation = 0.1 + 0.9 * jnp.logaddexp(spread, 0)
    error = targets - mean
    losses = 0.5 * jnp.square(error / deviation) + jnp.log(deviation) + 0.5 * jnp.log(2 * jnp.pi)
    return jnp.mean(losses), {"mse": jnp.mean(jnp.square(error))}
