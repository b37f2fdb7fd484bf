"""BERT, DistilBERT and MiniLM: encoders of tokens, and a classifier of texts on them."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxfer.models.layers import Embedding, LayerNorm, Linear
from jaxfer.models.transformer import TransformerBlock
from jaxfer.typing import Classification, Tokens

Pooling = Literal["mean", "first"]


class BertConfig(NamedTuple):
    """The sizes of an encoder; the defaults are those of BERT-base.

    Attributes:
      vocabulary: how many tokens there are.
      width: of a token.
      layers: blocks.
      heads: of each attention.
      hidden: units of each feed-forward network.
      positions: the most tokens that a text has.
      segments: kinds of sentence; 0 for an encoder without such an embedding (DistilBERT).
      epsilon: of the normalisations.
      dropout: share that is set to 0 in training.

    >>> MINILM.layers, MINILM.width
    (6, 384)
    """

    vocabulary: int = 30522
    width: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int = 3072
    positions: int = 512
    segments: int = 2
    epsilon: float = 1e-12
    dropout: float = 0.1


BERT_BASE = BertConfig()
DISTILBERT = BertConfig(layers=6, segments=0)
MINILM = BertConfig(width=384, layers=6, hidden=1536)


class Bert(nnx.Module):
    """The encoder, from tokens to vectors.

    Args:
      config: its sizes.
      prompt: vectors that stand before every text and are trained in the place of the network
        (prompt tuning); 0 for none. They take the first positions' places, without position or
        segment, and are left out of what comes back.
      rngs: source of the initial values and of dropout.

    Returns:
      A module that maps :class:`Tokens` to ``[n, length, width]``.

    Raises:
      ValueError: for texts longer than ``positions``.

    Source: Devlin et al. 2019, BERT, section 3; Sanh et al. 2019, DistilBERT, section 3; Wang et
      al. 2020, MiniLM, for the sizes. Prompts: Lester et al. 2021, The power of scale for
      parameter-efficient prompt tuning, section 2.

    >>> small = BertConfig(vocabulary=50, width=8, layers=2, heads=2, hidden=16, positions=10)
    >>> ids = jnp.array([[2, 7, 3, 0]])
    >>> Bert(small, rngs=nnx.Rngs(0))(Tokens(ids, ids > 0)).shape
    (1, 4, 8)
    """

    def __init__(self, config: BertConfig, *, prompt: int = 0, rngs: nnx.Rngs) -> None:
        width, epsilon = config.width, config.epsilon
        self.words = Embedding(config.vocabulary, width, rngs=rngs)
        self.positions = Embedding(config.positions, width, rngs=rngs)
        self.segments = Embedding(config.segments, width, rngs=rngs) if config.segments else None
        self.norm = LayerNorm(width, epsilon=epsilon)
        self.dropout = nnx.Dropout(config.dropout, rngs=rngs)
        for i in range(config.layers):
            block = TransformerBlock(
                width, config.heads, config.hidden, epsilon=epsilon, dropout=config.dropout,
                rngs=rngs,
            )  # fmt: skip
            setattr(self, f"block{i}", block)
        init = nnx.initializers.normal(0.02)
        self.prompt = nnx.Param(init(rngs.params(), (prompt, width))) if prompt else None
        self.config = config

    def embed(self, tokens: Tokens) -> jax.Array:
        """The input of the first block, by which saliency is taken, ``[n, length, width]``.

        Args:
          tokens: as for the call.

        Returns:
          Sums of the embeddings, normalised.
        """
        length = tokens.ids.shape[1]
        if length > self.config.positions:
            raise ValueError(
                f"texts of {length} tokens are longer than the {self.config.positions} positions "
                "of the encoder; cut them off when they are tokenised."
            )
        x = self.words(tokens.ids) + self.positions(jnp.arange(length))
        if self.segments is not None:
            segments = jnp.zeros_like(tokens.ids) if tokens.segments is None else tokens.segments
            x = x + self.segments(segments)
        return self.dropout(self.norm(x))

    def encode(self, x: jax.Array, mask: jax.Array | np.ndarray) -> dict[str, jax.Array]:
        """What every block makes of embedded tokens, by its name: ``embedded``, ``block0``, ...

        Args:
          x: from :meth:`embed`.
          mask: ``[n, length]``.

        Returns:
          Arrays ``[n, length, width]``, the last one last.
        """
        taps, prompts = {"embedded": x}, self._prompts()
        for i, (_, after, _) in enumerate(self._through(x, mask)):
            taps[f"block{i}"] = after[:, prompts:]
        return taps

    def attention_maps(self, tokens: Tokens) -> jax.Array:
        """How much each token attends to each in every block, for ``attention_rollout``.

        Args:
          tokens: as for the call.

        Returns:
          ``[layers, n, heads, length, length]``, rows that sum to 1. Where there are prompts, they
          are the first of the tokens.
        """
        steps = self._through(self.embed(tokens), tokens.mask)
        return jnp.stack(
            [
                getattr(self, f"block{i}").attention_weights(x, mask)
                for i, (x, _, mask) in enumerate(steps)
            ]
        )

    def _prompts(self) -> int:
        return 0 if self.prompt is None else self.prompt.shape[0]

    def _through(
        self, x: jax.Array, mask: jax.Array | np.ndarray
    ) -> Iterator[tuple[jax.Array, jax.Array, jax.Array | np.ndarray]]:
        """What goes into each block and what comes out, with the mask; prompts first."""
        if self.prompt is not None:
            prompts = self._prompts()
            before = jnp.broadcast_to(self.prompt[...], (len(x), prompts, x.shape[2]))
            x = jnp.concatenate([before, x], axis=1)
            mask = jnp.concatenate([jnp.ones((len(mask), prompts), bool), mask], axis=1)
        for i in range(self.config.layers):
            after = getattr(self, f"block{i}")(x, mask)
            yield x, after, mask
            x = after

    def __call__(self, tokens: Tokens) -> jax.Array:
        taps = self.encode(self.embed(tokens), tokens.mask)
        return taps[f"block{self.config.layers - 1}"]


class TextClassifier(nnx.Module):
    """An encoder of texts with a linear head.

    Args:
      config: of the encoder.
      classes: of the head.
      pooling: ``"mean"`` of all tokens, as sentence-transformers do, or the ``"first"`` token.
      dropout: share of the features that is set to 0 in training before the head.
      prompt: as for :class:`Bert`.
      rngs: source of the initial values and of dropout.

    Returns:
      A module that maps :class:`Tokens` to :class:`Classification`.

    >>> small = BertConfig(vocabulary=50, width=8, layers=1, heads=2, hidden=16, positions=10)
    >>> ids = jnp.array([[2, 7, 3, 0]])
    >>> TextClassifier(small, classes=3, rngs=nnx.Rngs(0))(Tokens(ids, ids > 0)).logits.shape
    (1, 3)
    """

    def __init__(
        self,
        config: BertConfig,
        *,
        classes: int,
        pooling: Pooling = "mean",
        dropout: float = 0.1,
        prompt: int = 0,
        rngs: nnx.Rngs,
    ) -> None:
        if pooling not in ("mean", "first"):
            raise ValueError(f"pooling must be 'mean' or 'first'; it is {pooling!r}.")
        self.encoder = Bert(config, prompt=prompt, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.head = Linear(config.width, classes, rngs=rngs)
        self.pooling = pooling

    def taps(self, tokens: Tokens) -> dict[str, jax.Array]:
        """What each layer makes of a text, pooled: ``embedded``, ``block0``, ...

        Args:
          tokens: the texts.

        Returns:
          Arrays ``[n, width]`` by name.
        """
        found = self.encoder.encode(self.encoder.embed(tokens), tokens.mask)
        return {name: self._pool(x, tokens.mask) for name, x in found.items()}

    def classify(self, x: jax.Array, mask: jax.Array | np.ndarray) -> Classification:
        """The same from embedded tokens on.

        Args:
          x: from ``encoder.embed``.
          mask: ``[n, length]``.

        Returns:
          Features and logits.
        """
        *_, last = self.encoder.encode(x, mask).values()
        features = self._pool(last, mask)
        return Classification(features, self.head(self.dropout(features)))

    def __call__(self, tokens: Tokens) -> Classification:
        return self.classify(self.encoder.embed(tokens), tokens.mask)

    def _pool(self, x: jax.Array, mask: jax.Array | np.ndarray) -> jax.Array:
        return x[:, 0] if self.pooling == "first" else mean_of_tokens(x, mask)


def mean_of_tokens(x: jax.Array, mask: jax.Array | np.ndarray) -> jax.Array:
    """The mean over the tokens of each text that are no padding.

    Args:
      x: ``[n, length, width]``.
      mask: ``[n, length]``, False for padding.

    Returns:
      ``[n, width]``; 0 for a text without a token.

    >>> mean_of_tokens(jnp.array([[[1.0], [3.0], [9.0]]]), jnp.array([[True, True, False]]))
    Array([[2.]], dtype=float32)
    """
    present = mask[..., None].astype(x.dtype)
    return jnp.sum(x * present, axis=1) / jnp.maximum(jnp.sum(present, axis=1), 1)
