"""An approximation of MMD by random Fourier features, in time that grows with the points."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxfer.divergences.bandwidths import check_bandwidth
from jaxfer.divergences.estimators import Settings, scaled_layers
from jaxfer.divergences.kernels import GaussianKernel, Kernel, named_kernel
from jaxfer.divergences.pairs import make_plan
from jaxfer.divergences.samples import Samples, two_samples


def mmd_random_features(
    source: Any,
    target: Any,
    *,
    key: Array,
    features: int = 1024,
    kernel: str | Kernel = "gaussian",
    bandwidth: str | float | Array = "mean",
    source_weights: Any = None,
    target_weights: Any = None,
    axis_name: str | None = None,
    precision: Any = None,
) -> Array:
    r"""An approximation of the biased MMD squared by random Fourier features (batch-coupled).

    .. math::
        \mathrm{MMD}^2 \approx \Big\| \sum_i p_i \varphi(x_i) - \sum_j q_j \varphi(y_j) \Big\|^2,
        \qquad \varphi(x) = \sqrt{\tfrac{K}{D}}\, [\cos \omega_f^\top x, \sin \omega_f^\top x]_{f
        \le D}

    with :math:`\omega_f \sim N(0, I / (a b))`, and :math:`a` one of the :math:`K` scales at random.
    For a fixed key it is a smooth function whose mean over keys is the exact one; the error of one
    key falls as :math:`1 / \sqrt{D}`. :func:`mmd` is exact, and the better choice until its
    :math:`(n + m)^2` pairs take too long.

    Args:
      source, target: ``[n, d]`` and ``[m, d]``.
      key: of the frequencies. Over devices it must be the same on each.
      features: :math:`D`, how many frequencies.
      kernel: ``gaussian`` or a :class:`GaussianKernel`.
      bandwidth: as for :func:`mmd`.
      source_weights, target_weights: ``[n]`` and ``[m]``, as for :func:`mmd`.
      axis_name: the mapped axis over which the samples are spread, as for :func:`mmd`.
      precision: of the matrix products; ``None`` is the highest.

    Returns:
      The approximation, a scalar, not negative.

    Raises:
      TypeError: for arrays that are not of floating point.
      ValueError: for another kernel, fewer than one feature, and as :func:`mmd`.

    Source: Rahimi and Recht 2007, Random features for large-scale kernel machines, section 3.

    >>> import jax, jaxfer
    >>> x, y = (jax.random.normal(jax.random.key(i), (100, 2)) + i for i in (0, 1))
    >>> near = mmd_random_features(x, y, key=jax.random.key(2), features=4096)
    >>> abs(float(near / jaxfer.mmd(x, y)) - 1) < 0.1
    True
    """
    kernel = named_kernel(kernel)
    if not isinstance(kernel, GaussianKernel):
        raise ValueError(f"kernel must be Gaussian for random features; it is {kernel!r}.")
    if not isinstance(features, int) or features < 1:
        raise ValueError(f"features must be an integer of at least 1; it is {features!r}.")
    bandwidth = check_bandwidth(bandwidth, axis_name)
    samples = two_samples(source, target, source_weights, target_weights, axis_name=axis_name)
    make_plan((kernel,), (1, 1), precision=precision)
    rule, number = (bandwidth, None) if isinstance(bandwidth, str) else (None, bandwidth)
    settings = Settings((kernel,), (rule,), "biased", axis_name, None, precision)
    return _random_features(settings, features, samples, number, key)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _random_features(
    settings: Settings, features: int, samples: Samples, bandwidth: Array | None, key: Array
) -> Array:
    (kernel,) = settings.kernels
    assert isinstance(kernel, GaussianKernel)
    plan = make_plan(settings.kernels, (1, 1), precision=settings.precision)
    (source,), (target,) = scaled_layers(settings, [samples], [bandwidth])
    direction_key, scale_key = jax.random.split(key)
    directions = jax.random.normal(direction_key, (source.shape[1], features), source.dtype)
    scales = jax.random.choice(scale_key, jnp.array(kernel.scales, source.dtype), (features,))
    frequencies = directions / jnp.sqrt(scales)

    def mean(points: Array, weights: Array) -> Array:
        angles = jnp.matmul(points, frequencies, precision=plan.precision)
        return weights @ jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=1)

    difference = mean(source, samples.source_weights) - mean(target, samples.target_weights)
    if settings.axis_name is not None:
        difference = lax.psum(difference, settings.axis_name)
    height = kernel.weight * len(kernel.scales)
    value = height * jnp.sum(difference**2) / features
    return jnp.where((samples.source_count > 0) & (samples.target_count > 0), value, 0)
