"""The encoder of spectrograms: its shapes, its formula, and what is too small for it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxfer.models import SpectrogramEncoder, from_nnx

from .encoders import (
    convolve,
    count,
    dense,
    normalise,
    output_shape,
    pool,
    random_numbers,
    relu,
    sizes,
)


def network(**options):
    return from_nnx(lambda rngs: SpectrogramEncoder(rngs=rngs, **options))


def test_shapes_and_sizes():
    net = network(dropout=0.5)
    assert output_shape(net, jnp.zeros((3, 61, 40))) == (3, 128)
    params, state = sizes(net)
    kernels = 9 * (16 + 16 * 32 + 32 * 64)
    assert count(params) == kernels + 2 * 112 + 5 * 64 * 128 + 128
    assert count(state) == 2 * 112


def test_it_is_its_formula():
    net = network(mels=8, widths=(3, 4), features=5)
    params, state = random_numbers(sizes(net))
    for norm in ("norm0", "norm1"):
        params[norm] = {
            "scale": np.ones_like(params[norm]["scale"]),
            "bias": 0 * params[norm]["bias"],
        }
    x = np.random.default_rng(0).normal(size=(4, 9, 8)).astype(np.float32)
    found, _ = jax.jit(lambda p, s, x: net.apply(p, s, x, train=True))(params, state, x)
    y = x[..., None]
    for conv in ("conv0", "conv1"):
        y = pool(relu(normalise(convolve(y, params[conv], padding=1))))
    expected = relu(dense(y.mean(1).reshape(4, -1), params["linear"]))
    assert (expected > 0).any()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_what_is_too_small():
    with pytest.raises(ValueError, match="mels must be at least 8 to be halved 3 times; got 7"):
        SpectrogramEncoder(mels=7, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="7 frames cannot be halved 3 times"):
        output_shape(network(mels=8), jnp.zeros((1, 7, 8)))
