"""The open-set boundary: against NumPy and PyTorch, at its minimum, with sure predictions."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxfer import losses

from ..divergences import predictions
from .contracts import assert_finite_in_float32, assert_per_example, value_and_grad, whole

open_set_boundary = whole(losses.open_set_boundary)


def reference(z, boundary=0.5, unknown=-1):
    p = special.softmax(z, -1)[..., unknown]
    return -boundary * np.log(p) - (1 - boundary) * np.log1p(-p)


@pytest.mark.parametrize("unknown", [-1, 0, 2])
def test_it_is_numpys(unknown, x64):
    z = predictions.logits(batch=20)[0]
    for boundary in (0.5, 0.2, 0.0, 1.0):
        found = open_set_boundary(z, boundary=boundary, unknown=unknown)
        np.testing.assert_allclose(found, reference(z, boundary, unknown), rtol=1e-8, atol=1e-15)


def test_it_is_the_formula_of_pytorch_code(x64):
    torch = pytest.importorskip("torch")
    z = torch.tensor(predictions.logits(batch=20)[0])
    p = z.softmax(1)[:, -1]
    expected = torch.nn.functional.binary_cross_entropy(p, torch.full_like(p, 0.3))
    found = open_set_boundary(z.numpy(), boundary=0.3).mean()
    np.testing.assert_allclose(found, float(expected), rtol=1e-9)


def test_the_boundary_is_its_minimum(x64):
    for t in (0.2, 0.5, 0.9):
        z = jnp.log(jnp.array([0.25 * (1 - t), 0.75 * (1 - t), t]))
        value, gradient = value_and_grad(partial(open_set_boundary, boundary=t))(z)
        np.testing.assert_allclose(value, -t * np.log(t) - (1 - t) * np.log(1 - t), rtol=1e-12)
        np.testing.assert_allclose(gradient, 0, atol=1e-12)
        assert open_set_boundary(z.at[2].add(0.1), boundary=t) > value
        assert open_set_boundary(z.at[2].add(-0.1), boundary=t) > value


def test_contract(x64):
    assert_per_example(partial(open_set_boundary, boundary=0.3, unknown=0), axes=False)


def test_where_is_slicing(x64):
    z = predictions.logits()[0]
    z[0, 1] = 1e5
    where = np.ones((5, 4), bool)
    where[:, 1] = False
    where[3, 3] = False  # the unknown class itself
    where[4, :3] = False  # every known class
    f = value_and_grad(lambda z: open_set_boundary(z, where=where).sum())
    found = open_set_boundary(z, where=where)
    np.testing.assert_allclose(found[:3], open_set_boundary(z[:3][:, [0, 2, 3]]), rtol=1e-12)
    np.testing.assert_array_equal(found[3:], 0)
    _, gradient = f(z)
    assert np.isfinite(gradient).all()
    assert not gradient[3:].any() and not gradient[:, 1].any() and gradient[:3, 3].all()


def test_extreme_logits():
    assert_finite_in_float32(open_set_boundary)
    np.testing.assert_allclose(open_set_boundary(jnp.array([1e4, 0.0, 0.0])), 0.5e4, rtol=1e-6)


def test_mistakes_are_refused():
    z = predictions.logits()[0]
    with pytest.raises(
        ValueError, match="boundary must be a finite number of at least 0 and at most 1; it is 2"
    ):
        losses.open_set_boundary(z, boundary=2)
    with pytest.raises(ValueError, match="unknown must be the index of one of 4 classes; it is 4"):
        losses.open_set_boundary(z, unknown=4)
    with pytest.raises(TypeError, match="unknown must be an integer; it is 1.0"):
        losses.open_set_boundary(z, unknown=1.0)
    with pytest.raises(TypeError, match="axis must be an integer"):
        losses.open_set_boundary(z, axis=(0, 1))
    with pytest.raises(ValueError, match="must hold a known class and the unknown one"):
        losses.open_set_boundary(z[:, :1])
