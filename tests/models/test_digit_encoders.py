"""LeNet and the DANN paper's network: their published sizes, and what they compute."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxfer.models import DannDigitEncoder, LeNet, from_nnx, small_lenet

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


def lenet(**options):
    return from_nnx(lambda rngs: LeNet(rngs=rngs, **options))


def dann(**options):
    return from_nnx(lambda rngs: DannDigitEncoder(rngs=rngs, **options))


def small(**options):
    return from_nnx(lambda rngs: small_lenet(rngs=rngs, **options))


@pytest.mark.parametrize(
    ("network", "image", "features"),
    [
        (lenet(), (28, 28, 1), 500),
        (lenet(in_features=3, dropout=0.5, batch_norm=True), (28, 28, 3), 500),
        (lenet(image_size=32, features=100), (32, 32, 1), 100),
        (small(), (8, 8, 1), 128),
        (small(in_features=3, dropout=0.5, features=64), (8, 8, 3), 64),
        (dann(), (28, 28, 3), 768),
        (dann(in_features=1, image_size=32, batch_norm=True), (32, 32, 1), 1200),
    ],
)
@pytest.mark.parametrize("train", [True, False])
def test_shape_of_the_features(network, image, features, train):
    assert output_shape(network, jnp.zeros((7, *image)), train) == (7, features)


def test_sizes_are_the_published_ones():
    """Caffe's LeNet has 431080 parameters with its classifier of 10; DANN's layers by hand."""
    params, state = sizes(lenet(dropout=0.5))
    assert count(params) + 500 * 10 + 10 == 431_080 and state == {}
    params, state = sizes(lenet(batch_norm=True))
    assert count(params) == 426_070 + 2 * 70 and count(state) == 2 * 70
    params, _ = sizes(dann())
    assert count(params) == (75 * 32 + 32) + (25 * 32 * 48 + 48)
    assert set(params) == {"conv0", "conv1"}


def test_lenet_is_its_formula():
    network = small(in_features=3, features=5)
    params = random_numbers(sizes(network)[0])
    x = np.random.default_rng(1).random((4, 8, 8, 3)).astype(np.float32)
    found, _ = jax.jit(lambda p, x: network.apply(p, {}, x, train=True))(params, x)
    y = relu(pool(convolve(x, params["conv0"], padding=1)))
    y = relu(pool(convolve(y, params["conv1"], padding=1)))
    expected = relu(dense(y.reshape(4, -1), params["linear"]))
    assert (expected > 0).any()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_the_network_of_dann_is_its_formula_with_a_norm_before_the_activation():
    network = dann(image_size=16, in_features=1, batch_norm=True)
    params, state = random_numbers(sizes(network))
    for norm in ("norm0", "norm1"):
        params[norm] = {"scale": np.ones_like(params[norm]["scale"]), "bias": 0 * params[norm]["bias"]}  # fmt: skip
    x = np.random.default_rng(1).random((4, 16, 16, 1)).astype(np.float32)
    found, recorded = jax.jit(lambda p, s, x: network.apply(p, s, x, train=True))(params, state, x)
    y = pool(relu(normalise(convolve(x, params["conv0"]))))
    y = pool(relu(normalise(convolve(y, params["conv1"]))))
    np.testing.assert_allclose(found, y.reshape(4, -1), rtol=1e-3, atol=1e-3)
    assert (recorded["norm1"]["mean"] != 0).any()


def test_dropout_is_for_training_and_takes_whole_channels():
    network = from_nnx(
        lambda rngs: LeNet(image_size=4, widths=(1, 2), kernel_size=1, features=9, dropout=0.5, rngs=rngs)
    )  # fmt: skip
    params = random_numbers(sizes(network)[0])
    x = jnp.ones((3, 4, 4, 1))
    apply = jax.jit(
        lambda key, train: network.apply(params, {}, x, train=train, key=key)[0], static_argnums=1
    )
    one, two = jax.random.key(0), jax.random.key(1)
    np.testing.assert_array_equal(apply(one, False), apply(two, False))
    assert (apply(one, True) != apply(two, True)).any()


def test_images_that_are_too_small():
    with pytest.raises(ValueError, match="image_size 12 is too small for two convolutions of 5"):
        LeNet(image_size=12, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="at least 16; got 15"):
        DannDigitEncoder(image_size=15, rngs=nnx.Rngs(0))
    assert output_shape(lenet(image_size=16), jnp.zeros((1, 16, 16, 1))) == (1, 500)
