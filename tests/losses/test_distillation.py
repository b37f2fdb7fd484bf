"""Distillation against PyTorch's formula in NumPy; tasks and class weights by what they promise."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, special

from jaxfer import losses
from jaxfer.losses import class_weights, project_conflicting, uncertainty_weighted

from ..divergences import predictions
from .contracts import assert_per_example


def test_distillation_is_kl_times_the_square(x64):
    z, teacher = predictions.logits()
    p, q = (special.softmax(x / 3, axis=-1) for x in (z, teacher))
    expected = 9 * (q * np.log(q / p)).sum(-1)
    found = losses.distillation(z, teacher, temperature=3.0)
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    gradients = jax.grad(lambda *x: losses.distillation(*x, temperature=3.0).sum(), (0, 1))(
        z, teacher
    )
    np.testing.assert_allclose(gradients[0], 3 * (p - q), rtol=1e-6, atol=1e-9)
    assert not gradients[1].any()
    # At a high temperature it is half the squared distance of centred logits, over the classes.
    centred = [x - x.mean(-1, keepdims=True) for x in (z, teacher)]
    flat = 0.5 * ((centred[0] - centred[1]) ** 2).mean(-1)
    np.testing.assert_allclose(losses.distillation(z, teacher, temperature=1e4), flat, rtol=1e-2)
    np.testing.assert_allclose(losses.distillation(z, z), 0, atol=1e-12)


def test_feature_distillation_is_numpys(x64):
    f, t = np.random.default_rng(0).normal(size=(2, 5, 3, 4))
    found = losses.feature_distillation(f, t, axis=(1, 2))
    np.testing.assert_allclose(found, 0.5 * ((f - t) ** 2).sum((1, 2)), rtol=1e-12)
    flat = [x.reshape(5, -1) for x in (f, t)]
    cosine = (flat[0] * flat[1]).sum(1) / np.prod([np.linalg.norm(x, axis=1) for x in flat], axis=0)
    found = losses.feature_distillation(f, t, axis=(1, 2), normalize=True)
    np.testing.assert_allclose(found, 1 - cosine, rtol=1e-10)
    where = np.arange(4) < 2
    found = losses.feature_distillation(f, t, axis=(1, 2), where=where)
    np.testing.assert_allclose(found, 0.5 * ((f - t) ** 2)[..., :2].sum((1, 2)), rtol=1e-12)
    gradient = jax.grad(
        lambda f: losses.feature_distillation(f, t, axis=(1, 2), normalize=True).sum()
    )
    assert np.isfinite(gradient(0 * f)).all()
    with pytest.raises(ValueError, match="must have the same shape"):
        losses.feature_distillation(f, t[:2])


def test_the_contract_of_per_example_losses(x64):
    def of_a_sure_teacher(z, **options):
        return losses.distillation(z, jnp.linspace(0, 1, z.size).reshape(z.shape), **options)

    # Its logits do not move with the axes, so those are tested with a teacher that does not either.
    assert_per_example(lambda z, **options: losses.distillation(z, jnp.zeros_like(z), **options))
    z = predictions.logits()[0]
    found = of_a_sure_teacher(z, where=np.arange(z.shape[-1]) < 2)
    teacher = jnp.linspace(0, 1, z.size).reshape(z.shape)
    sliced = losses.distillation(z[:, :2], teacher[:, :2])
    np.testing.assert_allclose(found, sliced, rtol=1e-10)


def test_uncertainties_end_at_the_losses(x64):
    of_tasks = np.array([0.2, 30.0, 4.0])
    regression = np.array([False, True, False])
    total = partial(uncertainty_weighted, of_tasks, regression=regression)
    best = optimize.minimize(
        jax.jit(jax.value_and_grad(total)), np.zeros(3), jac=True, options={"gtol": 1e-9}
    )
    np.testing.assert_allclose(np.exp(best.x), np.where(regression, 1, 2) * of_tasks, rtol=1e-5)
    with pytest.raises(ValueError, match="must be arrays"):
        uncertainty_weighted(of_tasks, np.zeros(2))


def reference_surgery(gradients, orders):
    total = 0
    for own, order in zip(gradients, orders, strict=True):
        projected = own.copy()
        for j in order:
            if projected @ gradients[j] < 0 and gradients[j] is not own:
                projected -= projected @ gradients[j] / (gradients[j] @ gradients[j]) * gradients[j]
        total = total + projected
    return total


def test_surgery_is_the_papers_loop(x64):
    vectors = np.random.default_rng(3).normal(size=(3, 6))
    trees = [{"a": v[:2], "b": v[2:].reshape(2, 2)} for v in vectors]
    key = jax.random.key(5)
    found = project_conflicting(trees, key)
    orders = [jax.random.permutation(k, 3) for k in jax.random.split(key, 3)]
    expected = reference_surgery(list(vectors), orders)
    np.testing.assert_allclose(
        np.concatenate([found["a"], found["b"].ravel()]), expected, rtol=1e-10
    )
    assert not np.allclose(expected, vectors.sum(0))
    agreeing = [np.array([1.0, 0.1]), np.array([0.5, 1.0])]
    np.testing.assert_allclose(project_conflicting(agreeing, key), sum(agreeing))
    still = project_conflicting([np.zeros(2), np.array([1.0, 0])], key)
    np.testing.assert_allclose(still, [1, 0])
    with pytest.raises(ValueError, match="of one structure and shape"):
        project_conflicting([np.zeros(2), np.zeros(3)], key)
    with pytest.raises(ValueError, match="at least one pytree"):
        project_conflicting([], key)


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.999, 1.0])
def test_class_weights_are_those_of_effective_numbers(x64, beta):
    counts = np.array([100.0, 7.0, 0.0, 1.0])
    some = counts > 0
    raw = np.zeros(4)
    raw[some] = 1 / counts[some] if beta == 1 else (1 - beta) / (1 - beta ** counts[some])
    expected = raw * counts.sum() / (raw @ counts)
    found = class_weights(counts, beta=beta)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert found[2] == 0


def test_class_weights_refuse_what_is_no_count():
    for counts in ([-1, 2], [0, 0]):
        with pytest.raises(ValueError, match="counts must not be negative, and not all 0"):
            class_weights(jnp.array(counts))
    with pytest.raises(ValueError, match="an array .classes."):
        class_weights(3)
