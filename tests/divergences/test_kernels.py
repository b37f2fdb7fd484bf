"""Kernels: their formulas under MMD, scikit-learn's, limits between them, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics.pairwise import laplacian_kernel, polynomial_kernel, rbf_kernel

from jaxfer import (
    GaussianKernel,
    LaplaceL1Kernel,
    LaplaceL2Kernel,
    LinearKernel,
    PolynomialKernel,
    RationalQuadraticKernel,
    mmd,
    mmd_witness,
)

from .mmd_references import FIVE, KERNELS, OTHER_CONSTANTS, all_pairs, quickly, run, two


@pytest.mark.parametrize("kernel", [*KERNELS, *OTHER_CONSTANTS])
def test_kernel_of_one_pair(kernel, x64):
    """The witness of one point a side is the difference of two kernels."""
    given, formula = (KERNELS | OTHER_CONSTANTS)[kernel]
    points = np.array([[1.0, -0.5], [2.0, 0.3], [-1.2, 0.7]])
    witness = run(
        mmd_witness, points[:1], points[1:2], at=points[2:], top=1, kernel=given, bandwidth=1.7
    )
    pairs = formula(points, points, 1.7)
    np.testing.assert_allclose(witness.at, pairs[2, :1] - pairs[2, 1:2], rtol=1e-12)
    np.testing.assert_allclose(witness.source, pairs[0, :1] - pairs[0, 1:2], rtol=1e-12)


@pytest.mark.parametrize(
    ("kernel", "width", "theirs"),
    [
        (GaussianKernel(scales=(0.5,)), 4.0, lambda x, y: rbf_kernel(x, y, gamma=0.25)),
        (LaplaceL1Kernel(), 2.5, lambda x, y: laplacian_kernel(x, y, gamma=0.4)),
        (LaplaceL1Kernel(scales=(0.5,)), 4.0, lambda x, y: laplacian_kernel(x, y, gamma=0.5)),
        (LaplaceL1Kernel(), "features", laplacian_kernel),
        (PolynomialKernel(), "features", polynomial_kernel),
        (PolynomialKernel(), 1.7, lambda x, y: polynomial_kernel(x, y, gamma=1 / 1.7)),
        (
            PolynomialKernel(degree=2, offset=0.0),
            2.0,
            lambda x, y: polynomial_kernel(x, y, degree=2, coef0=0, gamma=0.5),
        ),
    ],
)
def test_scikit_learn(kernel, width, theirs, x64):
    source, target = two()
    expected = all_pairs(theirs, source, target, np.full(7, 1 / 7), np.full(9, 1 / 9))
    found = run(mmd, source, target, kernel=kernel, bandwidth=width)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("name", "kernel"),
    [
        ("gaussian", GaussianKernel()),
        ("laplace_l1", LaplaceL1Kernel()),
        ("laplace_l2", LaplaceL2Kernel()),
        ("rational_quadratic", RationalQuadraticKernel()),
        ("linear", LinearKernel()),
        ("polynomial", PolynomialKernel()),
    ],
)
def test_a_name_is_the_kernel_with_its_defaults(name, kernel):
    source, target = two(dtype=np.float32)
    assert mmd(source, target, kernel=name) == mmd(source, target, kernel=kernel)
    assert hash(kernel) == hash(type(kernel)())
    assert kernel == type(kernel)()


def test_profiles_are_of_the_scaled_statistic(x64):
    """Squared distances, L1 distances and inner products over the bandwidth."""
    at = np.array([0.0, 0.3, 2.0])
    for kernel, expected in [
        (GaussianKernel(), sum(np.exp(-at / (2 * a)) for a in FIVE)),
        (GaussianKernel(scales=(1.0, 3.0), weight=2.0), 2 * (np.exp(-at / 2) + np.exp(-at / 6))),
        (LaplaceL1Kernel(scales=(1.0, 3.0)), np.exp(-at) + np.exp(-at / 3)),
        (LaplaceL2Kernel(scales=(0.5,)), np.exp(-2 * np.sqrt(at))),
        (RationalQuadraticKernel(scales=(2.0,), alpha=3.0), (1 + at / 12) ** -3),
        (LinearKernel(), at),
        (PolynomialKernel(degree=4, offset=0.5), (at + 0.5) ** 4),
    ]:
        np.testing.assert_allclose(kernel.profile(jnp.asarray(at)), expected, rtol=1e-13)


@pytest.mark.parametrize("kernel", [GaussianKernel(), GaussianKernel(scales=(3.0, 0.2))])
def test_narrow_and_wide_gaussians(kernel):
    """Every point alone, or all together: no slope but in the wide one, and that as 1 / b."""
    source, target = two(dtype=np.float32)
    both = quickly(
        jax.value_and_grad(
            lambda x, b: mmd(x, target, kernel=kernel, bandwidth=b), argnums=(0, 1)
        )
    )  # fmt: skip
    for width in (1e-12, 1e-6):
        value, (gradient, slope) = both(source, np.float32(width))
        np.testing.assert_allclose(value, len(kernel.scales) * (1 / 7 + 1 / 9), rtol=1e-6)
        assert np.abs(gradient).max() < 1e-6
        assert abs(slope) < 1e-6
    value, (gradient, slope) = both(source, np.float32(1e12))
    for number in (value, gradient, slope):
        assert np.abs(number).max() < 1e-6


def test_a_rational_quadratic_tends_to_a_gaussian(x64):
    source, target = two()
    wide = RationalQuadraticKernel(scales=FIVE, alpha=1e7)
    np.testing.assert_allclose(
        mmd(source, target, kernel=wide), mmd(source, target), rtol=1e-5
    )  # fmt: skip


def test_linear_has_no_bandwidth_and_polynomials_are_of_the_origin(x64):
    source, target = two()
    apart = source.mean(0) - target.mean(0)
    for width in (0.1, 5.0, "median"):
        found = mmd(source, target, kernel="linear", bandwidth=width)
        np.testing.assert_allclose(found, apart @ apart, rtol=1e-12)
    there = mmd(source, target, kernel="polynomial", bandwidth=2.0)
    moved = mmd(source + 1, target + 1, kernel="polynomial", bandwidth=2.0)
    assert abs(moved / there - 1) > 0.1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaussianKernel(scales=()), "scales must be one or more positive numbers"),
        (lambda: GaussianKernel(scales=(1.0, 0.0)), "scales must be one or more positive"),
        (lambda: GaussianKernel(weight=-1.0), "weight must be a positive number; it is -1.0"),
        (lambda: LaplaceL1Kernel(scales=(-1.0,)), "scales must be one or more positive"),
        (lambda: LaplaceL2Kernel(scales=(np.nan,)), "scales must be one or more positive"),
        (lambda: RationalQuadraticKernel(scales=(np.inf,)), "scales must be one or more positive"),
        (lambda: RationalQuadraticKernel(alpha=0.0), "alpha must be a positive number"),
        (lambda: PolynomialKernel(degree=0), "degree must be an integer of at least 1"),
        (lambda: PolynomialKernel(degree=1.5), "degree must be an integer of at least 1"),
        (lambda: PolynomialKernel(offset=-0.1), "offset must be a number of at least 0"),
    ],
)
def test_constants_that_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_scale_that_is_no_sequence_is_named():
    with pytest.raises((TypeError, ValueError), match="scales"):
        GaussianKernel(scales=1.0)


def test_kernels_cannot_be_changed():
    with pytest.raises(AttributeError):
        GaussianKernel().scales = (1.0,)
