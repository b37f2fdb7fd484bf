"""PADA's class weights: against NumPy, and small where the target has no such class."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxfer import losses

from ..divergences import checks, predictions
from .contracts import assert_batch_coupled, assert_one_sample_mistakes_are_refused, whole

domain_adversarial = whole(losses.domain_adversarial)
partial_class_weights = whole(losses.partial_class_weights)


def weighed(x, weights=None, axis_name=None):
    """One number of them; the last of three features becomes a fourth logit."""
    logits = jnp.concatenate([x, jnp.sin(x[:, :1])], axis=1)
    found = partial_class_weights(logits, target_weights=weights, axis_name=axis_name)
    return found @ jnp.arange(1.0, 5).astype(found.dtype)


def test_they_are_numpys(x64):
    z, b = predictions.logits(batch=20)[0], checks.weights(1, 20)
    for temperature in (1.0, 0.1):
        mean = np.average(special.softmax(z / temperature, -1), axis=0, weights=b)
        found = partial_class_weights(z, temperature=temperature, target_weights=b)
        np.testing.assert_allclose(found, mean / mean.max(), rtol=1e-10)


def test_a_class_that_the_target_lacks_weighs_little():
    labels = np.array([0, 0, 1, 1, 1, 0])
    weights = partial_class_weights(10 * np.eye(3, dtype=np.float32)[labels])
    np.testing.assert_allclose(weights, [1, 1, 0], atol=2e-4)
    # In the domain loss, source examples of that class then hardly count.
    logits = np.float32([0.3, -1.0, 1e3])
    with_it = domain_adversarial(-logits, logits[:1], source_weights=weights)
    without = domain_adversarial(-logits[:2], logits[:1])
    np.testing.assert_allclose(with_it, without, rtol=0.1)


def test_contract(x64):
    assert_batch_coupled(weighed)


def test_equal_classes_weigh_1():
    np.testing.assert_array_equal(partial_class_weights(np.zeros((3, 4), np.float32)), 1)


def test_mistakes_are_refused():
    assert_one_sample_mistakes_are_refused(
        losses.partial_class_weights, "target_logits", "target_weights"
    )
    with pytest.raises(ValueError, match="temperature must be a finite number above 0; it is 0"):
        losses.partial_class_weights(np.ones((2, 2)), temperature=0)
