"""Encoders of texts: tokens to features, padding left out of account."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

Cell = Literal["gru", "lstm"]
Readout = Literal["last", "mean", "max"]


class BagOfEmbeddings(nnx.Module):
    """The mean of the embeddings of a text's words, whatever their order, through a hidden layer.

    The features are the output of the hidden layer's ReLU.

    Args:
      vocabulary: number of tokens; 0 is padding.
      width: size of an embedding.
      features: size of the hidden layer; 0 for none, and then the mean is the features.
      dropout: share of the mean and of the features that is set to zero in training.
      rngs: source of the initial values, and of dropout.

    Returns:
      A module that maps tokens, int ``[n, length]``, to features ``[n, features]``.

    Source: Iyyer et al. 2015, a deep averaging network of one layer.

    >>> tokens = jnp.array([[4, 8, 15, 0], [16, 23, 42, 42]])
    >>> jax.eval_shape(
    ...     lambda x: BagOfEmbeddings(99, features=50, rngs=nnx.Rngs(0))(x), tokens
    ... ).shape
    (2, 50)
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        width: int = 100,
        features: int = 100,
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ) -> None:
        self.embedding = nnx.Embed(vocabulary, width, rngs=rngs)
        self.linear = nnx.Linear(width, features, rngs=rngs) if features else None
        self.dropout = nnx.Dropout(dropout, rngs=rngs) if dropout else None

    def __call__(self, x: jax.Array) -> jax.Array:
        y = _read_out(self.embedding(x), x != 0, "mean")
        y = y if self.dropout is None else self.dropout(y)
        if self.linear is None:
            return y
        y = nnx.relu(self.linear(y))
        return y if self.dropout is None else self.dropout(y)


class RecurrentEncoder(nnx.Module):
    r"""A GRU or an LSTM over a text's embeddings; the features are its hidden states, read out.

    GRU, with :math:`\circ` for the product of elements:

    .. math::
      r &= \sigma(W_r e_t + U_r h + b_r), \quad z = \sigma(W_z e_t + U_z h + b_z) \\
      c &= \tanh(W_c e_t + b_c + r \circ (U_c h + b'_c)), \quad h_t = (1 - z) \circ c + z \circ h

    LSTM:

    .. math::
      i, f, o &= \sigma(W_{i,f,o} e_t + U_{i,f,o} h + b_{i,f,o}), \quad
      g = \tanh(W_g e_t + U_g h + b_g) \\
      c_t &= f \circ c + i \circ g, \quad h_t = o \circ \tanh(c_t)

    A padding token leaves the state as it is, wherever it stands.

    Args:
      vocabulary: number of tokens; 0 is padding.
      width: size of an embedding.
      features: size of the hidden state.
      cell: ``"gru"`` or ``"lstm"``.
      readout: ``"last"`` (the state after the last word), or the ``"mean"`` or ``"max"`` over the
        states at words.
      dropout: share of the embeddings' channels and of the features that is set to zero in
        training.
      rngs: source of the initial values, and of dropout.

    Returns:
      A module that maps tokens, int ``[n, length]``, to features ``[n, features]``; a text of
      padding alone to zeros.

    Raises:
      ValueError: another cell or readout.

    Source: Cho et al. 2014 in the form of cuDNN, whose reset gate acts after the matrix product;
      Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000, whose bias starts at
      1 (Jozefowicz et al. 2015). Recurrent matrices start orthogonal.

    >>> tokens = jnp.array([[4, 8, 15, 0], [16, 23, 42, 42]])
    >>> encode = lambda x: RecurrentEncoder(99, features=50, rngs=nnx.Rngs(0))(x)
    >>> jax.eval_shape(encode, tokens).shape
    (2, 50)
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        width: int = 100,
        features: int = 100,
        cell: Cell = "gru",
        readout: Readout = "last",
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ) -> None:
        if cell not in ("gru", "lstm"):
            raise ValueError(f"cell must be 'gru' or 'lstm'; got {cell!r}.")
        if readout not in ("last", "mean", "max"):
            raise ValueError(f"readout must be 'last', 'mean' or 'max'; got {readout!r}.")
        first = [0.0, 0.0, 0.0] if cell == "gru" else [0.0, 1.0, 0.0, 0.0]
        gates = len(first)
        self.embedding = nnx.Embed(vocabulary, width, rngs=rngs)
        self.gates = nnx.Linear(
            width,
            gates * features,
            bias_init=lambda *_: jnp.repeat(jnp.array(first), features),
            rngs=rngs,
        )
        orthogonal = nnx.initializers.orthogonal()
        self.recurrent = nnx.Param(
            jnp.concatenate(
                [orthogonal(rngs.params(), (features, features)) for _ in range(gates)], 1
            )
        )
        self.candidate_bias = nnx.Param(jnp.zeros(features)) if cell == "gru" else None
        self.word_dropout = (
            nnx.Dropout(dropout, broadcast_dims=(1,), rngs=rngs) if dropout else None
        )
        self.dropout = nnx.Dropout(dropout, rngs=rngs) if dropout else None
        self.cell, self.readout, self.features = cell, readout, features

    def __call__(self, x: jax.Array) -> jax.Array:
        embedded = self.embedding(x)
        embedded = embedded if self.word_dropout is None else self.word_dropout(embedded)
        inputs = self.gates(embedded)  # of all steps at once; the loop has the rest
        recurrent, mask = self.recurrent[...], x != 0
        bias = None if self.candidate_bias is None else self.candidate_bias[...]

        def step(
            carry: tuple[jax.Array, jax.Array], at: tuple[jax.Array, jax.Array]
        ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
            hidden, memory = carry
            gates, word = at
            if bias is not None:
                new = _gru(gates, hidden @ recurrent, hidden, bias), memory
            else:
                new = _lstm(gates + hidden @ recurrent, memory)
            kept = [jnp.where(word[:, None], *pair) for pair in zip(new, carry, strict=True)]
            return (kept[0], kept[1]), kept[0]

        zeros = jnp.zeros((x.shape[0], self.features), inputs.dtype)
        (last, _), states = jax.lax.scan(step, (zeros, zeros), (inputs.swapaxes(0, 1), mask.T))
        if self.readout != "last":
            last = _read_out(states.swapaxes(0, 1), mask, self.readout)
        return last if self.dropout is None else self.dropout(last)


def _gru(gates: jax.Array, recurrent: jax.Array, hidden: jax.Array, bias: jax.Array) -> jax.Array:
    (r, z, c), (ur, uz, uc) = jnp.split(gates, 3, -1), jnp.split(recurrent, 3, -1)
    reset, update = nnx.sigmoid(r + ur), nnx.sigmoid(z + uz)
    candidate = jnp.tanh(c + reset * (uc + bias))
    return (1 - update) * candidate + update * hidden


def _lstm(gates: jax.Array, memory: jax.Array) -> tuple[jax.Array, jax.Array]:
    i, f, g, o = jnp.split(gates, 4, -1)
    memory = nnx.sigmoid(f) * memory + nnx.sigmoid(i) * jnp.tanh(g)
    return nnx.sigmoid(o) * jnp.tanh(memory), memory


def _read_out(states: jax.Array, mask: jax.Array, readout: Readout) -> jax.Array:
    """Over the words of ``[n, length, d]``; zeros where there is none."""
    mask = mask[..., None]
    if readout == "mean":
        return jnp.where(mask, states, 0).sum(1) / jnp.maximum(mask.sum(1), 1)
    highest = jnp.where(mask, states, -jnp.inf).max(1)
    return jnp.where(mask.any(1), highest, 0)
