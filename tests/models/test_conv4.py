"""Conv4: its two forms, its size, and what it computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxfer.models import Conv4, ConvBlock, from_nnx
from jaxfer.typing import Classification


def network(**options):
    return from_nnx(lambda rngs: Conv4(rngs=rngs, **options))


def shapes(network):
    return jax.tree.map(lambda leaf: leaf.shape, jax.eval_shape(network.init, jax.random.key(0)))


def count(tree):
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("downsampling", "image_size", "in_features", "features"),
    [
        ("stride", 28, 1, 64),
        ("stride", 20, 3, 64),
        ("max_pool", 28, 1, 64),
        ("max_pool", 84, 3, 1600),
    ],
)
def test_outputs_of_both_forms(downsampling, image_size, in_features, features):
    net = network(
        classes=5, downsampling=downsampling, image_size=image_size, in_features=in_features
    )
    params, state = jax.eval_shape(net.init, jax.random.key(0))
    images = jnp.zeros((7, image_size, image_size, in_features))
    output, new_state = jax.eval_shape(lambda *a: net.apply(*a, train=True), params, state, images)
    assert isinstance(output, Classification)
    assert output.features.shape == (7, features)
    assert output.logits.shape == (7, 5)
    assert jax.tree.structure(new_state) == jax.tree.structure(state)


def test_size_is_that_of_the_papers():
    """MAML's Omniglot network has 112,261 parameters at 5-way, 256 of them biases that a batch
    normalisation takes away again, which are left out here.
    """
    kernels = 9 * (1 * 64 + 3 * 64 * 64)
    norms = 4 * 2 * 64
    head = 64 * 5 + 5
    assert kernels + norms + 4 * 64 + head == 112_261
    params, state = jax.eval_shape(network(classes=5).init, jax.random.key(0))
    assert count(params) == kernels + norms + head
    assert count({name: params[name]["conv"] for name in params if "block" in name}) == 111_168
    assert count(state) == 4 * 2 * 64
    pooled, _ = jax.eval_shape(network(classes=20, downsampling="max_pool").init, jax.random.key(0))
    assert count(pooled) == kernels + norms + 64 * 20 + 20


def test_names_that_learners_choose_by():
    params, state = shapes(network(classes=5, width=8, context=10))
    blocks = {f"block{i}" for i in range(4)}
    assert set(params) == blocks | {"head", "film", "context"}
    assert set(params["block0"]) == {"conv", "norm"}
    assert params["block0"]["conv"] == {"kernel": (3, 3, 1, 8)}
    assert params["block3"]["conv"] == {"kernel": (3, 3, 8, 8)}
    assert params["block1"]["norm"] == {"scale": (8,), "bias": (8,)}
    assert params["head"] == {"kernel": (8, 5), "bias": (5,)}
    assert params["context"] == (10,)
    assert params["film"]["kernel"] == (10, 4 * 2 * 8)
    assert state == {block: {"norm": {"mean": (8,), "variance": (8,)}} for block in blocks}


def normalised(x):
    return (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)


def by_hand(params, x, downsampling):
    """The network in NumPy, by XLA's convolution."""
    features = params["block0"]["conv"]["kernel"].shape[-1]
    film = np.zeros((4, 2, features))
    if "film" in params:
        film = params["context"] @ params["film"]["kernel"] + params["film"]["bias"]
        film = np.asarray(film).reshape(4, 2, features)
    for i in range(4):
        block = params[f"block{i}"]
        stride = 2 if downsampling == "stride" else 1
        y = jax.lax.conv_general_dilated(
            x, block["conv"]["kernel"], (stride, stride), "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip
        y = normalised(np.asarray(y)) * block["norm"]["scale"] + block["norm"]["bias"]
        x = np.maximum(y * (1 + film[i, 0]) + film[i, 1], 0)
        if downsampling == "max_pool":
            n, height, width, _ = x.shape
            x = x[:, : height // 2 * 2, : width // 2 * 2]
            x = x.reshape(n, height // 2, 2, width // 2, 2, features).max((2, 4))
    features = x.mean((1, 2)) if downsampling == "stride" else x.reshape(len(x), -1)
    return features, features @ params["head"]["kernel"] + params["head"]["bias"]


@pytest.mark.parametrize(
    ("downsampling", "image_size", "context"),
    [("stride", 14, 0), ("stride", 9, 3), ("max_pool", 17, 0)],
)
def test_values_are_those_by_hand(downsampling, image_size, context):
    with jax.enable_x64(True):
        net = network(
            classes=3, width=4, image_size=image_size, downsampling=downsampling, context=context
        )
        params, state = net.init(jax.random.key(0))
        draw = np.random.default_rng(0)
        params = jax.tree.map(lambda leaf: leaf + 0.3 * draw.normal(size=leaf.shape), params)
        x = draw.normal(size=(5, image_size, image_size, 1))
        apply = jax.jit(net.apply, static_argnames="train")
        output, _ = apply(params, state, x, train=True)
        features, logits = by_hand(params, x, downsampling)
    np.testing.assert_allclose(output.features, features, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(output.logits, logits, rtol=1e-7, atol=1e-9)


def test_a_context_of_zero_changes_nothing_before_it_is_learned():
    """At zero only the film's bias acts, and that starts at zero."""
    plain, conditioned = (network(classes=3, width=4, image_size=4, context=c) for c in (0, 6))
    params, state = conditioned.init(jax.random.key(0))
    x = np.random.default_rng(0).normal(size=(6, 4, 4, 1)).astype(np.float32)
    expected, _ = plain.apply(
        {name: p for name, p in params.items() if name not in ("film", "context")},
        state,
        x,
        train=True,
    )
    actual, _ = conditioned.apply(params, state, x, train=True)
    np.testing.assert_allclose(actual.logits, expected.logits, rtol=1e-5, atol=1e-6)


def test_one_image_s_answer_depends_on_the_others_in_training_alone():
    net = network(classes=3, width=4, image_size=4, momentum=0.0)
    params, state = net.init(jax.random.key(0))
    x = np.random.default_rng(0).normal(size=(6, 4, 4, 1)).astype(np.float32)
    together, recorded = net.apply(params, state, x, train=True)
    alone, _ = net.apply(params, state, x[:2], train=True)
    assert np.abs(together.logits[:2] - alone.logits).max() > 1e-3

    judged, unchanged = net.apply(params, recorded, x[:2], train=False)
    np.testing.assert_allclose(judged.logits, together.logits[:2], rtol=1e-4, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, unchanged, recorded)


def test_max_pool_takes_every_window_s_maximum():
    block = ConvBlock(1, 4, downsampling="max_pool", rngs=nnx.Rngs(0))
    strided = ConvBlock(1, 4, downsampling="stride", rngs=nnx.Rngs(0))
    x = jnp.ones((2, 7, 10, 1))
    assert block(x).shape == (2, 3, 5, 4)
    assert strided(x).shape == (2, 4, 5, 4)


def test_scale_and_shift_modulate_before_the_relu():
    block, x = ConvBlock(1, 3, rngs=nnx.Rngs(0)), jax.random.normal(jax.random.key(0), (4, 6, 6, 1))
    scale, shift = jnp.array([0.0, 1.0, -2.0]), jnp.array([0.5, -0.1, 0.2])
    before = np.asarray(block.norm(block.conv(x)))
    expected = np.maximum(before * (1 + scale) + shift, 0)
    np.testing.assert_allclose(block(x, scale, shift), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(block(x), np.maximum(before, 0), rtol=1e-4, atol=1e-5)


def test_an_image_too_small_for_four_poolings_is_refused():
    with pytest.raises(ValueError, match="image_size must be at least 16 for max_pool; got 15"):
        Conv4(classes=5, image_size=15, downsampling="max_pool", rngs=nnx.Rngs(0))
    smallest = network(classes=5, image_size=16, width=2, downsampling="max_pool")
    assert shapes(smallest)[0]["head"]["kernel"] == (2, 5)
