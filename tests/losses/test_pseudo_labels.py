"""Pseudo-labels and FixMatch: against optax, the threshold, and which logits learn."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special

from jaxfer import losses

from ..divergences import predictions
from .contracts import assert_finite_in_float32, assert_per_example, grad, whole

fixmatch_consistency = whole(losses.fixmatch_consistency)
pseudo_label_cross_entropy = whole(losses.pseudo_label_cross_entropy)


def optaxs(labelling, learning, threshold):
    p = special.softmax(labelling, -1)
    loss = optax.softmax_cross_entropy_with_integer_labels(learning, p.argmax(-1))
    return np.where(p.max(-1) >= threshold, loss, 0)


def test_they_are_optaxs(x64):
    z, other = predictions.logits(batch=50, scale=2.0)
    for threshold in (0.0, 0.5, 0.8):
        expected = optaxs(z, other, threshold)
        assert (expected == 0).any() == (threshold > 0) and (expected > 0).any()
        found = fixmatch_consistency(z, other, threshold=threshold)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        found = pseudo_label_cross_entropy(z, threshold=threshold)
        np.testing.assert_allclose(found, optaxs(z, z, threshold), rtol=1e-10)
    np.testing.assert_array_equal(
        fixmatch_consistency(z, other), fixmatch_consistency(z, other, threshold=0.95)
    )


def test_the_threshold_itself_is_enough():
    z = jnp.zeros((1, 2))
    np.testing.assert_allclose(pseudo_label_cross_entropy(z, threshold=0.5), np.log(2))
    assert pseudo_label_cross_entropy(z, threshold=0.5001) == 0
    sure = jnp.array([[1e4, 0.0]])
    np.testing.assert_allclose(fixmatch_consistency(sure, z, threshold=1.0), np.log(2))


def test_only_the_strong_view_learns(x64):
    z, other = predictions.logits(batch=50, scale=2.0)
    f = lambda *x: fixmatch_consistency(*x, threshold=0.6).sum()  # noqa: E731
    weak, strong = grad(f, argnums=(0, 1))(z, other)
    assert not np.any(weak)
    taken = special.softmax(z, -1).max(-1) >= 0.6
    expected = special.softmax(other, -1) - np.eye(4)[z.argmax(-1)]
    np.testing.assert_allclose(strong, np.where(taken[:, None], expected, 0), atol=1e-12)
    one = grad(lambda z: pseudo_label_cross_entropy(z, threshold=0.6).sum())(z)
    expected = special.softmax(z, -1) - np.eye(4)[z.argmax(-1)]
    np.testing.assert_allclose(one, np.where(taken[:, None], expected, 0), atol=1e-12)


def test_contract(x64):
    def strong(strong_logits, weak_logits, **options):
        """The checks want a derivative with respect to what comes first."""
        return fixmatch_consistency(weak_logits, strong_logits, threshold=0.3, **options)

    assert_per_example(strong, arrays=2, axes=False)
    assert_per_example(partial(pseudo_label_cross_entropy, threshold=0.3), axes=False)


def test_extreme_logits():
    assert_finite_in_float32(fixmatch_consistency, arrays=2)


def test_nan_stays_nan_in_its_example():
    z = jnp.array([[jnp.nan, 0.0], [9.0, 0.0]])
    f = jax.jit(fixmatch_consistency)
    for found in (
        f(z, 0 * z.at[0].set(0)),
        f(z.at[0].set(9.0), z),
        jax.jit(pseudo_label_cross_entropy)(z),
    ):
        assert not np.isnan(found[1])
    assert np.isnan(f(z, jnp.zeros((2, 2)))[0])
    assert np.isnan(jax.jit(pseudo_label_cross_entropy)(z)[0])


def test_a_threshold_can_be_traced(x64):
    z, other = predictions.logits(batch=50)
    found = jax.jit(lambda t: fixmatch_consistency(z, other, threshold=t))(0.7)
    np.testing.assert_allclose(found, optaxs(z, other, 0.7), rtol=1e-12)


def test_mistakes_are_refused():
    z, other = predictions.logits()
    with pytest.raises(
        ValueError, match="threshold must be a finite number of at least 0 and at most 1; it is 1.5"
    ):
        losses.pseudo_label_cross_entropy(z, threshold=1.5)
    with pytest.raises(ValueError, match="weak_logits and strong_logits must have the same shape"):
        losses.fixmatch_consistency(z, other[1:])
    with pytest.raises(TypeError, match="axis must be an integer"):
        losses.fixmatch_consistency(z, other, axis=(0, 1))
    with pytest.raises(TypeError, match="strong_logits must be of floating point"):
        losses.fixmatch_consistency(z, other.astype(int))
    with pytest.raises(ValueError, match="weak_logits must be finite"):
        losses.fixmatch_consistency(np.full_like(z, np.nan), other)
