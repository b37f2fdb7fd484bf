"""The rate that is found trains, ten times as much diverges; memory is seen where the system tells."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxfer.training import find_rate, peak_memory


def test_the_suggestion_lies_below_where_gradient_descent_diverges():
    draw = np.random.default_rng(0)
    batches = draw.normal(size=(200, 32, 4)).astype(np.float32)

    def loss_fn(w, x):  # of curvature 2 at most about 6: stable below a rate of 1/3
        return jnp.mean((x @ (w - 1) * jnp.sqrt(3.0)) ** 2)

    search = find_rate(loss_fn, jnp.zeros(4), batches, optimiser=optax.sgd, highest=100.0)
    assert 1e-4 < search.suggested < 1 / 3
    assert search.losses[-1] > search.losses[0]
    with pytest.raises(ValueError, match="at least 10 steps; they hold 9"):
        find_rate(loss_fn, jnp.zeros(4), batches[:9])
    with pytest.raises(ValueError, match="0 < lowest < highest"):
        find_rate(loss_fn, jnp.zeros(4), batches, lowest=2.0)


def test_peak_memory_sees_what_was_taken():
    with peak_memory() as peak:
        block = np.ones(30_000_000)  # 240 MB
        total = block.sum()
        del block
    assert total == 3e7
    if peak.bytes is not None:
        assert 1e8 < peak.bytes < 2e9
