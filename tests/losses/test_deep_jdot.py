"""DeepJDOT: against POT on the same costs, its gradient under a fixed plan, its degenerate batches."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxfer import losses

from ..divergences import checks
from .contracts import grad, value_and_grad, whole

# POT looks for every array library there is; of those, only NumPy is used here.
os.environ.update({f"POT_BACKEND_DISABLE_{name}": "1" for name in ("PYTORCH", "JAX", "CUPY")})
import ot  # noqa: E402

deep_jdot = whole(losses.deep_jdot)


TIGHT = {"tolerance": 1e-11, "max_iterations": 10_000}


def batches(n=7, m=9, dtype=np.float64):
    draw = np.random.default_rng(0)
    source, target = checks.two(n=n, m=m, dtype=dtype)
    return source, draw.integers(0, 4, n), target, (2 * draw.normal(size=(m, 4))).astype(dtype)


def cost(source, labels, target, logits, alpha, lam):
    apart = np.sum(np.square(source[:, None] - target), axis=-1)
    return alpha * apart - lam * special.log_softmax(logits, axis=1)[:, labels].T


def test_it_is_the_cost_of_pots_plan(x64):
    batch = batches()
    a, b = checks.weights(1, 7), checks.weights(2, 9)
    costs = cost(*batch, 0.3, 0.8)
    plan = ot.sinkhorn(
        a / a.sum(),
        b / b.sum(),
        costs,
        0.5,
        method="sinkhorn_log",
        stopThr=1e-12,
        numItermax=20_000,
    )
    value, info = deep_jdot(
        *batch,
        feature_weight=0.3,
        label_weight=0.8,
        epsilon=0.5,
        relative=False,
        source_weights=a,
        target_weights=b,
        **TIGHT,
    )
    np.testing.assert_allclose(value, np.sum(plan * costs), rtol=1e-8)
    assert info.converged and info.epsilon == 0.5


@pytest.mark.slow
def test_a_small_epsilon_is_the_papers_exact_transport(x64):
    batch = batches(n=8, m=8)
    costs = cost(*batch, 1.0, 1.0)
    exact = ot.emd2(np.full(8, 1 / 8), np.full(8, 1 / 8), costs)
    value, info = deep_jdot(*batch, epsilon=0.002, max_iterations=20_000)
    assert info.converged
    np.testing.assert_allclose(value, exact, rtol=1e-3)
    assert deep_jdot(*batch)[0] >= exact


@pytest.mark.slow
def test_soft_labels_of_one_are_hard_ones(x64):
    source, labels, target, logits = batches()
    hard, _ = deep_jdot(source, labels, target, logits, **TIGHT)
    soft, _ = deep_jdot(source, np.eye(4)[labels], target, logits, **TIGHT)
    np.testing.assert_allclose(soft, hard, rtol=1e-9)


def test_the_gradient_moves_features_and_logits_under_a_fixed_plan(x64):
    source, labels, target, logits = batches()
    options = {"epsilon": 0.5, "relative": False, **TIGHT}

    def loss(source, target, logits):
        return deep_jdot(source, labels, target, logits, **options)[0]

    found = grad(loss, argnums=(0, 1, 2))(source, target, logits)
    plan = ot.sinkhorn(
        np.full(7, 1 / 7),
        np.full(9, 1 / 9),
        cost(source, labels, target, logits, 1, 1),
        0.5,
        method="sinkhorn_log",
        stopThr=1e-12,
        numItermax=20_000,
    )
    apart = source[:, None] - target
    np.testing.assert_allclose(found[0], 2 * np.einsum("ij,ijd->id", plan, apart), rtol=1e-6)
    np.testing.assert_allclose(found[1], -2 * np.einsum("ij,ijd->jd", plan, apart), rtol=1e-6)
    soft = plan.T @ np.eye(4)[labels]
    expected = soft.sum(1, keepdims=True) * special.softmax(logits, axis=1) - soft
    np.testing.assert_allclose(found[2], expected, rtol=1e-6, atol=1e-9)
    arguments = (source, target, logits)
    _, forward = jax.jvp(loss, arguments, arguments)
    reverse = sum(jnp.vdot(g, x) for g, x in zip(found, arguments, strict=True))
    np.testing.assert_allclose(forward, reverse, rtol=1e-9)
    twice = grad(lambda x: jnp.sum(jnp.square(grad(loss)(x, target, logits))))(source)
    assert np.isfinite(twice).all() and np.abs(twice).max() > 0


@pytest.mark.slow
def test_it_draws_a_target_example_to_its_class(x64):
    """Two source points at one place, of different labels: the logits decide whose plan is whose."""
    source, labels = np.array([[0.0], [4.0]]), np.array([0, 1])
    target, logits = np.array([[2.1], [1.9]]), 10 * np.eye(2)
    gradient = grad(lambda y: deep_jdot(source, labels, y, logits, label_weight=10.0)[0])(target)
    assert gradient[0, 0] > 1 and gradient[1, 0] < -1
    gradient = grad(lambda y: deep_jdot(source, labels, y, logits, label_weight=0.0)[0])(target)
    assert gradient[0, 0] < 0 and gradient[1, 0] > 0


def test_weights_and_transforms(x64):
    source, labels, target, logits = batches()
    a, b = checks.weights(1, 7), checks.weights(2, 9)
    a[[2, 5]], b[0] = 0, 0
    mine, theirs = a > 0, b > 0

    def f(source, target, logits, a, b):
        return losses.deep_jdot(
            source, labels, target, logits, source_weights=a, target_weights=b, **TIGHT
        )[0]

    both = checks.quickly(jax.vmap(jax.value_and_grad(f), (0, None, None, 0, None)))
    values, gradients = both(
        np.stack([source, source, 2 * source]), target, logits, np.stack([a, 0 * a, a]), b
    )
    value, gradient = values[0], gradients[0]
    sliced, _ = deep_jdot(
        source[mine],
        labels[mine],
        target[theirs],
        logits[theirs],
        source_weights=a[mine],
        target_weights=b[theirs],
        **TIGHT,
    )
    np.testing.assert_allclose(value, sliced, rtol=1e-8)
    assert not gradient[~mine].any() and gradient[mine].any(axis=1).all()
    assert values[1] == 0 and not gradients[1].any() and values[2] != value


def test_points_that_coincide_and_sure_logits_have_finite_gradients():
    _, labels, _, logits = batches(dtype=np.float32)
    ones = np.ones((7, 3), np.float32), np.ones((9, 3), np.float32)
    for z in (1e4 * logits, 0 * logits):
        value, gradients = value_and_grad(
            lambda x, y, z: deep_jdot(x, labels, y, z)[0], argnums=(0, 1, 2)
        )(*ones, z)
        assert np.isfinite(value) and all(np.isfinite(g).all() for g in gradients)


@pytest.mark.slow
def test_features_far_from_0_lose_no_digits():
    source, labels, target, logits = batches(dtype=np.float32)
    expected, _ = deep_jdot(source, labels, target, logits)
    found, _ = deep_jdot(source + 1000, labels, target + 1000, logits)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_mistakes_are_refused():
    source, labels, target, logits = batches(dtype=np.float32)
    with pytest.raises(ValueError, match="source_labels must be from 0 to 3; they go from"):
        losses.deep_jdot(source, labels + 2, target, logits)
    with pytest.raises(
        ValueError, match=r"source_labels must be integers \(7,\) or probabilities \(7, 4\)"
    ):
        losses.deep_jdot(source, labels[1:], target, logits)
    with pytest.raises(ValueError, match=r"target_logits must be an array \[9, classes\]"):
        losses.deep_jdot(source, labels, target, logits[1:])
    with pytest.raises(
        ValueError, match="source_features and target_features must have the same number"
    ):
        losses.deep_jdot(source[:, 1:], labels, target, logits)
    with pytest.raises(ValueError, match="label_weight must be a finite number of at least 0"):
        losses.deep_jdot(source, labels, target, logits, label_weight=-1)
    with pytest.raises(ValueError, match="epsilon must be a finite number above 0"):
        losses.deep_jdot(source, labels, target, logits, epsilon=0)
    with pytest.raises(TypeError, match="source_features must be of floating point"):
        losses.deep_jdot(labels[:, None], labels, target[:, :1], logits)
