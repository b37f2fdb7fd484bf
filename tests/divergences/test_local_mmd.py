"""Local MMD: the mean of the classes' own, class by class; soft labels; missing classes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import local_mmd, mmd

from .mmd_references import (
    KERNELS,
    bandwidth,
    differences,
    gaussian,
    laplace_l1,
    quickly,
    reference_local,
    reference_mmd,
    run,
    two,
    weights,
)

CLASSES = 3
HARD = np.array([0, 1, 2, 1, 0, 2, 1]), np.array([2, 2, 1, 0, 0, 1, 0, 1, 1])
EYE = np.eye(CLASSES)


def soft(seed=0, n=7, m=9, classes=CLASSES):
    draw = np.random.default_rng(seed)
    return draw.dirichlet(np.ones(classes), n), draw.dirichlet(np.ones(classes), m)


def one_by_one(x, y, s, t, b, classes=CLASSES, p=None, q=None):
    """Hard labels: MMD of each class that both sides have, of the points it has."""
    p = np.ones(len(x)) if p is None else p
    q = np.ones(len(y)) if q is None else q
    each = [
        reference_mmd(x[s == c], y[t == c], b=b, p=p[s == c], q=q[t == c])
        for c in range(classes)
        if p[s == c].sum() > 0 and q[t == c].sum() > 0
    ]
    return np.mean(each)


def test_hard_labels(x64):
    source, target = two()
    a, b = weights(1, 7), weights(2, 9)
    width = bandwidth("mean", source, target)
    expected = one_by_one(source, target, *HARD, width)
    np.testing.assert_allclose(local_mmd(source, target, *HARD, classes=3), expected, rtol=1e-11)
    one_hot = EYE[HARD[0]], EYE[HARD[1]]
    for labels in (one_hot, (HARD[0], one_hot[1]), (one_hot[0], HARD[1])):
        np.testing.assert_allclose(local_mmd(source, target, *labels), expected, rtol=1e-11)
    expected = one_by_one(
        source, target, *HARD, bandwidth("mean", source, target, p=a, q=b), p=a, q=b
    )
    for scale in (1, 50):
        found = local_mmd(
            source, target, *HARD, classes=3, source_weights=scale * a, target_weights=b / scale
        )
        np.testing.assert_allclose(found, expected, rtol=1e-11)


@pytest.mark.parametrize("kernel", KERNELS)
def test_soft_labels_of_every_kernel(kernel, x64):
    source, target = two(1)
    labels = soft()
    a, b = weights(1, 7), weights(2, 9)
    expected = reference_local(source, target, *labels, KERNELS[kernel][1], 1.7, a, b)
    found = run(
        local_mmd, source, target, *labels, kernel=kernel, bandwidth=1.7, source_weights=a,
        target_weights=b, block_size=4 if kernel == "laplace_l1" else None,
    )  # fmt: skip
    np.testing.assert_allclose(found, expected, rtol=1e-11)


def test_one_class_is_mmd(x64):
    source, target = two(2)
    found = local_mmd(source, target, np.zeros(7, int), np.zeros(9, int), classes=1)
    np.testing.assert_allclose(found, mmd(source, target), rtol=1e-11)
    # So is any number of classes that say nothing.
    alike = local_mmd(source, target, np.full((7, 4), 0.25), np.full((9, 4), 0.25))
    np.testing.assert_allclose(alike, mmd(source, target), rtol=1e-11)


def test_classes_that_one_side_lacks_do_not_count(x64):
    source, target = two(3)
    width = bandwidth("mean", source, target)
    s, t = np.array([0, 0, 1, 1, 4, 4, 4]), np.array([1, 1, 1, 1, 2, 2, 4, 4, 4])
    expected = one_by_one(source, target, s, t, width, 6)
    np.testing.assert_allclose(local_mmd(source, target, s, t, classes=6), expected, rtol=1e-11)
    # Nor does one whose points have no weight.
    a = np.where(s == 4, 0.0, 1.0)
    present = a > 0
    width = bandwidth("mean", source[present], target)
    expected = one_by_one(source[present], target, s[present], t, width, 6)
    found = quickly(lambda a: local_mmd(source, target, s, t, classes=6, source_weights=a))(a)
    np.testing.assert_allclose(found, expected, rtol=1e-11)


def test_no_class_on_both_sides_gives_zero():
    source, target = two(4, dtype=np.float32)
    s, t = np.zeros(7, int), np.ones(9, int)
    assert local_mmd(source, target, s, t, classes=2) == 0

    @quickly
    def everything(x, y, s, t, a):
        def loss(x, y, s, t, a):
            return local_mmd(x, y, s, t, source_weights=a)

        curvature = jax.grad(lambda x: jnp.sum(jax.grad(loss)(x, y, s, t, a)))(x)
        return *jax.value_and_grad(loss, argnums=(0, 1, 2, 3, 4))(x, y, s, t, a), curvature

    eye, full = np.eye(2, dtype=np.float32), np.ones(7, np.float32)
    for labels, a in (((s, t), full), ((s, np.zeros(9, int)), 0 * full)):
        value, gradients, curvature = everything(source, target, eye[labels[0]], eye[labels[1]], a)
        assert value == 0
        assert not np.asarray(gradients[0]).any() and not np.asarray(gradients[1]).any()
        assert all(np.isfinite(gradient).all() for gradient in gradients)
        assert not np.asarray(curvature).any()
    ones = np.ones_like(source), np.ones_like(target)
    for x, y in (ones, (source, ones[1])):
        for number in jax.tree.leaves(everything(x, y, eye[s], eye[np.zeros(9, int)], full)):
            assert np.isfinite(number).all()


def test_a_class_with_one_point_has_finite_derivatives():
    source, target = two(4, 3, 4, dtype=np.float32)
    s, t = np.array([0, 1, 2]), np.array([0, 1, 2, 0])
    value, gradient = quickly(
        jax.value_and_grad(lambda x: local_mmd(x, target, s, t, classes=3))
    )(source)  # fmt: skip
    width = bandwidth("mean", source.astype(float), target.astype(float))
    expected = one_by_one(source.astype(float), target.astype(float), s, t, width)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert np.isfinite(gradient).all() and np.asarray(gradient).any()


@pytest.mark.parametrize("block_size", [4, pytest.param(None, marks=pytest.mark.thorough)])
def test_derivatives(block_size, x64):
    """By points, soft labels, weights and the bandwidth; forward mode; a second one by the points."""
    source, target = two(5)
    arguments = (source, target, *soft(1), weights(1, 7), weights(2, 9), np.float64(1.7))

    def loss(x, y, s, t, a, b, width):
        return local_mmd(
            x, y, s, t, bandwidth=width, source_weights=a, target_weights=b, block_size=block_size
        )

    def expected(x, y, s, t, a, b, width, xp=np):
        return reference_local(x, y, s, t, gaussian, width, a, b, xp)

    value, gradients = quickly(jax.value_and_grad(loss, argnums=tuple(range(7))))(*arguments)
    np.testing.assert_allclose(value, expected(*arguments), rtol=1e-11)
    for i, found in enumerate(gradients):
        by_hand = differences(
            lambda new, i=i: expected(*arguments[:i], new, *arguments[i + 1 :]), arguments[i]
        )
        assert np.abs(by_hand).max() > 1e-3
        np.testing.assert_allclose(found, by_hand, rtol=1e-6, atol=1e-8)

    direction = two(9)[0]

    def products(x):
        gradient = jax.grad(loss)
        backward = jax.grad(lambda x: jnp.vdot(gradient(x, *arguments[1:]), direction))(x)
        slope, forward = jax.jvp(
            lambda x: jax.jvp(lambda x: loss(x, *arguments[1:]), (x,), (direction,))[1],
            (x,),
            (direction,),
        )
        return backward, slope, forward

    backward, slope, forward = quickly(products)(source)
    reference = quickly(jax.hessian(lambda x: expected(x, *map(jnp.asarray, arguments[1:]), xp=jnp)))  # fmt: skip
    product = jnp.einsum("ijkl,kl->ij", reference(source), direction)
    np.testing.assert_allclose(backward, product, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(slope, np.vdot(gradients[0], direction), rtol=1e-9)
    np.testing.assert_allclose(forward, np.vdot(product, direction), rtol=1e-8)


def test_probabilities_that_fall_to_zero_have_finite_derivatives():
    """A softmax that is as good as hard, where a class is all but absent."""
    source, target = two(6, dtype=np.float32)
    logits = np.array([[200.0, 0, -200], [0, 200, -200]], np.float32)

    @quickly
    def both(s, t):
        return jax.value_and_grad(
            lambda s, t: local_mmd(source, target, jax.nn.softmax(s), jax.nn.softmax(t)),
            argnums=(0, 1),
        )(s, t)

    value, gradients = both(logits[[0, 1, 0, 1, 0, 1, 1]], logits[[0, 0, 0, 1, 1, 1, 0, 1, 0]])
    hard = local_mmd(
        source, target, np.array([0, 1, 0, 1, 0, 1, 1]), np.array([0, 0, 0, 1, 1, 1, 0, 1, 0]),
        classes=3,
    )  # fmt: skip
    np.testing.assert_allclose(value, hard, rtol=1e-5)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_identities(x64):
    source, target = two(7)
    labels = soft(2)
    given = local_mmd(source, target, *labels)
    order = np.random.default_rng(3).permutation(7)
    np.testing.assert_allclose(
        local_mmd(source[order], target, labels[0][order], labels[1]), given, rtol=1e-11
    )
    np.testing.assert_allclose(local_mmd(target, source, *labels[::-1]), given, rtol=1e-11)
    same = local_mmd(source, source[order], labels[0], labels[0][order])
    np.testing.assert_allclose(same, 0, atol=1e-12)
    classes = [2, 0, 1]
    renamed = local_mmd(source, target, labels[0][:, classes], labels[1][:, classes])
    np.testing.assert_allclose(renamed, given, rtol=1e-11)


def test_vmap_and_single_precision():
    pairs = [two(seed, 12, 15, dtype=np.float32) for seed in range(2)]
    labels = [tuple(s.astype(np.float32) for s in soft(seed, 12, 15)) for seed in range(2)]
    stacked = [np.stack(x) for x in (*zip(*pairs, strict=True), *zip(*labels, strict=True))]
    found = quickly(jax.vmap(lambda *a: local_mmd(*a, kernel="laplace_l1", bandwidth=3.0)))(*stacked)  # fmt: skip
    assert found.dtype == jnp.float32
    for i in range(2):
        doubles = [z.astype(float) for z in (*pairs[i], *labels[i])]
        expected = reference_local(*doubles, laplace_l1, 3.0)
        np.testing.assert_allclose(found[i], expected, rtol=1e-5)


def test_nan_stays_nan_when_traced():
    source, target = two(8, dtype=np.float32)
    source[1, 1] = np.nan
    f = quickly(lambda x: local_mmd(x, target, *HARD, classes=3))
    assert np.isnan(f(source))


POINTS = two(9, dtype=np.float32)


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        (HARD, None, "classes must be the number of classes"),
        (HARD, 0, "classes must be the number of classes"),
        (HARD, 2, "source_labels must be from 0 to 1; they go from 0 to 2"),
        ((HARD[0], HARD[1] - 1), 3, "target_labels must be from 0 to 2; they go from -1 to 1"),
        ((HARD[0] + 1, EYE[HARD[1]]), None, "source_labels must be from 0 to 2"),
        ((HARD[0][:4], HARD[1]), 3, r"source_labels must be integers \(7,\)"),
        ((HARD[0][:, None], HARD[1]), 3, r"source_labels must be integers \(7,\)"),
        ((HARD[0].astype(float), HARD[1]), 3, r"source_labels must be integers \(7,\)"),
        ((HARD[0], EYE[HARD[1]][:4]), None, r"target_labels must be .*\(9, 3\)"),
        ((EYE[HARD[0]], np.eye(4)[HARD[1]]), None, "target_labels must be .*probabilities"),
        ((EYE[HARD[0]], HARD[1]), 4, "source_labels must be .*probabilities"),
        ((EYE[HARD[0]] - 0.5, HARD[1]), None, "source_labels must be probabilities, not negative"),
        ((np.nan * EYE[HARD[0]], HARD[1]), None, "source_labels must be finite"),
    ],
)
def test_labels_that_are_refused(labels, classes, message):
    with pytest.raises(ValueError, match=message):
        local_mmd(*POINTS, *labels, classes=classes)


def test_mistakes():
    source, target = POINTS
    for change, message in [
        ((source[0], target), "source must be an array"),
        ((source[:, 1:], target), "same number of features"),
        ((source, np.full_like(target, np.nan)), "target must be finite"),
    ]:
        with pytest.raises(ValueError, match=message):
            local_mmd(*change, *HARD, classes=3)
    for options, message in [
        ({"kernel": "x"}, "kernel must be one of"),
        ({"bandwidth": -1.0}, "bandwidth must be a positive number"),
        ({"source_weights": -np.ones(7)}, "source_weights must be finite and not negative"),
        ({"source_weights": np.ones(9)}, "source_weights must hold one weight for each point"),
        ({"target_weights": np.zeros(9)}, "target_weights must hold at least 1 above 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            local_mmd(source, target, *HARD, classes=3, **options)
    with pytest.raises(TypeError, match="source must be of floating point"):
        local_mmd(source.astype(int), target, *HARD, classes=3)
