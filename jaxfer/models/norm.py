"""Batch normalisation whose recorded statistics keep their gradient, as a learner needs."""

import jax
import jax.numpy as jnp
from flax import nnx


class BatchNorm(nnx.Module):
    r"""Batch normalisation over all axes but the last.

    .. math:: y = \gamma \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta

    In training mode :math:`\mu, \sigma^2` are those of the batch at hand and are recorded; in
    evaluation mode the recorded ones are used. Unlike in ``nnx.BatchNorm`` the gradient flows
    through what is recorded, so that a loss measured with the statistics of a support set is
    differentiated exactly.

    Args:
      features: size of the last axis.
      momentum: of the record, ``momentum * old + (1 - momentum) * new``; with 0 it is the last
        training batch's.
      epsilon: added to the variance.
      unbiased_record: record the variance times ``n / (n - 1)``, as PyTorch does; what a training
        batch is normalised by stays the biased one.
      rngs: unused, as the initial values are constants; every module takes it.

    Returns:
      A module that maps ``[..., features]`` to ``[..., features]``.

    Source: Ioffe and Szegedy 2015, algorithm 1. The variance is the biased one, in the record too
    unless it is asked for.

    >>> norm = BatchNorm(2, momentum=0.0, rngs=nnx.Rngs(0))
    >>> norm(jnp.array([[0.0, 1.0], [2.0, 5.0]])).round(3)
    Array([[-1., -1.],
           [ 1.,  1.]], dtype=float32)
    >>> norm.mean[...]
    Array([1., 3.], dtype=float32)
    """

    def __init__(
        self,
        features: int,
        *,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        unbiased_record: bool = False,
        rngs: nnx.Rngs | None = None,
    ) -> None:
        del rngs
        self.scale = nnx.Param(jnp.ones(features))
        self.bias = nnx.Param(jnp.zeros(features))
        self.mean = nnx.BatchStat(jnp.zeros(features))
        self.variance = nnx.BatchStat(jnp.ones(features))
        self.momentum, self.epsilon = momentum, epsilon
        self.unbiased_record = unbiased_record
        self.use_running_average = False

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.use_running_average:
            mean, variance = self.mean[...], self.variance[...]
        else:
            axes = tuple(range(x.ndim - 1))
            mean = jnp.mean(x, axes)
            variance = jnp.mean(jnp.square(x - mean), axes)
            self.mean[...] = self.momentum * self.mean[...] + (1 - self.momentum) * mean
            recorded = variance
            if self.unbiased_record:
                points = x.size // x.shape[-1]
                recorded = variance * points / max(points - 1, 1)
            self.variance[...] = self.momentum * self.variance[...] + (1 - self.momentum) * recorded
        gain = self.scale[...] * jax.lax.rsqrt(variance + self.epsilon)
        return (x - mean) * gain + self.bias[...]

    def set_view(self, use_running_average: bool | None = None) -> None:
        """Set the mode; called by ``nnx.view``, ``module.train()`` and ``module.eval()``."""
        if use_running_average is not None:
            self.use_running_average = use_running_average
