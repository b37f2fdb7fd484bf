"""Layers as published networks have them: dense, embedding, layer normalisation."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


class Factors(nnx.Module):
    r"""A correction of low rank beside a weight, never multiplied out.

    .. math:: x \mapsto \frac{\alpha}{r} (x A) B

    The weight's own gradient is not formed where only these are trained, and the products are as
    thin as the rank.

    Args:
      inputs: sizes of the weight's inputs: ``(in_features,)``.
      outputs: of the weight.
      rank: :math:`r`, at least 1.
      scale: :math:`\alpha / r`.
      rngs: source of the initial values: ``down`` uniform within one over the root of the inputs,
        ``up`` 0.

    Returns:
      A module that maps ``[..., in_features]`` to ``[..., outputs]``.

    Source: Hu et al. 2022, LoRA: low-rank adaptation of large language models, equation 3.

    >>> Factors((4,), 3, rank=2, scale=1.0, rngs=nnx.Rngs(0))(jnp.ones((5, 4))).shape
    (5, 3)
    """

    def __init__(
        self, inputs: tuple[int, ...], outputs: int, *, rank: int, scale: float, rngs: nnx.Rngs
    ) -> None:
        fan_in = 1
        for size in inputs:
            fan_in *= size
        if not 1 <= rank <= min(fan_in, outputs):
            raise ValueError(
                f"rank must be from 1 to {min(fan_in, outputs)}, the smaller side of the weight "
                f"{(*inputs, outputs)}; it is {rank}."
            )
        bound = fan_in**-0.5
        shape = (*inputs, rank)
        self.down = nnx.Param(jax.random.uniform(rngs.params(), shape, minval=-bound, maxval=bound))
        self.up = nnx.Param(jnp.zeros((rank, outputs)))
        self.scale = scale

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.scale * ((x @ self.down[...]) @ self.up[...])


class Linear(nnx.Module):
    """A dense layer, to which :func:`add_low_rank` may give a correction of low rank.

    Args:
      in_features: of the last axis.
      out_features: outputs.
      use_bias: whether to add a bias.
      kernel_init: initialiser of the kernel; by default normal with deviation 0.02, as BERT's.
      rngs: source of the initial values.

    Returns:
      A module that maps ``[..., in_features]`` to ``[..., out_features]``.

    >>> Linear(4, 3, rngs=nnx.Rngs(0))(jnp.ones((5, 4))).shape
    (5, 3)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        use_bias: bool = True,
        kernel_init: Callable[..., jax.Array] | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        init = kernel_init or nnx.initializers.normal(0.02)
        self.kernel = nnx.Param(init(rngs.params(), (in_features, out_features)))
        self.bias = nnx.Param(jnp.zeros(out_features)) if use_bias else None
        self.low_rank: Factors | None = nnx.data(None)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x @ self.kernel[...]
        if self.low_rank is not None:
            y = y + self.low_rank(x)
        return y if self.bias is None else y + self.bias[...]


class Embedding(nnx.Module):
    """A table of vectors, one for each integer.

    Args:
      entries: how many.
      features: size of a vector.
      rngs: source of the initial values, normal with deviation 0.02.

    Returns:
      A module that maps integers ``[...]`` to ``[..., features]``.

    >>> Embedding(10, 4, rngs=nnx.Rngs(0))(jnp.array([[1, 2, 3]])).shape
    (1, 3, 4)
    """

    def __init__(self, entries: int, features: int, *, rngs: nnx.Rngs) -> None:
        self.table = nnx.Param(nnx.initializers.normal(0.02)(rngs.params(), (entries, features)))

    def __call__(self, index: jax.Array | np.ndarray) -> jax.Array:
        return self.table[...][index]


class LayerNorm(nnx.Module):
    r"""Normalisation of the last axis, with a scale and a shift.

    .. math:: y = \gamma \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta

    Args:
      features: size of the last axis.
      epsilon: added to the biased variance: 1e-12 in BERT, 1e-6 in ViT of timm, 1e-5 in PyTorch.
      rngs: unused, as the initial values are constants; every module takes it.

    Returns:
      A module that maps ``[..., features]`` to ``[..., features]``.

    Source: Ba et al. 2016, Layer normalization, equation 4. The variance is that of the differences
      from the mean, which loses nothing where the mean is large.

    >>> LayerNorm(2, epsilon=0.0)(jnp.array([[1.0, 3.0]]))
    Array([[-1.,  1.]], dtype=float32)
    """

    def __init__(
        self, features: int, *, epsilon: float = 1e-12, rngs: nnx.Rngs | None = None
    ) -> None:
        del rngs
        self.scale = nnx.Param(jnp.ones(features))
        self.bias = nnx.Param(jnp.zeros(features))
        self.epsilon = epsilon

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x - jnp.mean(x, axis=-1, keepdims=True)
        variance = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
        return x * jax.lax.rsqrt(variance + self.epsilon) * self.scale[...] + self.bias[...]


def gelu(x: jax.Array) -> jax.Array:
    r"""The Gaussian error linear unit by the error function, as BERT and ViT were trained with.

    .. math:: x \, \Phi(x)

    Args:
      x: any shape.

    Returns:
      Of the same shape. ``jax.nn.gelu`` approximates it by a hyperbolic tangent by default, which
      differs in the fourth digit.

    >>> f"{gelu(jnp.array(1.0)):.6f}"
    '0.841345'
    """
    return jax.nn.gelu(x, approximate=False)
