"""Singular values: against NumPy and PyTorch, and derivatives where values repeat or are 0."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxfer import losses
from jaxfer.losses.batch_spectral import _largest_squares, _nuclear_norm

from ..divergences import checks
from .contracts import (
    assert_batch_coupled,
    assert_one_sample_mistakes_are_refused,
    grad,
    value_and_grad,
    whole,
)

batch_spectral_penalty = whole(losses.batch_spectral_penalty)
nuclear_norm_maximization = whole(losses.nuclear_norm_maximization)


FUNCTIONS = {
    "one square": lambda x: _largest_squares(x, 1),
    "two squares": lambda x: _largest_squares(x, 2),
    "nuclear norm": _nuclear_norm,
}


def spectrum(values, n, d, seed=0):
    """A matrix of these singular values and random directions."""
    draw = np.random.default_rng(seed)
    u, v = (np.linalg.qr(draw.normal(size=(size, size)))[0] for size in (n, d))
    middle = np.zeros((n, d))
    np.fill_diagonal(middle, values)
    return u @ middle @ v


def test_the_penalty_is_numpys(x64):
    f, w = checks.two(n=11, d=4)[0], checks.weights(1, 11)
    s = np.linalg.svd(f, compute_uv=False)
    np.testing.assert_allclose(batch_spectral_penalty(f), s[0] ** 2, rtol=1e-12)
    found = batch_spectral_penalty(f, singular_values=3)
    np.testing.assert_allclose(found, np.sum(s[:3] ** 2), rtol=1e-12)
    np.testing.assert_allclose(
        batch_spectral_penalty(f, singular_values=4), np.sum(f**2), rtol=1e-12
    )
    s = np.linalg.svd(np.sqrt(11 * w / w.sum())[:, None] * f, compute_uv=False)
    np.testing.assert_allclose(batch_spectral_penalty(f, weights=w), s[0] ** 2, rtol=1e-12)


def test_the_nuclear_norm_is_numpys(x64):
    z = 3 * checks.two(n=11, d=4)[0]
    p = special.softmax(z, axis=1)
    expected = -np.linalg.norm(p, "nuc") / 11
    np.testing.assert_allclose(nuclear_norm_maximization(z), expected, rtol=1e-12)
    # Sure and balanced: the largest there is. One class for all: rank 1.
    best = nuclear_norm_maximization(1e4 * np.tile(np.eye(4), (3, 1)))
    np.testing.assert_allclose(best, -np.sqrt(4 / 12), rtol=1e-10)
    one = nuclear_norm_maximization(1e4 * np.eye(4)[np.zeros(12, int)])
    np.testing.assert_allclose(one, -np.sqrt(12) / 12, rtol=1e-10)


@pytest.mark.slow
def test_gradients_are_pytorchs_where_values_differ(x64):
    torch = pytest.importorskip("torch")
    f = torch.tensor(checks.two(n=9, d=4)[0], requires_grad=True)
    (torch.linalg.svdvals(f)[:2] ** 2).sum().backward()
    mine = grad(partial(batch_spectral_penalty, singular_values=2))(f.detach().numpy())
    np.testing.assert_allclose(mine, f.grad.numpy(), rtol=1e-9)
    z = torch.tensor(checks.two(n=9, d=4)[0], requires_grad=True)
    (-torch.linalg.matrix_norm(z.softmax(1), ord="nuc") / 9).backward()
    mine = grad(nuclear_norm_maximization)(z.detach().numpy())
    np.testing.assert_allclose(mine, z.grad.numpy(), rtol=1e-8, atol=1e-12)


def by_numpy(name, matrices):
    values = np.linalg.svd(matrices, compute_uv=False)
    if name == "nuclear norm":
        return values.sum(-1)
    return np.sum(values[..., : 1 if name == "one square" else 2] ** 2, axis=-1)


@jax.vmap
def first_and_second(x, t):
    """Of all three functions: value, gradient, and the second derivative along a direction."""
    found = {}
    for name, f in FUNCTIONS.items():
        value, gradient = value_and_grad(f)(x)
        found[name] = value, gradient, jax.jvp(grad(f), (x,), (t,))[1]
    return found


first_and_second = checks.quickly(first_and_second)

SMOOTH = {  # repeated or vanishing singular values where the function is smooth all the same
    "nuclear norm": ([3, 3, 1, 1], [2, 2, 2, 2]),
    "two squares": ([3, 3, 1, 1], [3, 2, 1, 0]),
    "one square": ([3, 1, 1, 0], [3, 2, 2, 0]),
}
KINKS = {
    "nuclear norm": ([3, 1, 0, 0], [0, 0, 0, 0]),
    "two squares": ([3, 2, 2, 0], [3, 0, 0, 0]),
    "one square": ([2, 2, 2, 1], [0, 0, 0, 0]),
}


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param((6, 4), id="tall"),
        pytest.param((4, 6), id="wide", marks=pytest.mark.thorough),
        pytest.param((4, 4), id="square", marks=pytest.mark.thorough),
    ],
)
def test_derivatives_are_differences_and_subgradients_at_a_kink(shape, x64):
    draw = np.random.default_rng(2)
    spectra = sorted({tuple(v) for table in (SMOOTH, KINKS) for vs in table.values() for v in vs})
    matrices = np.stack([draw.normal(size=shape), *(spectrum(v, *shape) for v in spectra)])
    directions, step = draw.normal(size=matrices.shape), 1e-5
    moved = (matrices, matrices + step * directions, matrices - step * directions)
    here, above, below = (first_and_second(x, directions) for x in moved)
    for name in FUNCTIONS:
        value, gradient, curvature = (np.asarray(number) for number in here[name])
        assert np.isfinite(curvature).all()
        np.testing.assert_allclose(value, by_numpy(name, matrices), rtol=1e-10, atol=1e-12)
        smooth = [0, *(1 + spectra.index(tuple(v)) for v in SMOOTH[name])]
        difference = (above[name][1] - below[name][1])[smooth,] / (2 * step)
        np.testing.assert_allclose(curvature[smooth], difference, rtol=1e-4, atol=1e-5)
        # All three are convex: nowhere are they below the plane of a subgradient.
        for index in (*smooth, *(1 + spectra.index(tuple(v)) for v in KINKS[name])):
            for scale in (1e-3, 1.0, 10.0):
                change = scale * draw.normal(size=(50, *shape))
                plane = value[index] + np.einsum("ij,kij->k", gradient[index], change)
                assert (by_numpy(name, matrices[index] + change) >= plane - 1e-8).all()
    # Of the nuclear norm it is the one of least norm: nothing in the directions of 0.
    for values, gradient in zip(spectra, here["nuclear norm"][1][1:], strict=True):
        found = np.linalg.svd(gradient, compute_uv=False)[:4]
        np.testing.assert_allclose(found, np.array(values) > 0, atol=1e-9)


def test_derivatives_are_finite_everywhere_in_float32():
    draw = np.random.default_rng(3)
    matrices = [
        np.zeros((5, 4)),
        np.eye(5, 4),
        np.ones((5, 4)),
        np.outer(draw.normal(size=5), draw.normal(size=4)),
        np.diag([1, 1, 1e-4, 1e-20])[[0, 1, 2, 3, 3]],
        1e15 * draw.normal(size=(5, 4)),
        1e-15 * draw.normal(size=(5, 4)),
    ]
    directions = draw.normal(size=(7, 5, 4)).astype(np.float32)
    for number in jax.tree.leaves(first_and_second(np.float32(matrices), directions)):
        assert number.dtype == np.float32 and np.isfinite(number).all()


def test_rounding_is_no_direction():
    """Predictions of rank 1 in float32 have singular values of 1e-8, whose directions are noise."""
    z = np.tile(np.float32([1.0, 2.0, -1.0]), (64, 1))
    z = z + np.float32(1e-9) * np.random.default_rng(0).normal(size=z.shape).astype(np.float32)
    gradient = grad(_nuclear_norm)(jax.nn.softmax(z))
    assert np.linalg.matrix_rank(gradient, rtol=1e-3) == 1


def test_contract(x64):
    assert_batch_coupled(partial(batch_spectral_penalty, singular_values=2), repeat=False)


def test_nuclear_norm_contract(x64):
    assert_batch_coupled(nuclear_norm_maximization, repeat=False)


def test_mistakes_are_refused():
    assert_one_sample_mistakes_are_refused(losses.batch_spectral_penalty, "features")
    assert_one_sample_mistakes_are_refused(losses.nuclear_norm_maximization, "logits")
    x = np.ones((5, 3))
    with pytest.raises(
        ValueError,
        match=r"singular_values must be at most 3, the smaller side of the batch \(5, 3\); it is 4",
    ):
        losses.batch_spectral_penalty(x, singular_values=4)
    with pytest.raises(
        TypeError, match="singular_values must be an integer of at least 1; it is 1.0"
    ):
        losses.batch_spectral_penalty(x, singular_values=1.0)
    assert jnp.shape(losses.batch_spectral_penalty(x, singular_values=3)) == ()
