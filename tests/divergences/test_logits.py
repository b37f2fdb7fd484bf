"""What is given to divergences of predictions: normalised over what takes part, or refused."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxfer.divergences import jensen_shannon, kl_logits
from jaxfer.divergences.logits import two_predictions


def test_probabilities_are_those_of_scipy(x64):
    logits, other = np.random.default_rng(0).normal(size=(2, 4, 6))
    found = two_predictions(logits, other, temperature=2.0)
    np.testing.assert_allclose(found.first, special.softmax(logits / 2, axis=-1), rtol=1e-12)
    np.testing.assert_allclose(found.log_second, special.log_softmax(other / 2, axis=-1))


def test_a_class_that_is_left_out_has_no_part():
    where = jnp.array([[True, True, False], [False, False, False]])
    found = two_predictions(jnp.zeros((2, 3)), jnp.zeros((2, 3)), where=where)
    np.testing.assert_allclose(found.first, [[0.5, 0.5, 0], [0, 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(found.log_first, [[np.log(0.5)] * 2 + [0], [0, 0, 0]], rtol=1e-6)


@pytest.mark.parametrize("divergence", [kl_logits, jensen_shannon])
def test_mistakes_are_refused(divergence):
    logits = np.zeros((4, 3), np.float32)
    with pytest.raises(TypeError, match="other_logits must be of floating point; it is int32"):
        divergence(logits, logits.astype(np.int32))
    with pytest.raises(ValueError, match=r"the same shape; their shapes are \(4, 3\) and \(1, 3\)"):
        divergence(logits, logits[:1])
    with pytest.raises(
        ValueError, match=r"axis must name axes of the logits; it is 2 for \(4, 3\)"
    ):
        divergence(logits, logits, axis=2)
    with pytest.raises(ValueError, match="logits must hold at least 1 class"):
        divergence(logits[:, :0], logits[:, :0])
    with pytest.raises(ValueError, match="logits must be finite"):
        divergence(np.full_like(logits, -np.inf), logits)
    with pytest.raises(TypeError, match="where must hold booleans; it is float32"):
        divergence(logits, logits, where=np.ones((4, 3), np.float32))
    with pytest.raises(ValueError, match=r"where must broadcast .* \(4, 3\); its shape is \(4,\)"):
        divergence(logits, logits, where=np.ones(4, bool))


def test_a_temperature_that_is_none_is_refused():
    logits = np.zeros((4, 3), np.float32)
    with pytest.raises(ValueError, match="temperature must be a finite number above 0; it is 0"):
        kl_logits(logits, logits, temperature=0)
    with pytest.raises(ValueError, match="temperature must be a finite number above 0; it is nan"):
        kl_logits(logits, logits, temperature=jnp.nan)
    with pytest.raises(TypeError, match="temperature must be a number above 0; it is None"):
        kl_logits(logits, logits, temperature=None)
    with pytest.raises(ValueError, match=r"temperature must be one number .* shape is \(4,\)"):
        kl_logits(logits, logits, temperature=jnp.ones(4))
