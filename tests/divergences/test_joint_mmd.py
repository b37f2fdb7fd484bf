"""Joint MMD: the product of the layers' kernels, by hand; what it sees that MMD does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import GaussianKernel, joint_mmd, mmd

from .checks import assert_mistakes_are_refused
from .mmd_references import (
    KERNELS,
    bandwidth,
    differences,
    gaussian,
    l1,
    laplace_l1,
    polynomial,
    quickly,
    reference_joint,
    run,
    two,
    weights,
)


def layers(seed=0, n=6, m=8, dtype=np.float64):
    first, second = two(seed, n, m, 3, dtype), two(seed + 50, n, m, 2, dtype)
    return [first[0], second[0]], [first[1], second[1]]


@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
def test_value_of_a_kernel_and_a_bandwidth_for_each_layer(estimator, x64):
    source, target = layers()
    a, b = weights(1, 6), weights(2, 8)
    widths = bandwidth("mean", source[0], target[0], p=a, q=b), 1.7
    for p, q in ((None, None), (a, b)):
        if p is None:
            widths = bandwidth("mean", source[0], target[0]), 1.7
        else:
            widths = bandwidth("mean", source[0], target[0], p=a, q=b), 1.7
        expected = reference_joint(source, target, [gaussian, laplace_l1], widths, estimator, p, q)
        found = joint_mmd(
            source, target, kernel=["gaussian", "laplace_l1"], bandwidth=["mean", 1.7],
            estimator=estimator, source_weights=p, target_weights=q,
        )  # fmt: skip
        np.testing.assert_allclose(found, expected, rtol=1e-11)


@pytest.mark.parametrize("rule", ["mean", "median", "features"])
def test_one_rule_is_applied_to_each_layer(rule, x64):
    source, target = layers(1, 7, 8)  # an odd number of pairs
    widths = [bandwidth(rule, x, y, l1) for x, y in zip(source, target, strict=True)]
    expected = reference_joint(source, target, [laplace_l1] * 2, widths)
    found = run(joint_mmd, source, target, kernel="laplace_l1", bandwidth=rule)
    np.testing.assert_allclose(found, expected, rtol=1e-7)


def test_the_published_setting(x64):
    source, target = layers(2)

    def published(x, y, width):
        return np.exp(-np.sum((x[:, None] - y[None]) ** 2, -1) / (2 * width))

    widths = bandwidth("mean", source[0], target[0]), 1.68**2
    expected = reference_joint(
        source, target, [gaussian, lambda x, y, b, xp: published(x, y, b)], widths
    )
    found = joint_mmd(
        source, target, kernel=["gaussian", GaussianKernel(scales=(1.0,))],
        bandwidth=["mean", 1.68**2],
    )  # fmt: skip
    np.testing.assert_allclose(found, expected, rtol=1e-11)


@pytest.mark.parametrize("estimator", ["biased", "unbiased", "unbiased_shifted", "linear", "block"])
@pytest.mark.parametrize("kernel", ["gaussian", "polynomial"])
def test_one_layer_is_mmd(kernel, estimator, x64):
    source, target = two(3)
    options = {"kernel": kernel, "bandwidth": 1.7, "estimator": estimator}
    np.testing.assert_allclose(
        run(joint_mmd, [source], [target], **options),
        run(mmd, source, target, **options),
        rtol=1e-11,
    )


@pytest.mark.parametrize("estimator", ["linear", "block"])
def test_two_gaussian_layers_are_one_of_both_features(estimator, x64):
    """With one Gaussian each, of one bandwidth, the product is that of the joined features."""
    source, target = layers(4, 9, 11)
    options = {"kernel": GaussianKernel(scales=(1.0,)), "bandwidth": 2.0, "estimator": estimator}
    joined = run(mmd, np.concatenate(source, 1), np.concatenate(target, 1), **options)
    np.testing.assert_allclose(run(joint_mmd, source, target, **options), joined, rtol=1e-11)


@pytest.mark.parametrize("block_size", [5, pytest.param(None, marks=pytest.mark.thorough)])
def test_derivatives(block_size, x64):
    """By every layer, the weights and the bandwidths; and a second one."""
    source, target = layers(5)
    arguments = (*source, *target, weights(1, 6), weights(2, 8), np.array([1.3, 2.1]))
    kernels = ["gaussian", "polynomial"]

    def loss(x, x2, y, y2, a, b, widths):
        return joint_mmd(
            [x, x2], [y, y2], kernel=kernels, bandwidth=list(widths), source_weights=a,
            target_weights=b, block_size=block_size,
        )  # fmt: skip

    def expected(x, x2, y, y2, a, b, widths, xp=np):
        return reference_joint(
            [x, x2], [y, y2], [gaussian, polynomial], list(widths), p=a, q=b, xp=xp
        )

    value, gradients = quickly(jax.value_and_grad(loss, argnums=tuple(range(7))))(*arguments)
    np.testing.assert_allclose(value, expected(*arguments), rtol=1e-11)
    for i, found in enumerate(gradients):
        by_hand = differences(
            lambda new, i=i: expected(*arguments[:i], new, *arguments[i + 1 :]), arguments[i]
        )
        np.testing.assert_allclose(found, by_hand, rtol=1e-6, atol=1e-7)
    if block_size:
        direction = two(9, 6, 1, 2)[0]
        product = quickly(
            jax.grad(lambda x2: jnp.vdot(jax.grad(loss, 1)(source[0], x2, *arguments[2:]), direction))
        )(source[1])  # fmt: skip
        hessian = quickly(
            jax.hessian(lambda x2: expected(source[0], x2, *arguments[2:], xp=jnp))
        )(source[1])  # fmt: skip
        np.testing.assert_allclose(
            product, jnp.einsum("ijkl,kl->ij", hessian, direction), rtol=1e-8, atol=1e-10
        )


def test_layers_that_agree_one_by_one_but_not_together(x64):
    source, _ = layers(6)
    swapped = [source[0], source[1][::-1]]
    for layer in range(2):
        np.testing.assert_allclose(mmd(source[layer], swapped[layer]), 0, atol=1e-12)
    assert joint_mmd(source, swapped) > 0.1
    order = [3, 1, 5, 0, 2, 4]
    again = [layer[np.array(order)] for layer in source]
    np.testing.assert_allclose(joint_mmd(source, again), 0, atol=1e-10)


def test_symmetry_and_absent_points(x64):
    source, target = layers(7)
    a, b = weights(1, 6), weights(2, 8)
    there = joint_mmd(source, target, source_weights=a, target_weights=b)
    back = joint_mmd(target, source, source_weights=b, target_weights=a)
    np.testing.assert_allclose(there, back, rtol=1e-11)
    a[2] = 0
    present = a > 0
    expected = joint_mmd(
        [x[present] for x in source], target, source_weights=a[present], target_weights=b
    )
    for layer in source:
        layer[2] = 1e3
    found = quickly(lambda a: joint_mmd(source, target, source_weights=a, target_weights=b))(a)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_jit_and_vmap(x64):
    pairs = [layers(seed) for seed in range(3)]
    source = [np.stack([pair[0][layer] for pair in pairs]) for layer in range(2)]
    target = [np.stack([pair[1][layer] for pair in pairs]) for layer in range(2)]
    found = quickly(jax.vmap(lambda x, y: joint_mmd(x, y, bandwidth=1.7)))(source, target)
    expected = [reference_joint(x, y, [gaussian] * 2, [1.7] * 2) for x, y in pairs]
    np.testing.assert_allclose(found, expected, rtol=1e-11)


def test_degenerate_layers_have_finite_derivatives():
    """A constant layer, all points equal, and no weight at all."""
    source, target = layers(8, dtype=np.float32)
    constant = [[source[0], np.ones((6, 2), np.float32)], [target[0], np.ones((8, 2), np.float32)]]
    ones = [[np.ones_like(x) for x in side] for side in (source, target)]

    @quickly
    def everything(xs, ys, a):
        def loss(xs, a):
            return joint_mmd(xs, ys, source_weights=a)

        value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(xs, a)
        curvature = jax.grad(lambda xs: jnp.sum(jax.grad(loss)(xs, a)[0]))(xs)
        return value, gradients, curvature

    full = np.ones(6, np.float32)
    for xs, ys in (constant, ones):
        for number in jax.tree.leaves(everything(xs, ys, full)):
            assert np.isfinite(number).all()
    value = everything(*constant, full)[0]
    np.testing.assert_allclose(value, 5 * mmd(source[0], target[0]), rtol=1e-5)
    value, gradients, _ = everything(source, target, np.zeros_like(full))
    assert value == 0
    assert not any(np.asarray(g).any() for g in jax.tree.leaves(gradients))


def test_single_precision():
    source, target = layers(9, 20, 30, np.float32)
    widths = [
        bandwidth("mean", x.astype(float), y.astype(float))
        for x, y in zip(source, target, strict=True)
    ]
    expected = reference_joint(
        [x.astype(float) for x in source], [y.astype(float) for y in target], [gaussian] * 2, widths
    )
    for block_size in (None, 8):
        found = run(joint_mmd, source, target, block_size=block_size)
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_shared_mistakes():
    def f(source, target, **options):
        return joint_mmd([source], [target], **options)

    assert_mistakes_are_refused(f)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: ((x, y[:1]), {}), "(?s)source and target.*2 layers and 1 layer"),
        (lambda x, y: (([], []), {}), "source and target must be lists"),
        (lambda x, y: ((x[0], y[0]), {}), "source and target must be lists"),
        (lambda x, y: (([x[0], x[1][:3]], y), {}), "layers of source must have the same points"),
        (lambda x, y: ((x, y[::-1]), {}), "same number of features"),
        (lambda x, y: ((x, y), {"kernel": ["gaussian"] * 3}), "kernel must be one or 2"),
        (lambda x, y: ((x, y), {"bandwidth": [1.0]}), "bandwidth must be one or 2"),
        (lambda x, y: ((x, y), {"bandwidth": [1.0, 0.0]}), "bandwidth must be a positive number"),
        (lambda x, y: ((x, y), {"kernel": ["gaussian", "x"]}), "kernel must be one of.*it is 'x'"),
        (lambda x, y: ((x, y), {"estimator": "x"}), "estimator must be one of.*it is 'x'"),
    ],
)
def test_mistakes(change, message):
    arguments, options = change(*layers(10, dtype=np.float32))
    with pytest.raises(ValueError, match=message):
        joint_mmd(*arguments, **options)


def test_every_kernel_is_a_layer_s(x64):
    source, target = layers(11)
    for name in ("laplace_l2", "rational_quadratic", "linear"):
        expected = reference_joint(source, target, [KERNELS[name][1], gaussian], [1.7, 1.7])
        found = run(joint_mmd, source, target, kernel=[name, "gaussian"], bandwidth=1.7)
        np.testing.assert_allclose(found, expected, rtol=1e-11)
