"""Independent references for MMD and its relatives: every pair by its difference, from the equations.

``xp`` is NumPy or, where a second derivative is wanted, ``jax.numpy``.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxfer import (
    GaussianKernel,
    LaplaceL1Kernel,
    LaplaceL2Kernel,
    PolynomialKernel,
    RationalQuadraticKernel,
    energy_distance,
    joint_mmd,
    kernel_bandwidth,
    local_mmd,
    mmd,
    mmd_random_features,
)

FIVE = (0.125, 0.25, 0.5, 1.0, 2.0)


def two(seed=0, n=7, m=9, d=3, dtype=np.float64):
    """Two different samples ``[n, d]`` and ``[m, d]``."""
    draw = np.random.default_rng(seed)
    source = draw.normal(size=(n, d))
    target = 0.4 + 1.3 * draw.normal(size=(m, d))
    return source.astype(dtype), target.astype(dtype)


def weights(seed, n):
    return np.random.default_rng(seed).uniform(0.5, 3, size=n)


def squared_l2(x, y, xp=np):
    return xp.sum((x[:, None] - y[None]) ** 2, -1)


def l2(x, y, xp=np):
    """With derivative 0 where points coincide."""
    squares = squared_l2(x, y, xp)
    apart = squares > 0
    return xp.where(apart, xp.sqrt(xp.where(apart, squares, 1.0)), 0.0)


def l1(x, y, xp=np):
    return xp.sum(xp.abs(x[:, None] - y[None]), -1)


def gaussian(x, y, b, xp=np, scales=FIVE, weight=1.0):
    return weight * sum(xp.exp(-squared_l2(x, y, xp) / (2 * a * b)) for a in scales)


def laplace_l1(x, y, b, xp=np, scales=(1.0,)):
    return sum(xp.exp(-l1(x, y, xp) / (a * b)) for a in scales)


def laplace_l2(x, y, b, xp=np, scales=(1.0,)):
    return sum(xp.exp(-l2(x, y, xp) / (a * b)) for a in scales)


def rational_quadratic(x, y, b, xp=np, scales=(1.0,), alpha=1.0):
    return sum((1 + squared_l2(x, y, xp) / (2 * alpha * a * b)) ** -alpha for a in scales)


def linear(x, y, b, xp=np):
    return xp.sum(x[:, None] * y[None], -1)


def polynomial(x, y, b, xp=np, degree=3, offset=1.0):
    return (xp.sum(x[:, None] * y[None], -1) / b + offset) ** degree


def minus_l2(x, y, b, xp=np):
    return -l2(x, y, xp)


def _with(kernel, **constants):
    return lambda x, y, b, xp=np: kernel(x, y, b, xp, **constants)


# What is given as ``kernel``, and its formula.
KERNELS = {
    "gaussian": ("gaussian", gaussian),
    "laplace_l1": ("laplace_l1", laplace_l1),
    "laplace_l2": ("laplace_l2", laplace_l2),
    "rational_quadratic": ("rational_quadratic", rational_quadratic),
    "linear": ("linear", linear),
    "polynomial": ("polynomial", polynomial),
}
OTHER_CONSTANTS = {
    "one_gaussian": (GaussianKernel(scales=(0.7,)), _with(gaussian, scales=(0.7,))),
    "unrelated_scales": (
        GaussianKernel(scales=(3.0, 0.2, 1.0), weight=0.4),
        _with(gaussian, scales=(3.0, 0.2, 1.0), weight=0.4),
    ),
    "doubling_scales": (
        GaussianKernel(scales=(2.0, 0.5, 1.0), weight=2.0),
        _with(gaussian, scales=(2.0, 0.5, 1.0), weight=2.0),
    ),
    "two_laplace_l1": (LaplaceL1Kernel(scales=(0.5, 2.0)), _with(laplace_l1, scales=(0.5, 2.0))),
    "two_laplace_l2": (LaplaceL2Kernel(scales=(0.5, 2.0)), _with(laplace_l2, scales=(0.5, 2.0))),
    "two_rational_quadratics": (
        RationalQuadraticKernel(scales=(0.3, 2.0), alpha=1.7),
        _with(rational_quadratic, scales=(0.3, 2.0), alpha=1.7),
    ),
    "square": (
        PolynomialKernel(degree=2, offset=0.3),
        _with(polynomial, degree=2, offset=0.3),
    ),
    "no_offset": (
        PolynomialKernel(degree=1, offset=0.0),
        _with(polynomial, degree=1, offset=0.0),
    ),
}
DISTANCES = {"gaussian": squared_l2, "rational_quadratic": squared_l2} | {
    "laplace_l1": l1,
    "laplace_l2": l2,
}


def shares(given, n, xp=np):
    given = xp.ones(n) if given is None else xp.asarray(given)
    return given / given.sum()


def all_pairs(k, x, y, p, q):
    """The biased estimate of a kernel ``k(x, y)``."""
    return p @ k(x, x) @ p + q @ k(y, y) @ q - 2 * p @ k(x, y) @ q


def different_pairs(k, x, y, p, q, xp=np):
    """The unbiased one."""

    def within(z, r):
        matrix = k(z, z)
        return (r @ matrix @ r - r**2 @ xp.diagonal(matrix)) / (1 - xp.sum(r**2))

    return within(x, p) + within(y, q) - 2 * p @ k(x, y) @ q


def estimate(k, x, y, estimator, p=None, q=None, xp=np):
    """MMD squared under a kernel ``k(x, y) -> [n, m]`` whose bandwidth is fixed."""
    if estimator in ("linear", "block"):
        assert p is None and q is None
        return _estimate_in_order(k, x, y, estimator)
    p, q = shares(p, len(x), xp), shares(q, len(y), xp)
    if estimator == "biased":
        return all_pairs(k, x, y, p, q)
    shift = 1 / (len(x) - 1) + 1 / (len(y) - 1) if estimator == "unbiased_shifted" else 0.0
    return different_pairs(k, x, y, p, q, xp) + shift


def _estimate_in_order(k, x, y, estimator):
    least = min(len(x), len(y))
    if estimator == "linear":
        total = 0.0
        for i in range(0, least - 1, 2):
            total += k(x[[i]], x[[i + 1]]) + k(y[[i]], y[[i + 1]])
            total -= k(x[[i]], y[[i + 1]]) + k(x[[i + 1]], y[[i]])
        return total[0, 0] / (least // 2)
    size = max(2, int(np.sqrt(least)))
    blocks = [slice(at, at + size) for at in range(0, least - size + 1, size)]
    each = [
        different_pairs(k, x[b], y[b], np.full(size, 1 / size), np.full(size, 1 / size))
        for b in blocks
    ]
    return sum(each) / len(each)


def bandwidth(rule, x, y, distance=squared_l2, p=None, q=None):
    """The rule's bandwidth; weights are scaled to the number of points that have one."""
    z = np.concatenate([x, y])
    pairs, number = distance(z, z), len(z)
    r = np.concatenate([shares(p, len(x)) * len(x), shares(q, len(y)) * len(y)])
    if rule in ("mean", "mean_with_gradient"):
        return r @ pairs @ r / number**2
    if rule == "mean_off_diagonal":
        return r @ pairs @ r / (number**2 - number)
    assert p is None and q is None
    if rule == "median_source":
        return np.sort(distance(x, x), axis=None)[(len(x) ** 2 - 1) // 2]
    if rule == "features":
        return float(x.shape[1])
    assert rule.startswith("median")
    return np.median(pairs[np.triu_indices(number, 1)])


def reference_mmd(x, y, kernel=gaussian, b="mean", estimator="biased", p=None, q=None, xp=np):
    if isinstance(b, str):
        b = bandwidth(b, x, y, p=p, q=q)
    return estimate(lambda x, y: kernel(x, y, b, xp), x, y, estimator, p, q, xp)


def reference_joint(xs, ys, kernels, bandwidths, estimator="biased", p=None, q=None, xp=np):
    p, q = shares(p, len(xs[0]), xp), shares(q, len(ys[0]), xp)
    layers = list(zip(kernels, bandwidths, strict=True))

    def k(a, b):
        product = 1.0
        for (kernel, width), u, v in zip(layers, a, b, strict=True):
            product = product * kernel(u, v, width, xp)
        return product

    pairs = different_pairs if estimator == "unbiased" else all_pairs
    return pairs(k, xs, ys, p, q)


def reference_local(x, y, s, t, kernel=gaussian, b="mean", p=None, q=None, xp=np):
    """``s`` and ``t`` are soft labels; with ``jax.numpy`` every class is on both sides."""
    if isinstance(b, str):
        b = bandwidth(b, x, y, p=p, q=q)
    p, q = shares(p, len(x), xp), shares(q, len(y), xp)
    terms = []
    for c in range(s.shape[1]):
        own, other = p * s[:, c], q * t[:, c]
        if xp is jnp or (own.any() and other.any()):
            own, other = own / own.sum(), other / other.sum()
            terms.append(all_pairs(lambda x, y: kernel(x, y, b, xp), x, y, own, other))
    return sum(terms) / len(terms) if terms else 0.0


def differences(f, at, step=1e-5):
    """The gradient of ``f`` in float64 by central differences."""
    at = np.asarray(at, np.float64)
    gradient = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        up, down = at.copy(), at.copy()
        up[index] += step
        down[index] -= step
        gradient[index] = (f(up) - f(down)) / (2 * step)
    return gradient


# Compiled for a single run of a few numbers: less time on optimising them.
QUICKLY = {"xla_backend_optimization_level": 0}


def quickly(f, **options):
    return jax.jit(f, compiler_options=QUICKLY, **options)


def run(f, *arrays, **options):
    """``f`` compiled quickly for these arrays."""
    return quickly(lambda *arrays: f(*arrays, **options))(*arrays)


# What is spread over devices: of two samples, their weights and an axis to a scalar.
def _layers(z):
    return [z, jnp.sin(z[:, :2])]


def _labels(z):
    return jax.nn.softmax(z, axis=-1)


def _mmd(**options):
    return lambda x, y, p, q, axis: mmd(
        x, y, source_weights=p, target_weights=q, axis_name=axis, **options
    )


def _rule(rule, kernel="gaussian"):
    return lambda x, y, p, q, axis: kernel_bandwidth(
        x, y, rule=rule, kernel=kernel, source_weights=p, target_weights=q, axis_name=axis
    )


ACROSS = {
    "biased": _mmd(),
    "biased in blocks": _mmd(bandwidth="median", block_size=3),
    "unbiased": _mmd(estimator="unbiased", kernel="laplace_l2", bandwidth=1.5),
    "unbiased_shifted": _mmd(estimator="unbiased_shifted", bandwidth="mean_with_gradient"),
    "linear": _mmd(estimator="linear", bandwidth="mean_off_diagonal"),
    "laplace_l1": _mmd(kernel="laplace_l1", bandwidth="features"),
    "energy": lambda x, y, p, q, axis: energy_distance(
        x, y, source_weights=p, target_weights=q, axis_name=axis
    ),
    "joint": lambda x, y, p, q, axis: joint_mmd(
        _layers(x), _layers(y), source_weights=p, target_weights=q, axis_name=axis
    ),
    "local": lambda x, y, p, q, axis: local_mmd(
        x, y, _labels(x), _labels(y), source_weights=p, target_weights=q, axis_name=axis
    ),
    "random features": lambda x, y, p, q, axis: mmd_random_features(
        x, y, key=jax.random.key(0), features=8, source_weights=p, target_weights=q, axis_name=axis
    ),
    "mean": _rule("mean_with_gradient"),
    "mean of L1": _rule("mean", "laplace_l1"),
    "median": _rule("median"),
}


def spread(name, mapped, seed=0, shards=4):
    """A local loss and a global one on shards, the last ragged, beside the same on one device.

    ``mapped`` is a jitted ``jax.vmap``, or ``jax.pmap``. Gives ``(values, gradients)`` of every
    device and ``(value, gradient)`` of the whole.
    """
    f = ACROSS[name]
    n, m = (14, 14) if name == "linear" else (14, 21)  # its pairs stay together
    source, target = two(seed, n, m, dtype=np.float32)
    a, b = weights(1, n).astype(np.float32), weights(2, m).astype(np.float32)
    matrix = np.random.default_rng(6).normal(size=(3, 3)).astype(np.float32)

    def loss(matrix, x, y, p, q, axis=None):
        own = jnp.sum(p * jnp.sum(jnp.sin(x @ matrix), -1))  # of each device alone
        both = f(x @ matrix, y @ matrix, p, q, axis)
        return own * (1 / shards if axis is None else 1) + both, both

    def local(*shard):
        (_, value), gradient = jax.value_and_grad(loss, has_aux=True)(*shard, "batch")
        return value, jax.lax.pmean(gradient, "batch")

    def padded(points, fill):
        size = -(-len(points) // shards)
        rest = np.full((size * shards - len(points), *points.shape[1:]), fill, points.dtype)
        return np.concatenate([points, rest]).reshape(shards, size, *points.shape[1:])

    split = (padded(source, 7.0), padded(target, -50.0), padded(a, 0.0), padded(b, 0.0))
    found = mapped(local, axis_name="batch", in_axes=(None, 0, 0, 0, 0))(matrix, *split)
    whole = quickly(jax.value_and_grad(loss, has_aux=True))
    (_, value), gradient = whole(matrix, source, target, a, b)
    return found, (value, gradient)
