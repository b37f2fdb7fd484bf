"""The block of BERT and ViT: attention and a feed-forward network, each around a residual."""

import jax
import jax.numpy as jnp
from flax import nnx

from jaxfer.models.layers import LayerNorm, Linear, gelu


class Bottleneck(nnx.Module):
    r"""An adapter that begins as the identity.

    .. math:: x \mapsto x + \mathrm{gelu}(x A + a) B + b

    Args:
      features: of the input.
      size: of the bottleneck, at least 1.
      rngs: source of the initial values; :math:`B` is 0.

    Returns:
      A module that maps ``[..., features]`` to the same shape.

    Source: Houlsby et al. 2019, Parameter-efficient transfer learning for NLP, section 2.1.

    >>> Bottleneck(3, 2, rngs=nnx.Rngs(0))(jnp.ones((1, 3)))
    Array([[1., 1., 1.]], dtype=float32)
    """

    def __init__(self, features: int, size: int, *, rngs: nnx.Rngs) -> None:
        if size < 1:
            raise ValueError(f"size must be at least 1; it is {size}.")
        self.down = Linear(features, size, rngs=rngs)
        self.up = Linear(size, features, kernel_init=nnx.initializers.zeros, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return x + self.up(gelu(self.down(x)))


class Attention(nnx.Module):
    r"""Multi-head self-attention.

    .. math:: \mathrm{softmax} \Big( \frac{Q K^\top}{\sqrt{d}} \Big) V \, W_o

    Args:
      width: of the tokens.
      heads: that share it evenly; :math:`d` is the width of one.
      dropout: share of the attention that is set to 0 in training.
      rngs: source of the initial values and of dropout.

    Returns:
      A module ``(x [n, length, width], mask [n, length]) -> [n, length, width]``; tokens whose mask
      is False are not attended to. ``None`` for the mask attends to all.

    Source: Vaswani et al. 2017, Attention is all you need, section 3.2.

    >>> attention = Attention(8, 2, rngs=nnx.Rngs(0))
    >>> attention(jnp.ones((3, 5, 8)), None).shape
    (3, 5, 8)
    """

    def __init__(self, width: int, heads: int, *, dropout: float = 0.0, rngs: nnx.Rngs) -> None:
        if width % heads:
            raise ValueError(f"heads must divide the width, {width}; there are {heads}.")
        self.query = Linear(width, width, rngs=rngs)
        self.key = Linear(width, width, rngs=rngs)
        self.value = Linear(width, width, rngs=rngs)
        self.output = Linear(width, width, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.heads = heads

    def weights(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
        """How much each token (third axis) attends to each (last), ``[n, heads, length, length]``.

        Args:
          x: as for the call.
          mask: as for the call.

        Returns:
          Rows that sum to 1.

        >>> attention = Attention(8, 2, rngs=nnx.Rngs(0))
        >>> attention.weights(jnp.ones((1, 2, 8)), None)[0, 0, 0]
        Array([0.5, 0.5], dtype=float32)
        """
        query, key = self._split(self.query(x)), self._split(self.key(x))
        # The query is scaled, not its products with all keys: they are many more.
        scores = jnp.einsum("nqhd,nkhd->nhqk", query * query.shape[-1] ** -0.5, key)
        if mask is not None:
            scores = jnp.where(mask[:, None, None, :], scores, jnp.finfo(scores.dtype).min)
        return jax.nn.softmax(scores)

    def __call__(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
        weights = self.dropout(self.weights(x, mask))
        mixed = jnp.einsum("nhqk,nkhd->nqhd", weights, self._split(self.value(x)))
        return self.output(mixed.reshape(x.shape))

    def _split(self, x: jax.Array) -> jax.Array:
        return x.reshape(*x.shape[:-1], self.heads, -1)


class TransformerBlock(nnx.Module):
    """Attention and a feed-forward network, each with a residual and a normalisation.

    Args:
      width: of the tokens.
      heads: of the attention.
      hidden: units of the feed-forward network.
      norm_first: whether a branch normalises its input (ViT), or the sum is normalised (BERT).
      epsilon: of the normalisations.
      dropout: share that is set to 0 in training, of the attention and of each branch.
      rngs: source of the initial values and of dropout.

    Returns:
      A module ``(x [n, length, width], mask [n, length] or None) -> [n, length, width]``. The taps
      ``attention_adapter`` and ``output_adapter`` take a module each, which then follows that
      branch, before its residual.

    Source: Devlin et al. 2019, BERT, section 3, and Dosovitskiy et al. 2021, An image is worth
      16x16 words, equations 2 and 3.

    >>> block = TransformerBlock(8, 2, 16, rngs=nnx.Rngs(0))
    >>> block(jnp.ones((3, 5, 8)), None).shape
    (3, 5, 8)
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        *,
        norm_first: bool = False,
        epsilon: float = 1e-12,
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ) -> None:
        self.attention = Attention(width, heads, dropout=dropout, rngs=rngs)
        self.attention_norm = LayerNorm(width, epsilon=epsilon)
        self.up = Linear(width, hidden, rngs=rngs)
        self.down = Linear(hidden, width, rngs=rngs)
        self.output_norm = LayerNorm(width, epsilon=epsilon)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.attention_adapter: nnx.Module | None = nnx.data(None)
        self.output_adapter: nnx.Module | None = nnx.data(None)
        self.norm_first = norm_first

    def __call__(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
        if self.norm_first:
            x = x + self._attend(self.attention_norm(x), mask)
            return x + self._feed_forward(self.output_norm(x))
        x = self.attention_norm(x + self._attend(x, mask))
        return self.output_norm(x + self._feed_forward(x))

    def attention_weights(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
        """How much each token (third axis) attends to each (last), before any dropout.

        The call does not keep these: what asks for both in one program computes them once.

        Args:
          x: as for the call.
          mask: as for the call.

        Returns:
          ``[n, heads, length, length]``, rows that sum to 1.

        >>> block = TransformerBlock(8, 2, 16, rngs=nnx.Rngs(0))
        >>> block.attention_weights(jnp.ones((3, 5, 8)), None).shape
        (3, 2, 5, 5)
        """
        return self.attention.weights(self.attention_norm(x) if self.norm_first else x, mask)

    def _attend(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
        return _adapted(self.dropout(self.attention(x, mask)), self.attention_adapter)

    def _feed_forward(self, x: jax.Array) -> jax.Array:
        return _adapted(self.dropout(self.down(gelu(self.up(x)))), self.output_adapter)


def _adapted(x: jax.Array, adapter: nnx.Module | None) -> jax.Array:
    return x if adapter is None else adapter(x)
