"""Encoders of one or more dense layers, for vectors and for rows that are mostly zero."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx


class SparseLinear(nnx.Module):
    r"""A linear layer for rows that are mostly zero, given by indices and values.

    .. math:: y_{if} = b_f + \sum_k v_{ik} W_{j_{ik} f}

    Args:
      in_features: length of a row; an index of this or more is padding and adds nothing.
      out_features: outputs.
      rngs: source of the initial values, those of ``nnx.Linear``.

    Returns:
      A module ``(indices [n, k] int, values [n, k]) -> [n, out_features]``.

    >>> layer = SparseLinear(4, 2, rngs=nnx.Rngs(0))
    >>> x = jnp.array([[0.0, 3.0, 0.0, 2.0]])
    >>> sparse = layer(jnp.array([[1, 3, 4]]), jnp.array([[3.0, 2.0, 9.0]]))
    >>> bool(jnp.allclose(sparse, x @ layer.kernel[...] + layer.bias[...]))
    True
    """

    def __init__(self, in_features: int, out_features: int, *, rngs: nnx.Rngs) -> None:
        self.kernel = nnx.Param(
            nnx.initializers.lecun_normal()(rngs.params(), (in_features, out_features))
        )
        self.bias = nnx.Param(jnp.zeros(out_features))

    def __call__(self, indices: jax.Array, values: jax.Array) -> jax.Array:
        rows = self.kernel[...].at[indices].get(mode="fill", fill_value=0)
        return jnp.einsum("nk,nkf->nf", values, rows) + self.bias[...]


class DenseEncoder(nnx.Module):
    """Dense layers, each with an activation: the features are the output of the last activation.

    Args:
      sizes: of the input and of each layer; ``[5000, 100]`` is the network of the DANN paper for
        Amazon reviews.
      activation: applied after each layer.
      dropout: share of the output of each layer that is set to zero in training.
      sparse: whether the input is rows that are mostly zero, ``(indices, values)`` as
        :class:`SparseLinear` takes them.
      rngs: source of the initial values, and of dropout.

    Returns:
      A module that maps ``[n, sizes[0]]``, or ``(indices, values)``, to features
      ``[n, sizes[-1]]``.

    Raises:
      ValueError: if there are fewer than two sizes.

    Source: Ganin et al. 2016, equation 4, whose activation is the sigmoid, ``nnx.sigmoid``.

    >>> DenseEncoder([5000, 100], rngs=nnx.Rngs(0))(jnp.zeros((3, 5000))).shape
    (3, 100)
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: Callable[[jax.Array], jax.Array] = nnx.relu,
        dropout: float = 0.0,
        sparse: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        if len(sizes) < 2:
            raise ValueError(f"sizes needs those of the input and of a layer; got {sizes}.")
        self.layers = len(sizes) - 1
        for i, (before, after) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
            kind = SparseLinear if sparse and i == 0 else nnx.Linear
            setattr(self, f"layer{i}", kind(before, after, rngs=rngs))
        self.dropout = nnx.Dropout(dropout, rngs=rngs) if dropout else None
        self.activation, self.sparse = activation, sparse

    def __call__(self, x: jax.Array | tuple[jax.Array, jax.Array]) -> jax.Array:
        for i in range(self.layers):
            layer = getattr(self, f"layer{i}")
            x = self.activation(layer(*x) if self.sparse and i == 0 else layer(x))
            x = x if self.dropout is None else self.dropout(x)
        return x  # type: ignore[return-value]
