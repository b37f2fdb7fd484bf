"""Fisher information of parameters: how much a prediction turns on each of them."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array

from jaxfer.divergences.options import check_count
from jaxfer.divergences.samples import floating
from jaxfer.typing import Key, PyTree

Estimator = Literal["exact", "sampled", "empirical"]


def fisher_diagonal(
    logits_fn: Callable[[PyTree, PyTree], Array],
    params: PyTree,
    x: PyTree,
    *,
    estimator: Estimator,
    labels: Any = None,
    key: Key | None = None,
    chunk: int = 32,
) -> PyTree:
    r"""Diagonal of a classifier's Fisher information, from per-example gradients (of a data set).

    .. math:: F_i = \frac{1}{n} \sum_x \sum_k q_k(x)
       \Big( \frac{\partial \ln p(k \mid x)}{\partial w_i} \Big)^2

    Each gradient is that of one example: the square of a batch's mean gradient is another, much
    smaller thing. The estimators differ in :math:`q`:

    - ``"exact"``: the network's own :math:`p(k \mid x)`, a gradient for each class;
    - ``"sampled"``: one class drawn from it, the same in expectation, with one gradient;
    - ``"empirical"``: the true label. It is not the Fisher information, and vanishes where the
      network is right and sure.

    Args:
      logits_fn: ``logits_fn(params, example) -> [classes]`` of a single example, without its axis.
      params: any pytree of floating point; ``None`` leaves are passed over, so that it may be the
        trained half that ``partition`` gives.
      x: the examples, any pytree of arrays ``[n, ...]``.
      estimator: which.
      labels: ``[n]`` integers, for ``"empirical"`` alone.
      key: for ``"sampled"`` alone.
      chunk: examples whose gradients are held at once, at least 1.

    Returns:
      A pytree of the structure and shapes of ``params``, not negative.

    Raises:
      TypeError: for a chunk that is no integer, or logits that are not of floating point.
      ValueError: for another estimator, labels or a key that are missing or of no use, or shapes
        that do not fit.

    Source: Martens 2020, New insights and perspectives on the natural gradient method, section 5
      for the Fisher information and section 11 for the empirical one. Used in L2-SP-Fisher and
      elastic weight consolidation.

    >>> def logits_fn(params, x):
    ...     return jnp.stack([params["w"] * x, 0.0])
    >>> fisher_diagonal(logits_fn, {"w": jnp.array(0.0)}, jnp.array([2.0]), estimator="exact")
    {'w': Array(1., dtype=float32)}
    """
    check_count("chunk", chunk)
    if estimator not in ("exact", "sampled", "empirical"):
        raise ValueError(
            f"estimator must be 'exact', 'sampled' or 'empirical'; it is {estimator!r}."
        )
    for name, value, needed_by in (("labels", labels, "empirical"), ("key", key, "sampled")):
        if (value is None) == (estimator == needed_by):
            verb = "needs" if value is None else "makes no use of"
            raise ValueError(f"estimator={estimator!r} {verb} {name}.")
    sizes = {leaf.shape[:1] for leaf in map(jnp.asarray, jax.tree.leaves(x))}
    if len(sizes) != 1 or sizes == {()} or sizes == {(0,)}:
        raise ValueError(f"x must hold arrays [n, ...] of one n; the first axes are {sizes}.")
    n = sizes.pop()[0]
    chosen = jnp.zeros(n, jnp.int32) if labels is None else jnp.asarray(labels)
    if chosen.shape != (n,) or not jnp.issubdtype(chosen.dtype, jnp.integer):
        raise ValueError(f"labels must be integers {(n,)}; they are {chosen.dtype} {chosen.shape}.")
    keys = jax.random.split(jax.random.key(0) if key is None else key, n)

    def log_probabilities(params: PyTree, example: PyTree) -> Array:
        logits = floating("logits", logits_fn(params, example))
        if logits.ndim != 1:
            raise ValueError(f"logits_fn must give [classes]; it gives {logits.shape}.")
        return jax.nn.log_softmax(logits)

    def of_one(inputs: tuple[PyTree, Array, Key]) -> PyTree:
        example, label, example_key = inputs
        logs, pull = jax.vjp(lambda p: log_probabilities(p, example), params)
        if estimator == "exact":
            gradients = jax.vmap(lambda seed: pull(seed)[0])(jnp.eye(len(logs), dtype=logs.dtype))
            return jax.tree.map(
                lambda g: jnp.tensordot(jnp.exp(logs), jnp.square(g), axes=1), gradients
            )
        if estimator == "sampled":
            label = jax.random.categorical(example_key, logs)
        (gradient,) = pull(jax.nn.one_hot(label, len(logs), dtype=logs.dtype))
        return jax.tree.map(jnp.square, gradient)

    # Chunk after chunk: all gradients at once would be n times the parameters.
    each = jax.tree.map(jnp.zeros_like, params)

    def add(total: PyTree, some: tuple[PyTree, Array, Key]) -> tuple[PyTree, None]:
        summed = jax.tree.map(lambda s: jnp.sum(s, axis=0), jax.vmap(of_one)(some))
        return jax.tree.map(jnp.add, total, summed), None

    everything = (jax.tree.map(jnp.asarray, x), chosen, keys)
    whole = n // chunk * chunk
    if whole:
        chunks = jax.tree.map(
            lambda leaf: leaf[:whole].reshape(-1, chunk, *leaf.shape[1:]), everything
        )
        each, _ = jax.lax.scan(add, each, chunks)
    if whole < n:
        each, _ = add(each, jax.tree.map(lambda leaf: leaf[whole:], everything))
    return jax.tree.map(lambda total: total / n, each)
