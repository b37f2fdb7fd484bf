"""Adaptive feature norm: both variants against NumPy and PyTorch, and a feature that is 0."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import losses

from ..divergences import checks
from .contracts import (
    assert_batch_coupled,
    assert_one_sample_mistakes_are_refused,
    grad,
    value_and_grad,
    whole,
)

hard_feature_norm = whole(losses.hard_feature_norm)
stepwise_feature_norm = whole(losses.stepwise_feature_norm)


def test_hard_is_numpys(x64):
    f, w = checks.two(n=11, d=4)[0], checks.weights(1, 11)
    norms = np.linalg.norm(f, axis=1)
    np.testing.assert_allclose(hard_feature_norm(f), (norms.mean() - 25) ** 2, rtol=1e-12)
    found = hard_feature_norm(f, radius=2.0, weights=w)
    np.testing.assert_allclose(found, (np.average(norms, weights=w) - 2) ** 2, rtol=1e-10)


def test_hard_contract(x64):
    assert_batch_coupled(partial(hard_feature_norm, radius=3.0))


def test_stepwise_value_and_gradient_are_those_of_pytorch(x64):
    torch = pytest.importorskip("torch")
    f = torch.tensor(checks.two(n=11, d=4)[0], requires_grad=True)
    norm = f.norm(p=2, dim=1)
    expected = ((norm - (norm.detach() + 0.3)) ** 2).mean()
    expected.backward()
    value, gradient = value_and_grad(lambda f: stepwise_feature_norm(f, step=0.3).mean())(
        f.detach().numpy()
    )
    np.testing.assert_allclose(value, float(expected.detach()), rtol=1e-10)
    np.testing.assert_allclose(gradient, f.grad.numpy(), rtol=1e-10)


def test_a_step_down_its_gradient_lengthens_every_feature_alike(x64):
    f = checks.two(n=5, d=4)[0] * np.array([[1e-3], [1], [10], [1e3], [1e-9]])
    gradient = grad(lambda f: stepwise_feature_norm(f, step=0.5).sum())(f)
    longer = np.linalg.norm(f - 0.1 * gradient, axis=1)
    np.testing.assert_allclose(longer - np.linalg.norm(f, axis=1), 0.1, rtol=1e-6)


def test_stepwise_axes_and_modes(x64):
    f = checks.two(n=6, d=4)[0]
    where = np.ones((6, 4), bool)
    where[:, 1] = where[2, 3] = where[5] = False

    def total(f, **options):
        return jnp.vdot(jnp.arange(1.0, 7), stepwise_feature_norm(f, step=0.5, **options))

    gradient = grad(total)(f)
    np.testing.assert_allclose((grad(lambda f: total(f, axis=0)))(f.T).T, gradient)
    cubes = grad(lambda f: total(f, axis=(1, 2)))(f.reshape(6, 2, 2))
    np.testing.assert_allclose(cubes.reshape(6, 4), gradient)
    each = jax.vmap(grad(stepwise_feature_norm), in_axes=0)(f)
    np.testing.assert_allclose(each, gradient * 2 / np.arange(1.0, 7)[:, None])
    _, forward = jax.jvp(total, (f,), (f,))
    np.testing.assert_allclose(forward, jnp.vdot(gradient, f), rtol=1e-12)
    # Left out is sliced away, and an example without any feature has nothing.
    value = stepwise_feature_norm(f, step=0.5, where=where)
    np.testing.assert_allclose(value, [0.25] * 5 + [0])
    masked = grad(lambda f: total(f, where=where))(f)
    alone = grad(lambda f: stepwise_feature_norm(f, step=0.5).sum())(f[2:3, [0, 2]])
    np.testing.assert_allclose(masked[2, [0, 2]], 3 * alone[0], rtol=1e-12)
    assert not masked[:, 1].any() and not masked[5].any()


@pytest.mark.parametrize("f", [losses.hard_feature_norm, losses.stepwise_feature_norm])
def test_a_feature_that_is_0_or_tiny_or_huge_has_a_finite_gradient(f):
    x = np.float32([[0, 0], [1e-30, 0], [1e18, 1e18], [3, 4]])

    @jax.jit
    def derivatives(x):
        gradient = jax.grad(lambda x: jnp.sum(f(x)))
        alone = jax.vmap(gradient)(x[:, None])[:, 0]
        return gradient(x), alone, jax.jvp(gradient, (x,), (jnp.ones_like(x),))[1][:1]

    together, alone, curvature = derivatives(x)
    for number in (together, alone, curvature):
        assert np.isfinite(number).all()
    assert not together[0].any() and not alone[0].any()
    assert alone[1, 0] < -1 and alone[1, 1] == 0


def test_mistakes_are_refused():
    assert_one_sample_mistakes_are_refused(losses.hard_feature_norm, "features")
    with pytest.raises(ValueError, match="radius must be a finite number above 0; it is 0"):
        losses.hard_feature_norm(np.ones((2, 2)), radius=0)
    with pytest.raises(ValueError, match="step must be a finite number of at least 0; it is -1"):
        losses.stepwise_feature_norm(np.ones((2, 2)), step=-1)
    with pytest.raises(ValueError, match="features must hold at least 1 feature"):
        losses.stepwise_feature_norm(np.ones((2, 0)))
    with pytest.raises(TypeError, match="where must hold booleans"):
        losses.stepwise_feature_norm(np.ones((2, 2)), where=np.ones((2, 2)))
