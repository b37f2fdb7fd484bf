"""Classifier discrepancy: against SciPy's softmax and PyTorch, its bounds, its derivative at 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxfer import losses

from ..divergences import predictions
from .contracts import assert_finite_in_float32, assert_per_example, value_and_grad, whole

classifier_discrepancy = whole(losses.classifier_discrepancy)


def test_it_is_numpys(x64):
    z, other = predictions.logits(batch=20, classes=6)
    expected = np.abs(special.softmax(z, -1) - special.softmax(other, -1)).mean(-1)
    np.testing.assert_allclose(classifier_discrepancy(z, other), expected, rtol=1e-10)


def test_it_is_the_formula_of_pytorch_code(x64):
    torch = pytest.importorskip("torch")
    z, other = (torch.tensor(x) for x in predictions.logits(batch=20))
    expected = (z.softmax(1) - other.softmax(1)).abs().mean()
    found = classifier_discrepancy(z.numpy(), other.numpy()).mean()
    np.testing.assert_allclose(found, float(expected), rtol=1e-10)


def test_it_is_a_distance_of_at_most_2_over_k(x64):
    z, other = predictions.logits(batch=20)
    found = classifier_discrepancy(z, other)
    np.testing.assert_allclose(classifier_discrepancy(other, z), found, rtol=1e-12)
    assert (found <= 2 / 4).all()
    apart = classifier_discrepancy(jnp.array([1e4, 0, 0, 0]), jnp.array([0, 1e4, 0, 0]))
    np.testing.assert_allclose(apart, 2 / 4)


def test_value_and_gradient_at_equality_are_0(x64):
    """Exact equality alone is a point where the derivative is 0: it has a kink there."""
    z, _ = predictions.logits()
    both = value_and_grad(lambda *x: classifier_discrepancy(*x).sum(), argnums=(0, 1))
    for scale in (1.0, 1e4):
        value, gradients = both(scale * z, scale * z)
        assert value == 0 and not any(np.any(gradient) for gradient in gradients)


def test_contract(x64):
    assert_per_example(classifier_discrepancy, arrays=2)


def test_extreme_logits():
    assert_finite_in_float32(classifier_discrepancy, arrays=2)


def test_mistakes_are_refused():
    z, other = predictions.logits()
    with pytest.raises(ValueError, match="logits and other_logits must have the same shape"):
        losses.classifier_discrepancy(z, other[1:])
    with pytest.raises(TypeError, match="where must hold booleans"):
        losses.classifier_discrepancy(z, other, where=np.ones((5, 4)))
    with pytest.raises(ValueError, match="axis must name axes of the logits; it is 2"):
        jax.jit(lambda z, o: losses.classifier_discrepancy(z, o, axis=2))(z, other)
