"""SimCLR's loss by loops in float64, and by what it must not notice."""

import jax
import numpy as np
import pytest

from jaxfer.losses import nt_xent


def reference(first, second, temperature):
    views = np.concatenate([first, second])
    views /= np.linalg.norm(views, axis=1, keepdims=True)
    n, total = len(first), 0.0
    for i in range(2 * n):
        scores = np.exp(views @ views[i] / temperature)
        total -= np.log(scores[(i + n) % (2 * n)] / (scores.sum() - scores[i]))
    return total / (2 * n)


def test_it_is_the_papers_sum(x64):
    first, second = np.random.default_rng(0).normal(size=(2, 5, 3))
    loss = jax.jit(jax.value_and_grad(lambda a, b: nt_xent(a, b, temperature=0.3), (0, 1)))
    value, gradients = loss(first, second)
    np.testing.assert_allclose(value, reference(first, second, 0.3), rtol=1e-10)
    direction = np.random.default_rng(1).normal(size=first.shape)
    ends = [loss(first + t * direction, second)[0] for t in (1e-6, -1e-6)]
    np.testing.assert_allclose(
        np.vdot(gradients[0], direction), (ends[0] - ends[1]) / 2e-6, rtol=1e-5
    )
    order = [3, 1, 4, 0, 2]
    np.testing.assert_allclose(loss(5 * second[order], 2 * first[order])[0], value, rtol=1e-10)
    value, gradients = loss(0 * first, second)
    assert np.isfinite(value) and all(np.isfinite(g).all() for g in gradients)


def test_mistakes_are_refused():
    x = np.ones((3, 2), np.float32)
    with pytest.raises(ValueError, match="of one shape; their shapes are"):
        nt_xent(x, x[:2])
    with pytest.raises(ValueError, match="temperature must be a finite number above 0"):
        nt_xent(x, x, temperature=0.0)
    with pytest.raises(TypeError, match="second must be of floating point"):
        nt_xent(x, x.astype(int))
