"""Fully connected networks."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx


class Mlp(nnx.Module):
    """Linear layers with ReLU between them, the last one named ``head``.

    Args:
      features: sizes of input, hidden layers and output.
      context: size of a vector of context parameters that is appended to the input (CAVIA); 0 for
        none.
      rngs: source of the initial values.

    Returns:
      A module that maps ``[n, features[0]]`` to ``[n, features[-1]]``.

    Raises:
      ValueError: if there are fewer than two sizes.

    >>> Mlp([1, 40, 40, 1], rngs=nnx.Rngs(0))(jnp.zeros((5, 1))).shape
    (5, 1)
    """

    def __init__(self, features: Sequence[int], *, context: int = 0, rngs: nnx.Rngs) -> None:
        if len(features) < 2:
            raise ValueError(f"features needs the sizes of input and output; got {features}.")
        sizes = [features[0] + context, *features[1:]]
        for i, (before, after) in enumerate(zip(sizes[:-2], sizes[1:-1], strict=True)):
            setattr(self, f"layer{i}", nnx.Linear(before, after, rngs=rngs))
        self.head = nnx.Linear(sizes[-2], sizes[-1], rngs=rngs)
        self.hidden = len(sizes) - 2
        self.context = nnx.Param(jnp.zeros(context)) if context else None

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.context is not None:
            context = jnp.broadcast_to(self.context[...], (*x.shape[:-1], self.context.shape[0]))
            x = jnp.concatenate([x, context], -1)
        for i in range(self.hidden):
            x = nnx.relu(getattr(self, f"layer{i}")(x))
        return self.head(x)
