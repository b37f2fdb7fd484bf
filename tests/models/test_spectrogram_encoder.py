"""The encoder of spectrograms: its shapes, its formula, and what is too small for it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxfer.models import RecurrentSpeechEncoder, SpectrogramEncoder, from_nnx

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


def test_taps_are_what_lies_between():
    net = network(mels=8, widths=(3, 4), features=5)
    taps = from_nnx(
        lambda rngs: SpectrogramEncoder(mels=8, widths=(3, 4), features=5, rngs=rngs),
        call=lambda module, x: module.taps(x),
    )
    params, state = random_numbers(sizes(net))
    state = jax.tree.map(np.abs, state)
    x = np.random.default_rng(0).normal(size=(4, 9, 8)).astype(np.float32)
    found, features = jax.jit(
        lambda *a: (taps.apply(*a, train=False)[0], net.apply(*a, train=False)[0])
    )(params, state, x)
    shapes = {name: tap.shape for name, tap in found.items()}
    assert shapes == {
        "block0": (4, 4, 4, 3), "block1": (4, 2, 2, 4), "mean": (4, 8), "features": (4, 5)
    }  # fmt: skip
    np.testing.assert_allclose(found["features"], features, rtol=1e-6)
    mean = np.asarray(found["block1"], np.float64).mean(1).reshape(4, -1)
    np.testing.assert_allclose(found["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(features, relu(dense(mean, params["linear"])), rtol=1e-4, atol=1e-5)


def test_a_recurrent_encoders_taps_are_in_the_order_of_the_frames():
    build = lambda rngs: RecurrentSpeechEncoder(mels=3, features=4, rngs=rngs)  # noqa: E731
    taps = from_nnx(build, call=lambda module, x: module.taps(x))
    params, state = random_numbers(sizes(taps), scale=0.7)
    apply = jax.jit(lambda x: taps.apply(params, state, x, train=False)[0])
    x = np.random.default_rng(0).normal(size=(2, 6, 3)).astype(np.float32)
    other = x.copy()
    other[:, 3] += 1  # forwards what comes before does not know of it, backwards what comes after
    found, changed = apply(x), apply(other)
    for name, same in (("forward", [1, 1, 1, 0, 0, 0]), ("backward", [0, 0, 0, 0, 1, 1])):
        assert found[name].shape == (2, 6, 2)
        moved = np.abs(found[name] - changed[name]).max((0, 2))
        assert ((moved == 0) == np.array(same, bool)).all(), name
    halves = [np.asarray(found[name]).mean(1) for name in ("forward", "backward")]
    np.testing.assert_allclose(found["features"], np.concatenate(halves, 1), rtol=1e-5, atol=1e-6)
    features, _ = from_nnx(build).apply(params, state, x, train=False)
    np.testing.assert_allclose(features, found["features"], rtol=1e-5, atol=1e-6)
