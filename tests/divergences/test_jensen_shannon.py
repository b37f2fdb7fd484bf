"""Jensen-Shannon: against SciPy, between 0 and ln 2, and nothing lost where predictions are close."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from scipy.spatial.distance import jensenshannon

from jaxfer.divergences import jensen_shannon

from . import predictions
from .checks import quickly


def test_it_is_the_square_of_scipys_distance(x64):
    z, other = predictions.logits(batch=50, classes=6)
    expected = jensenshannon(special.softmax(z, -1), special.softmax(other, -1), axis=-1) ** 2
    np.testing.assert_allclose(jensen_shannon(z, other), expected, rtol=1e-10)


def test_it_is_symmetric_and_at_most_ln_2(x64):
    z, other = predictions.logits(batch=20)
    np.testing.assert_allclose(jensen_shannon(z, other), jensen_shannon(other, z), rtol=1e-14)
    for scale in (1.0, 10.0, 1e3):
        value = jensen_shannon(scale * z, scale * other)
        assert (value >= 0).all() and (value <= np.log(2) + 1e-15).all()
    apart = jensen_shannon(jnp.array([1e4, -1e4]), jnp.array([-1e4, 1e4]))
    np.testing.assert_allclose(apart, np.log(2), rtol=1e-15)


def test_close_predictions_lose_no_digits():
    """In float32, where the textbook formula gives noise or less than 0."""
    z, other = predictions.logits(batch=50, scale=1.0, dtype=np.float32)
    close = z + np.float32(1e-3) * other
    first, second = (x.astype(np.float64) for x in (z, close))
    expected = jensenshannon(special.softmax(first, -1), special.softmax(second, -1), axis=-1) ** 2
    assert expected.max() < 1e-5
    np.testing.assert_allclose(jensen_shannon(z, close), expected, rtol=2e-3)


def test_value_and_gradient_at_equality_are_0_exactly():
    both = quickly(jax.value_and_grad(lambda *x: jensen_shannon(*x).sum(), argnums=(0, 1)))
    for z in (predictions.logits(dtype=np.float32)[0], np.float32([[1e4, -1e4], [0, 0]])):
        value, gradients = both(z, z)
        assert value == 0
        assert not any(np.asarray(gradient).any() for gradient in gradients)


@pytest.mark.slow
def test_contract(x64):
    predictions.assert_one_number_an_example(jensen_shannon)
    predictions.assert_where_is_slicing(jensen_shannon)
    predictions.assert_zero_at_equality(jensen_shannon, exactly=True)
    predictions.assert_derivatives(jensen_shannon)


def test_extreme_logits():
    predictions.assert_finite_for_extreme_logits(jensen_shannon)
