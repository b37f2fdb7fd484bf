"""A recurrent encoder of spectrograms."""

import jax
import jax.numpy as jnp
from flax import nnx

from jaxfer.models.layers import Linear


class RecurrentSpeechEncoder(nnx.Module):
    r"""Gated recurrent units that read a spectrogram forwards and backwards, averaged over time.

    .. math::
        r &= \sigma(W_r x_t + U_r h + b_r), \quad z = \sigma(W_z x_t + U_z h + b_z) \\
        c &= \tanh(W_c x_t + b_c + r \circ (U_c h)), \quad h_t = (1 - z) \circ c + z \circ h

    Args:
      mels: bands of a spectrogram.
      features: of the result, an even number: half of each direction.
      dropout: share of the features that is set to zero in training.
      rngs: source of the initial values, and of dropout.

    Returns:
      A module that maps ``[n, frames, mels]`` to ``[n, features]``.

    Raises:
      ValueError: for an odd number of features.

    Source: Cho et al. 2014, Learning phrase representations using RNN encoder-decoder, section 2.3,
      in the form of cuDNN; Schuster and Paliwal 1997, Bidirectional recurrent neural networks.

    >>> encode = lambda x: RecurrentSpeechEncoder(features=8, rngs=nnx.Rngs(0))(x)
    >>> jax.eval_shape(encode, jnp.zeros((2, 61, 40))).shape
    (2, 8)
    """

    def __init__(
        self, *, mels: int = 40, features: int = 128, dropout: float = 0.0, rngs: nnx.Rngs
    ) -> None:
        if features % 2:
            raise ValueError(f"features must be even, half for each direction; got {features}.")
        half, init = features // 2, nnx.initializers.lecun_normal()
        orthogonal = nnx.initializers.orthogonal()

        def recurrent() -> nnx.Param:
            blocks = [orthogonal(rngs.params(), (half, half)) for _ in range(3)]
            return nnx.Param(jnp.concatenate(blocks, axis=1))

        self.forward_gates = Linear(mels, 3 * half, kernel_init=init, rngs=rngs)
        self.forward_recurrent = recurrent()
        self.backward_gates = Linear(mels, 3 * half, kernel_init=init, rngs=rngs)
        self.backward_recurrent = recurrent()
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.half = half

    def taps(self, x: jax.Array) -> dict[str, jax.Array]:
        """The states of both directions at each frame, and the means over them.

        Args:
          x: as for the call.

        Returns:
          Arrays by name: ``forward`` and ``backward`` ``[n, frames, features / 2]``, in the order
          of the frames, and ``features`` before their dropout ``[n, features]``.
        """
        forward = self._read(x, self.forward_gates, self.forward_recurrent[...])
        backward = self._read(x[:, ::-1], self.backward_gates, self.backward_recurrent[...])
        found = {"forward": forward, "backward": backward[::-1]}
        features = jnp.concatenate([forward.mean(0), backward.mean(0)], axis=-1)
        return {
            **{name: jnp.moveaxis(states, 0, 1) for name, states in found.items()},
            "features": features,
        }

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.dropout(self.taps(x)["features"])

    def _read(self, x: jax.Array, gates: Linear, recurrent: jax.Array) -> jax.Array:
        # All products with the input at once; what is left in the loop is as thin as can be.
        inputs = jnp.moveaxis(gates(x), 1, 0)

        def step(h: jax.Array, given: jax.Array) -> tuple[jax.Array, jax.Array]:
            reset, keep, new = jnp.split(given, 3, axis=-1)
            by_reset, by_keep, by_new = jnp.split(h @ recurrent, 3, axis=-1)
            candidate = jnp.tanh(new + nnx.sigmoid(reset + by_reset) * by_new)
            kept = nnx.sigmoid(keep + by_keep)
            h = (1 - kept) * candidate + kept * h
            return h, h

        _, states = jax.lax.scan(step, jnp.zeros((len(x), self.half), x.dtype), inputs)
        return states
