"""SNAIL: a sequence read by convolutions that look back and attention that picks what it needs."""

import math

import jax
import jax.numpy as jnp
from flax import nnx


class CausalConv(nnx.Module):
    """A convolution over time of two steps: this one, and the one ``dilation`` before.

    Args:
      in_features: channels of the input.
      out_features: channels of the output.
      dilation: how far back it looks, in steps.
      rngs: source of the initial values.

    Returns:
      A module that maps ``[n, time, in_features]`` to ``[n, time, out_features]``; before the first
      step stands 0.

    >>> build = lambda: CausalConv(3, 4, dilation=2, rngs=nnx.Rngs(0))
    >>> nnx.eval_shape(lambda: build()(jnp.zeros((5, 7, 3)))).shape
    (5, 7, 4)
    """

    def __init__(
        self, in_features: int, out_features: int, *, dilation: int, rngs: nnx.Rngs
    ) -> None:
        # One product for both steps: no convolution, so that vmap and scan keep their speed.
        self.linear = nnx.Linear(2 * in_features, out_features, rngs=rngs)
        self.dilation = dilation

    def __call__(self, x: jax.Array) -> jax.Array:
        before = jnp.pad(x, ((0, 0), (self.dilation, 0), (0, 0)))[:, : x.shape[1]]
        return self.linear(jnp.concatenate([before, x], -1))


class Snail(nnx.Module):
    """Attention, temporal convolutions, attention, convolutions, attention, and a linear layer.

    Args:
      in_features: channels of the input.
      out_features: channels of the output.
      length: of the longest sequence: the convolutions together look back that far.
      filters: channels that each temporal convolution adds; 128 in the paper.
      keys: of the three attention blocks, and half of their values.
      rngs: source of the initial values.

    Returns:
      A module that maps ``[n, time, in_features]`` to ``[n, time, out_features]``; no output
      depends on a later input.

    Raises:
      ValueError: if ``length`` is below 2.

    Source: Mishra et al. 2018, A simple neural attentive meta-learner, section 3 and appendix A.

    >>> build = lambda: Snail(in_features=6, out_features=5, length=7, filters=8, rngs=nnx.Rngs(0))
    >>> nnx.eval_shape(lambda: build()(jnp.zeros((3, 7, 6)))).shape
    (3, 7, 5)
    """

    def __init__(
        self,
        *,
        in_features: int,
        out_features: int,
        length: int,
        filters: int = 128,
        keys: tuple[int, int, int] = (64, 256, 512),
        rngs: nnx.Rngs,
    ) -> None:
        if length < 2:
            raise ValueError(f"length must be at least 2; got {length}.")
        self.levels = math.ceil(math.log2(length))
        width = in_features
        for block, size in enumerate(keys):
            setattr(self, f"query{block}", nnx.Linear(width, size, rngs=rngs))
            setattr(self, f"key{block}", nnx.Linear(width, size, rngs=rngs))
            setattr(self, f"value{block}", nnx.Linear(width, max(1, size // 2), rngs=rngs))
            width += max(1, size // 2)
            if block == 2:
                break
            for level in range(self.levels):
                for gate in ("filter", "gate"):
                    conv = CausalConv(width, filters, dilation=2**level, rngs=rngs)
                    setattr(self, f"{gate}{block}_{level}", conv)
                width += filters
        self.head = nnx.Linear(width, out_features, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        for block in range(3):
            x = self._attend(x, block)
            if block < 2:
                for level in range(self.levels):
                    new = jnp.tanh(getattr(self, f"filter{block}_{level}")(x))
                    new = new * jax.nn.sigmoid(getattr(self, f"gate{block}_{level}")(x))
                    x = jnp.concatenate([x, new], -1)
        return self.head(x)

    def _attend(self, x: jax.Array, block: int) -> jax.Array:
        queries, keys, values = (
            getattr(self, f"{name}{block}")(x) for name in ("query", "key", "value")
        )
        logits = jnp.einsum("nqf,nkf->nqk", queries, keys) / math.sqrt(keys.shape[-1])
        earlier = jnp.tril(jnp.ones((x.shape[1], x.shape[1]), bool))
        attention = jax.nn.softmax(jnp.where(earlier, logits, -jnp.inf), axis=-1)
        return jnp.concatenate([x, attention @ values], -1)
