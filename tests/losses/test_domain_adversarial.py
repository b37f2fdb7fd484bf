"""Domain-adversarial loss: against NumPy and PyTorch, over devices, with CDAN+E's weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from jaxfer import losses

from ..divergences import checks, predictions
from .contracts import (
    assert_batch_coupled,
    assert_finite_in_float32,
    assert_per_example,
    assert_two_sample_mistakes_are_refused,
    grad,
    value_and_grad,
    whole,
)

domain_adversarial = whole(losses.domain_adversarial)
entropy_conditioning = whole(losses.entropy_conditioning)


V = np.array([0.3, -1.0, 0.5])


def scored(source, target, **options):
    v = V.astype(source.dtype)
    return domain_adversarial(source @ v, target @ v, **options)


def reference(u, v, a=None, b=None):
    source = np.average(-special.log_expit(u), weights=a)
    target = np.average(-special.log_expit(-v), weights=b)
    return 0.5 * (source + target)


def test_it_is_scipys(x64):
    u, v = checks.two(n=11, m=6, d=None)
    a, b = checks.weights(1, 11), checks.weights(2, 6)
    np.testing.assert_allclose(domain_adversarial(u, v), reference(u, v), rtol=1e-12)
    found = domain_adversarial(u, v, source_weights=a, target_weights=b)
    np.testing.assert_allclose(found, reference(u, v, a, b), rtol=1e-12)


def test_it_is_pytorchs_for_batches_of_one_size(x64):
    torch = pytest.importorskip("torch")
    u, v = checks.two(n=8, m=8, d=None)
    logits, labels = np.concatenate([u, v]), np.repeat([1.0, 0.0], 8)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.tensor(logits), torch.tensor(labels)
    )
    np.testing.assert_allclose(domain_adversarial(u, v), float(expected), rtol=1e-12)


def test_each_domain_is_half_whatever_its_size(x64):
    u, v = checks.two(n=4, m=9, d=None)
    alone = domain_adversarial(np.repeat(u, 5), v)
    np.testing.assert_allclose(domain_adversarial(u, v), alone, rtol=1e-12)
    np.testing.assert_allclose(domain_adversarial(0 * u, 0 * v), np.log(2))
    # The sign of the logits says which domain is which.
    np.testing.assert_allclose(domain_adversarial(u, v), domain_adversarial(-v, -u), rtol=1e-12)


def test_sure_critics_cost_what_they_should():
    u, v = np.float32([1e4, -1e4]), np.float32([-1e4, -1e4])
    value, gradients = value_and_grad(domain_adversarial, argnums=(0, 1))(u, v)
    np.testing.assert_allclose(value, 0.5 * 0.5 * 1e4)
    np.testing.assert_allclose(gradients[0], [0, -0.25])
    np.testing.assert_allclose(gradients[1], [0, 0])


def test_contract(x64):
    assert_batch_coupled(scored, samples=2)


def test_mistakes_are_refused():
    names = ("source_logits", "target_logits")
    assert_two_sample_mistakes_are_refused(losses.domain_adversarial, names, rank=1)
    with pytest.raises(
        ValueError, match=r"array \[n\]; it has the shape \(3, 1\). Flatten it: x.reshape\(-1\)"
    ):
        losses.domain_adversarial(np.ones((3, 1)), np.ones(3))


def test_entropy_conditioning_is_scipys(x64):
    z = predictions.logits(batch=20)[0]
    expected = 1 + np.exp(-stats.entropy(special.softmax(z, -1), axis=-1))
    np.testing.assert_allclose(entropy_conditioning(z), expected, rtol=1e-10)
    sure, unsure = jnp.array([1e4, 0, 0]), jnp.zeros(4)
    np.testing.assert_allclose(entropy_conditioning(sure), 2)
    np.testing.assert_allclose(entropy_conditioning(unsure), 1 + 1 / 4)


def test_entropy_conditioning_contract(x64):
    assert_per_example(entropy_conditioning)


def test_entropy_conditioning_in_float32():
    assert_finite_in_float32(entropy_conditioning)


def test_weights_by_entropy_change_the_loss_and_its_gradient(x64):
    u, v = checks.two(n=5, m=5, d=None)
    z, other = predictions.logits()

    def loss(u, z, stop):
        weights = entropy_conditioning(z), entropy_conditioning(other)
        if stop:
            weights = jax.lax.stop_gradient(weights)
        return domain_adversarial(u, v, source_weights=weights[0], target_weights=weights[1])

    a, b = (1 + np.exp(-stats.entropy(special.softmax(x, -1), axis=-1)) for x in (z, other))
    np.testing.assert_allclose(loss(u, z, True), reference(u, v, a, b), rtol=1e-10)
    assert not np.any(grad(lambda z: loss(u, z, True))(z))
    assert np.abs(grad(lambda z: loss(u, z, False))(z)).max() > 1e-6
