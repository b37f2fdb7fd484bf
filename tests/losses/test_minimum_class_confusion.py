"""Minimum class confusion: against the matrix in NumPy and in PyTorch, and where it underflows."""

import numpy as np
import pytest
from scipy import special, stats

from jaxfer import losses

from ..divergences import checks, predictions
from .contracts import (
    assert_batch_coupled,
    assert_one_sample_mistakes_are_refused,
    grad,
    value_and_grad,
    whole,
)

minimum_class_confusion = whole(losses.minimum_class_confusion)


def reference(z, temperature=2.5, weighted=True, w=None):
    """The confusion matrix written out, row by row."""
    p = special.softmax(z / temperature, axis=1)
    weights = np.ones(len(z)) if w is None else w.copy()
    if weighted:
        weights *= 1 + np.exp(-stats.entropy(p, axis=1))
    matrix = np.einsum("i,ik,il->kl", weights, p, p)
    matrix /= matrix.sum(1, keepdims=True)
    return (matrix.sum() - np.trace(matrix)) / len(matrix)


@pytest.mark.parametrize("weighted", [True, False])
def test_it_is_the_matrix_of_numpy(weighted, x64):
    z, w = predictions.logits(batch=20, classes=6)[0], checks.weights(1, 20)
    found = minimum_class_confusion(z, entropy_weights=weighted)
    np.testing.assert_allclose(found, reference(z, weighted=weighted), rtol=1e-10)
    found = minimum_class_confusion(z, temperature=1.3, weights=w, entropy_weights=weighted)
    np.testing.assert_allclose(found, reference(z, 1.3, weighted, w), rtol=1e-10)


def test_value_and_gradient_are_the_published_formulas_in_pytorch(x64):
    torch = pytest.importorskip("torch")
    z = torch.tensor(predictions.logits(batch=12)[0], requires_grad=True)
    p = (z / 2.5).softmax(1)
    weights = 1 + torch.exp((p * torch.log(p)).sum(1)).detach()
    weights = len(z) * weights / weights.sum()
    matrix = (p * weights[:, None]).T @ p
    matrix = matrix / matrix.sum(1)
    expected = (matrix.sum() - matrix.trace()) / z.shape[1]
    expected.backward()
    value, gradient = value_and_grad(minimum_class_confusion)(z.detach().numpy())
    np.testing.assert_allclose(value, float(expected.detach()), rtol=1e-10)
    np.testing.assert_allclose(gradient, z.grad.numpy(), rtol=1e-8, atol=1e-14)


def test_its_bounds(x64):
    np.testing.assert_allclose(minimum_class_confusion(np.zeros((7, 4))), 1 - 1 / 4)
    np.testing.assert_allclose(minimum_class_confusion(1e4 * np.eye(4)), 0, atol=1e-12)


def test_a_class_of_vanishing_mass_keeps_its_share():
    """Its row is the mean of the others' predictions in proportion to exp(-200), not 0 / 0."""
    z = np.float32([[0.0, 0.0, -200.0], [5.0, 0.0, -200.0]])
    f = value_and_grad(lambda z: minimum_class_confusion(z, temperature=1.0))
    value, gradient = f(z)
    expected = reference(z.astype(np.float64), 1.0)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0.01
    value, gradient = f(100 * z)  # beyond what float64 holds
    assert np.isfinite(value) and np.isfinite(gradient).all()


@pytest.mark.slow
def test_the_entropy_weights_are_constants(x64):
    """The derivative is that with the weights given as numbers."""
    z = predictions.logits(batch=6)[0]
    w = 1 + np.exp(-stats.entropy(special.softmax(z / 2.5, axis=1), axis=1))
    given = grad(lambda z: minimum_class_confusion(z, weights=w, entropy_weights=False))
    np.testing.assert_allclose(grad(minimum_class_confusion)(z), given(z), rtol=1e-9, atol=1e-14)


def test_contract(x64):
    assert_batch_coupled(minimum_class_confusion, smooth=False)


def test_mistakes_are_refused():
    assert_one_sample_mistakes_are_refused(losses.minimum_class_confusion, "logits")
    with pytest.raises(ValueError, match="temperature must be a finite number above 0; it is 0"):
        losses.minimum_class_confusion(np.ones((2, 2)), temperature=0)
    with pytest.raises(TypeError, match="entropy_weights must be True or False; it is 1"):
        losses.minimum_class_confusion(np.ones((2, 2)), entropy_weights=1)
