"""The fully connected network against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxfer.models import Mlp, from_nnx


@pytest.mark.parametrize("context", [0, 3])
def test_values_are_those_of_numpy(context):
    network = from_nnx(lambda rngs: Mlp([2, 5, 4, 1], context=context, rngs=rngs))
    params, state = network.init(jax.random.key(0))
    assert state == {}
    assert set(params) == {"layer0", "layer1", "head"} | ({"context"} if context else set())
    x = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    hidden = x
    if context:
        np.testing.assert_array_equal(params["context"], np.zeros(context))
        params["context"] = jnp.arange(1.0, 1.0 + context)
        hidden = np.concatenate([x, np.tile(params["context"], (6, 1))], -1)
    for layer in ("layer0", "layer1", "head"):
        hidden = hidden @ params[layer]["kernel"] + params[layer]["bias"]
        if layer != "head":
            hidden = np.maximum(hidden, 0)
    output, _ = network.apply(params, {}, x, train=True)
    np.testing.assert_allclose(output, hidden, rtol=1e-4, atol=1e-5)


def test_two_sizes_are_a_linear_map_and_one_is_refused():
    assert Mlp([3, 2], rngs=nnx.Rngs(0))(jnp.ones((4, 3))).shape == (4, 2)
    with pytest.raises(ValueError, match=r"sizes of input and output; got \[3\]"):
        Mlp([3], rngs=nnx.Rngs(0))
