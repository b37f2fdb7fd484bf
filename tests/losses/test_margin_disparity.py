"""Margin disparity: against NumPy and PyTorch, and its logarithms where probabilities round to 1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxfer import losses

from ..divergences import checks
from .contracts import assert_batch_coupled, grad, value_and_grad, whole

margin_disparity = whole(losses.margin_disparity)


MAPS = np.random.default_rng(7).normal(size=(2, 3, 4))


def of_features(source, target, **options):
    """Classifier and adversary are two fixed linear maps of the features."""
    first, other = MAPS.astype(source.dtype)
    return margin_disparity(
        source @ first, source @ other, target @ first, target @ other, margin=3.0, **options
    )


def logits(n=7, m=9, classes=5):
    draw = np.random.default_rng(0)
    return tuple(3 * draw.normal(size=(size, classes)) for size in (n, n, m, m))


def reference(source, adversary, target, other, margin, a=None, b=None):
    def chosen(z, y):
        return special.log_softmax(z, axis=1)[np.arange(len(z)), y.argmax(1)]

    own = np.average(chosen(adversary, source), weights=a)
    far = np.average(np.log1p(-np.exp(chosen(other, target))), weights=b)
    return margin * own + far


def test_it_is_numpys(x64):
    z = logits()
    a, b = checks.weights(1, 7), checks.weights(2, 9)
    np.testing.assert_allclose(margin_disparity(*z), reference(*z, 4.0), rtol=1e-10)
    found = margin_disparity(*z, margin=2.5, source_weights=a, target_weights=b)
    np.testing.assert_allclose(found, reference(*z, 2.5, a, b), rtol=1e-10)


def test_it_is_the_formula_of_pytorch_code(x64):
    """With 1e-6 inside the second logarithm, as tllib has it, to which it is close."""
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    z = [torch.tensor(x) for x in logits(n=8, m=8)]
    own = -F.cross_entropy(z[1], z[0].argmax(1))
    far = F.nll_loss(-torch.log(1 - F.softmax(z[3], 1) + 1e-6), z[2].argmax(1))
    expected = 4 * own + far
    found = margin_disparity(*(x.numpy() for x in z))
    np.testing.assert_allclose(found, float(expected), rtol=1e-4)


def test_two_classes_are_softplus(x64):
    z = logits(classes=2)
    first, other = (
        np.where(y.argmax(1) == 1, x[:, 1] - x[:, 0], x[:, 0] - x[:, 1])
        for y, x in ((z[0], z[1]), (z[2], z[3]))
    )
    expected = -4 * np.logaddexp(0, -first).mean() - np.logaddexp(0, other).mean()
    np.testing.assert_allclose(margin_disparity(*z), expected, rtol=1e-12)


@pytest.mark.parametrize("gap", [20.0, 1e4])
def test_a_sure_adversary_has_a_finite_logarithm_and_a_slope(gap):
    """In float32 1 - p is 0 from a gap of 17 on; its logarithm is -gap, its slope -1."""
    classifier = np.float32([[1, 0, 0]])
    adversary = jnp.array([[gap, 0, -1e4]])

    def loss(adversary):
        return margin_disparity(classifier, adversary, classifier, adversary, margin=1.0)

    value, gradient = value_and_grad(loss)(adversary)
    np.testing.assert_allclose(value, -gap, rtol=1e-6)
    np.testing.assert_allclose(gradient, [[-1, 1, 0]], atol=1e-6)
    value, gradient = value_and_grad(loss)(-adversary)
    np.testing.assert_allclose(value, -1e4 - gap, rtol=1e-6)
    np.testing.assert_allclose(gradient, [[1, 0, -1]], atol=1e-6)


def test_small_probabilities_lose_no_digits():
    """ln(1 - p) is -p; a difference of float32 logarithms would be 0."""
    classifier, adversary = np.float32([[0, 1]]), np.float32([[20, 0]])
    far = margin_disparity(classifier, adversary, classifier, adversary, margin=1e-30)
    np.testing.assert_allclose(far, -np.exp(-20.0), rtol=1e-5)


def test_the_classifier_gives_labels_alone(x64):
    z = logits()
    gradients = grad(margin_disparity, argnums=(0, 1, 2, 3))(*z)
    assert not np.any(gradients[0]) and not np.any(gradients[2])
    assert np.abs(gradients[1]).max() > 0.1 and np.abs(gradients[3]).max() > 1e-3
    np.testing.assert_allclose(
        margin_disparity(5 * z[0] + 1, z[1] - 2, z[2], z[3]), margin_disparity(*z), rtol=1e-12
    )


def test_contract(x64):
    assert_batch_coupled(of_features, samples=2)


def test_a_margin_can_be_traced(x64):
    z = logits()
    found = jax.jit(lambda g: margin_disparity(*z, margin=g))(2.0)
    np.testing.assert_allclose(found, reference(*z, 2.0), rtol=1e-10)


def test_mistakes_are_refused():
    z = logits()
    with pytest.raises(
        ValueError, match="source_logits and source_adversary_logits must have the same"
    ):
        losses.margin_disparity(z[0][:, 1:], *z[1:])
    with pytest.raises(
        ValueError, match="target_logits and target_adversary_logits must have the same"
    ):
        losses.margin_disparity(*z[:2], z[2][1:], z[3])
    with pytest.raises(ValueError, match="must hold at least 2 classes; their shape is"):
        losses.margin_disparity(*(x[:, :1] for x in z))
    with pytest.raises(ValueError, match="margin must be a finite number above 0; it is 0"):
        losses.margin_disparity(*z, margin=0)
    with pytest.raises(TypeError, match="target_logits must be of floating point"):
        losses.margin_disparity(*z[:2], z[2].astype(int), z[3])
    with pytest.raises(
        ValueError,
        match="target_weights must hold one weight for each point of target_adversary_logits",
    ):
        losses.margin_disparity(*z, target_weights=np.ones(3))
