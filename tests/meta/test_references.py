"""The references themselves: the gradient by hand is that of the loss."""

import jax.numpy as jnp
import numpy as np
import pytest

from .references import (
    HIDDEN,
    assert_trees_close,
    finite_differences,
    loss_and_gradient,
    make_loss,
    make_params,
    make_task,
)


@pytest.mark.parametrize("statistics", ["none", "batch", "recorded"])
def test_the_gradient_by_hand_is_that_of_the_loss(statistics, x64):
    params, batch = make_params(), make_task().support
    recorded = np.linspace(-1, 1, HIDDEN)
    loss, gradient, mean = loss_and_gradient(params, batch, statistics, recorded)
    expected = finite_differences(
        lambda p: loss_and_gradient(p, batch, statistics, recorded)[0], params
    )
    assert_trees_close(gradient, expected)

    in_jax, (state, _) = make_loss(statistics, record=True)(
        params, {"mean": jnp.asarray(recorded)}, batch, None
    )
    np.testing.assert_allclose(in_jax, loss, rtol=1e-12)
    np.testing.assert_allclose(state["mean"], mean, rtol=1e-12)
