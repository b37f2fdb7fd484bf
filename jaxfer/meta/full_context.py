"""Full-context embeddings: features of each example in the light of the whole support set."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxfer.divergences.options import check_count
from jaxfer.divergences.samples import floating
from jaxfer.typing import Key, PyTree


class FullContext(NamedTuple):
    """Features of support and queries in each other's light, as two pure functions.

    Attributes:
      init: ``init(key) -> params``.
      apply: ``apply(params, support, query) -> (support, query)``, features in and out.

    >>> context = full_context(3)
    >>> context.apply(context.init(jax.random.key(0)), jnp.ones((5, 3)), jnp.ones((2, 3)))[0].shape
    (5, 3)
    """

    init: Any
    apply: Any


def full_context(features: int, *, steps: int = 5) -> FullContext:
    r"""The full-context embeddings of matching networks.

    .. math::
        g_i = \overrightarrow{h}_i + \overleftarrow{h}_i + s_i, \qquad
        h_t = \mathrm{LSTM}(q, [h_{t-1}, r_{t-1}]) + q, \qquad
        r_t = \sum_i \mathrm{softmax}_i(h_t \cdot g_i) \, g_i

    A bidirectional LSTM reads the support features :math:`s` one after the other; a second LSTM
    reads each query's features :math:`q` some steps long, and looks at the support set between
    them. The first depends on the order of the support examples, as published.

    Args:
      features: how many each example has.
      steps: of the second LSTM.

    Returns:
      The :class:`FullContext`; its queries come out as the last :math:`h`.

    Raises:
      TypeError: for what is not an integer.
      ValueError: for a number below 1.

    Source: Vinyals et al. 2016, section 2.1.2 and appendix A. The read-out :math:`r` is joined to
    the hidden state, which makes the second LSTM's recurrent weights twice as wide.

    >>> context = full_context(2, steps=3)
    >>> params = context.init(jax.random.key(0))
    >>> support, query = context.apply(params, jnp.eye(2), jnp.ones((4, 2)))
    >>> support.shape, query.shape
    ((2, 2), (4, 2))
    """
    check_count("features", features)
    check_count("steps", steps)

    def init(key: Key) -> PyTree:
        keys = jax.random.split(key, 3)
        return {
            "forward": _lstm_init(keys[0], features, features, features),
            "backward": _lstm_init(keys[1], features, features, features),
            "query": _lstm_init(keys[2], features, 2 * features, features),
        }

    def apply(params: PyTree, support: Array, query: Array) -> tuple[Array, Array]:
        support, query = floating("support", support), floating("query", query)
        for name, array in (("support", support), ("query", query)):
            if array.ndim != 2 or array.shape[1] != features:
                raise ValueError(
                    f"{name} must be an array [n, {features}]; its shape is {array.shape}."
                )
        seen = support + _read(params["forward"], support) + _read(params["backward"], support, -1)

        def step(carry: tuple[Array, Array, Array], _: None) -> tuple[Any, None]:
            hidden, readout, cell = carry
            both = jnp.concatenate([hidden, readout], -1)
            hidden, cell = _lstm(params["query"], query, both, cell)
            hidden = hidden + query
            attention = jax.nn.softmax(hidden @ seen.T, axis=-1)
            return (hidden, attention @ seen, cell), None

        start = jnp.zeros_like(query)
        (hidden, _, _), _ = lax.scan(step, (start, start, start), None, length=steps)
        return seen, hidden

    return FullContext(init, apply)


def _lstm_init(key: Key, inputs: int, recurrent: int, hidden: int) -> PyTree:
    scale = 1 / jnp.sqrt(inputs + recurrent)
    weight = scale * jax.random.normal(key, (inputs + recurrent, 4 * hidden))
    # Gates: input, forget, cell, output; the second open at the start.
    bias = jnp.zeros((4, hidden)).at[1].set(1.0)
    return {"weight": weight, "bias": bias.reshape(-1)}


def _lstm(params: PyTree, x: Array, hidden: Array, cell: Array) -> tuple[Array, Array]:
    gates = jnp.concatenate([x, hidden], -1) @ params["weight"] + params["bias"]
    enter, forget, new, leave = jnp.split(gates, 4, axis=-1)
    cell = jax.nn.sigmoid(forget) * cell + jax.nn.sigmoid(enter) * jnp.tanh(new)
    return jax.nn.sigmoid(leave) * jnp.tanh(cell), cell


def _read(params: PyTree, sequence: Array, direction: int = 1) -> Array:
    """The hidden states of an LSTM that reads a sequence ``[n, features]``."""

    def step(carry: tuple[Array, Array], x: Array) -> tuple[tuple[Array, Array], Array]:
        carry = _lstm(params, x, *carry)
        return carry, carry[0]

    start = jnp.zeros(sequence.shape[1:], sequence.dtype)
    return lax.scan(step, (start, start), sequence, reverse=direction < 0)[1]
