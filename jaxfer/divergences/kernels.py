r"""Kernels of two points, each a function of one pair statistic and a bandwidth.

A kernel says which statistic of a pair it needs (``pairing``), how a bandwidth ``b`` scales the
points before that (``scaled``), and what it makes of the scaled statistic (``profile``). Everything
else, in particular derivatives, follows from these three.
"""

import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array, lax


class _Profile:
    """What follows from a profile alone."""

    def profile(self, statistic: Array) -> Array:
        """The kernel as a function of the scaled statistic."""
        raise NotImplementedError

    def with_slope(self, statistic: Array) -> tuple[Array, Array]:
        """The kernel and its derivative by the statistic."""
        return jax.jvp(self.profile, (statistic,), (jnp.ones_like(statistic),))


@dataclasses.dataclass(frozen=True)
class GaussianKernel(_Profile):
    r"""A sum of Gaussians of the squared Euclidean distance.

    .. math::
        k(x, y) = w \sum_a \exp\Big( - \frac{\|x - y\|^2}{2 a b} \Big)

    Where every scale is twice the one before it, one exponential serves all of them, since each
    Gaussian is the square of the next wider one.

    Attributes:
      scales: :math:`a`, positive factors of the bandwidth.
      weight: :math:`w`, positive.

    Source: Gretton et al. 2012, A kernel two-sample test; Long et al. 2015, Learning transferable
    features with deep adaptation networks, for the sum.

    >>> round(float(GaussianKernel(scales=(0.5,)).profile(1.0)), 4)  # exp(-1)
    0.3679
    """

    scales: tuple[float, ...] = (0.125, 0.25, 0.5, 1.0, 2.0)
    weight: float = 1.0

    pairing: ClassVar[str] = "squared_l2"
    unit: ClassVar[str] = "squared_l2"

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", _positive_scales(self.scales))
        _check_positive("weight", self.weight)

    def scaled(self, points: Array, bandwidth: Array) -> Array:
        return points / jnp.sqrt(bandwidth)

    def profile(self, statistic: Array) -> Array:
        return self.with_slope(statistic)[0]

    def with_slope(self, statistic: Array) -> tuple[Array, Array]:
        value: Any = 0
        slope: Any = 0
        power, wider = None, None
        for scale in sorted(self.scales, reverse=True):
            if power is not None and wider == 2 * scale:
                power = power * power
            else:
                power = _once(jnp.exp(statistic * (-0.5 / scale)))
            wider = scale
            value = value + self.weight * power
            slope = slope - self.weight * 0.5 / scale * power
        return value, slope


@dataclasses.dataclass(frozen=True)
class LaplaceL1Kernel(_Profile):
    r"""A sum of exponentials of the L1 distance.

    .. math::
        k(x, y) = \sum_a \exp\Big( - \frac{\|x - y\|_1}{a b} \Big)

    The L1 distance is no matrix product: a pass costs a subtraction for each pair and feature.

    Attributes:
      scales: :math:`a`, positive factors of the bandwidth, which is in units of the L1 distance.

    Source: scikit-learn's ``laplacian_kernel`` (its ``gamma`` is :math:`1 / (a b)`).

    >>> round(float(LaplaceL1Kernel().profile(1.0)), 4)
    0.3679
    """

    scales: tuple[float, ...] = (1.0,)

    pairing: ClassVar[str] = "l1"
    unit: ClassVar[str] = "l1"

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", _positive_scales(self.scales))

    def scaled(self, points: Array, bandwidth: Array) -> Array:
        return points / bandwidth

    def profile(self, statistic: Array) -> Array:
        return sum(
            (jnp.exp(statistic * (-1 / a)) for a in self.scales[1:]),
            jnp.exp(statistic * (-1 / self.scales[0])),
        )


@dataclasses.dataclass(frozen=True)
class LaplaceL2Kernel(_Profile):
    r"""A sum of exponentials of the Euclidean distance.

    .. math::
        k(x, y) = \sum_a \exp\Big( - \frac{\|x - y\|_2}{a b} \Big)

    Attributes:
      scales: :math:`a`, positive factors of the bandwidth, which is in units of the distance, not
        of its square.

    Source: Sriperumbudur et al. 2010, Hilbert space embeddings and metrics on probability measures.

    >>> round(float(LaplaceL2Kernel().profile(4.0)), 4)  # of the squared distance: exp(-2)
    0.1353
    """

    scales: tuple[float, ...] = (1.0,)

    pairing: ClassVar[str] = "squared_l2"
    unit: ClassVar[str] = "l2"

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", _positive_scales(self.scales))

    def scaled(self, points: Array, bandwidth: Array) -> Array:
        return points / bandwidth

    def profile(self, statistic: Array) -> Array:
        distance = _safe_sqrt(statistic)
        return sum(
            (jnp.exp(distance * (-1 / a)) for a in self.scales[1:]),
            jnp.exp(distance * (-1 / self.scales[0])),
        )


@dataclasses.dataclass(frozen=True)
class RationalQuadraticKernel(_Profile):
    r"""A sum of rational quadratics of the squared Euclidean distance.

    .. math::
        k(x, y) = \sum_a \Big( 1 + \frac{\|x - y\|^2}{2 \alpha a b} \Big)^{-\alpha}

    Its tails are heavier than a Gaussian's: samples far apart still have a gradient.

    Attributes:
      scales: :math:`a`, positive factors of the bandwidth.
      alpha: :math:`\alpha`, positive; towards infinity the kernel becomes Gaussian.

    Source: Rasmussen and Williams 2006, Gaussian processes for machine learning, equation 4.19.

    >>> round(float(RationalQuadraticKernel(alpha=1.0).profile(2.0)), 4)
    0.5
    """

    scales: tuple[float, ...] = (1.0,)
    alpha: float = 1.0

    pairing: ClassVar[str] = "squared_l2"
    unit: ClassVar[str] = "squared_l2"

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", _positive_scales(self.scales))
        _check_positive("alpha", self.alpha)

    def scaled(self, points: Array, bandwidth: Array) -> Array:
        return points / jnp.sqrt(bandwidth)

    def profile(self, statistic: Array) -> Array:
        bases = [1 + statistic / (2 * self.alpha * a) for a in self.scales]
        return sum((base**-self.alpha for base in bases[1:]), bases[0] ** -self.alpha)


@dataclasses.dataclass(frozen=True)
class LinearKernel(_Profile):
    r"""The inner product, under which MMD is the distance of the means.

    .. math::
        k(x, y) = \langle x, y \rangle

    It has no bandwidth, whatever is given for one.

    >>> LinearKernel().profile(3.0)
    3.0
    """

    pairing: ClassVar[str] = "inner"
    unit: ClassVar[str] = "squared_l2"

    def scaled(self, points: Array, bandwidth: Array) -> Array:
        return points

    def profile(self, statistic: Array) -> Array:
        return statistic


@dataclasses.dataclass(frozen=True)
class PolynomialKernel(_Profile):
    r"""A power of the shifted inner product, under which MMD compares moments up to the degree.

    .. math::
        k(x, y) = \Big( \frac{\langle x, y \rangle}{b} + c \Big)^p

    It depends on where the origin is.

    Attributes:
      degree: :math:`p`, a positive integer.
      offset: :math:`c`, not negative.

    Source: scikit-learn's ``polynomial_kernel`` (its ``gamma`` is :math:`1 / b`).

    >>> PolynomialKernel(degree=2, offset=1.0).profile(2.0)
    9.0
    """

    degree: int = 3
    offset: float = 1.0

    pairing: ClassVar[str] = "inner"
    unit: ClassVar[str] = "squared_l2"

    def __post_init__(self) -> None:
        if not isinstance(self.degree, int) or self.degree < 1:
            raise ValueError(f"degree must be an integer of at least 1; it is {self.degree!r}.")
        if not (math.isfinite(self.offset) and self.offset >= 0):
            raise ValueError(f"offset must be a number of at least 0; it is {self.offset!r}.")

    def scaled(self, points: Array, bandwidth: Array) -> Array:
        return points / jnp.sqrt(bandwidth)

    def profile(self, statistic: Array) -> Array:
        return (statistic + self.offset) ** self.degree


@dataclasses.dataclass(frozen=True)
class DistanceKernel(_Profile):
    """Minus the Euclidean distance, under which MMD is the energy distance.

    Only conditionally positive definite: sums over pairs are of use where weights sum to 0.

    >>> float(DistanceKernel().profile(9.0))  # of the squared distance
    -3.0
    """

    pairing: ClassVar[str] = "squared_l2"
    unit: ClassVar[str] = "l2"

    def scaled(self, points: Array, bandwidth: Array) -> Array:
        return points

    def profile(self, statistic: Array) -> Array:
        return -_safe_sqrt(statistic)


Kernel = (
    GaussianKernel
    | LaplaceL1Kernel
    | LaplaceL2Kernel
    | RationalQuadraticKernel
    | LinearKernel
    | PolynomialKernel
    | DistanceKernel
)

_BY_NAME = {
    "gaussian": GaussianKernel,
    "laplace_l1": LaplaceL1Kernel,
    "laplace_l2": LaplaceL2Kernel,
    "rational_quadratic": RationalQuadraticKernel,
    "linear": LinearKernel,
    "polynomial": PolynomialKernel,
}


def named_kernel(kernel: str | Kernel) -> Kernel:
    """The kernel of that name with its defaults; a kernel is returned as it is."""
    if isinstance(kernel, str) and kernel in _BY_NAME:
        return _BY_NAME[kernel]()
    if isinstance(kernel, Kernel):
        return kernel
    raise ValueError(
        f"kernel must be one of {', '.join(_BY_NAME)}, or a kernel such as "
        f"GaussianKernel(scales=(0.5, 1.0)); it is {kernel!r}."
    )


def _once(array: Array) -> Array:
    """The array, kept: XLA would compute an exponential anew for each of its uses."""
    return lax.optimization_barrier(array)


def _safe_sqrt(x: Array) -> Array:
    """A square root whose derivative at 0 is 0."""
    zero = x <= 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, x)))


def _positive_scales(scales: tuple[float, ...]) -> tuple[float, ...]:
    try:
        scales = tuple(float(scale) for scale in scales)
    except TypeError as error:
        raise ValueError(
            f"scales must be one or more positive numbers, such as (0.5, 1.0); they are {scales!r}."
        ) from error
    if not scales or not all(math.isfinite(scale) and scale > 0 for scale in scales):
        raise ValueError(f"scales must be one or more positive numbers; they are {scales}.")
    return scales


def _check_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a positive number; it is {value!r}.")
