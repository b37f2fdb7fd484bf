"""CKA against Gram matrices in float64, and by what it must not notice."""

import numpy as np
import pytest

from jaxfer.transferability import cka


def pair(n=20, d=6, other=9):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(n, d)) + 3
    return x, x @ draw.normal(size=(d, other)) + draw.normal(size=(n, other))


def plain(x, y):
    k, ell = x @ x.T, y @ y.T
    centre = np.eye(len(x)) - 1 / len(x)
    hsic = [np.trace(a @ centre @ b @ centre) for a, b in ((k, ell), (k, k), (ell, ell))]
    return hsic[0] / np.sqrt(hsic[1] * hsic[2])


def unbiased(x, y):
    n, one = len(x), np.ones(len(x))

    def hsic(a, b):
        a, b = a.copy(), b.copy()
        np.fill_diagonal(a, 0)
        np.fill_diagonal(b, 0)
        terms = np.trace(a @ b), one @ a @ one * (one @ b @ one) / (n - 1) / (n - 2)
        return (sum(terms) - 2 / (n - 2) * one @ a @ b @ one) / n / (n - 3)

    k, ell = x @ x.T, y @ y.T
    return hsic(k, ell) / np.sqrt(hsic(k, k) * hsic(ell, ell))


@pytest.mark.parametrize(("debiased", "reference"), [(False, plain), (True, unbiased)])
def test_it_is_that_of_gram_matrices(x64, debiased, reference):
    x, y = pair()
    found = cka(x, y, debiased=debiased)
    np.testing.assert_allclose(found, reference(x, y), rtol=1e-9)
    assert found < 0.95
    np.testing.assert_allclose(cka(y, x, debiased=debiased), found, rtol=1e-10)
    np.testing.assert_allclose(cka(x, x, debiased=debiased), 1, rtol=1e-10)
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))
    np.testing.assert_allclose(cka(5 * x @ turn - 7, y, debiased=debiased), found, rtol=1e-9)


def test_only_the_debiased_one_sees_that_noise_is_noise(x64):
    draw = np.random.default_rng(2)
    found = [
        [cka(*draw.normal(size=(2, 10, 200)), debiased=debiased) for _ in range(20)]
        for debiased in (False, True)
    ]
    assert np.min(found[0]) > 0.9
    assert abs(np.mean(found[1])) < 0.1


def test_what_is_constant_is_like_nothing():
    x, y = (part.astype(np.float32) for part in pair())
    assert cka(0 * x, y) == 0 and cka(0 * x, y, debiased=True) == 0


def test_mistakes_are_refused():
    x, y = pair()
    with pytest.raises(ValueError, match="of one n; their shapes are"):
        cka(x, y[1:])
    with pytest.raises(ValueError, match="at least 4 examples"):
        cka(x[:3], y[:3], debiased=True)
    with pytest.raises(TypeError, match="other_features must be of floating point"):
        cka(x, y.astype(int))
