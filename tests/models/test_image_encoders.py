"""What networks of images are made of, against PyTorch where it is at hand; taps and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxfer.models import (
    BatchNorm,
    Conv,
    DepthwiseConv,
    ResNet,
    ResNetConfig,
    ViT,
    ViTConfig,
    from_nnx,
    image_network,
    load_image_encoder,
    max_pool_3x3,
    tensors_of,
    write_tensors,
)
from jaxfer.typing import UserError


def images(size=9, channels=4):
    return np.random.default_rng(0).normal(size=(2, size, size, channels)).astype(np.float32)


def nchw(x):
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("method", "size", "kernel", "stride"),
    [("lax", 8, 3, 2), ("lax", 9, 7, 2), ("patches", 8, 3, 2), ("patches", 9, 5, 1)],
)
def test_symmetric_padding_is_pytorchs(method, size, kernel, stride):
    torch = pytest.importorskip("torch")
    conv = Conv(
        4, 5, kernel_size=(kernel, kernel), strides=(stride, stride), padding="SYMMETRIC",
        method=method, rngs=nnx.Rngs(0),
    )  # fmt: skip
    x = images(size)
    weight = torch.tensor(nchw(np.asarray(conv.kernel[...]).transpose(3, 0, 1, 2)))
    expected = torch.nn.functional.conv2d(
        torch.tensor(nchw(x)), weight, stride=stride, padding=kernel // 2
    )
    np.testing.assert_allclose(nchw(np.asarray(conv(x))), expected.numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("padding", "size", "stride"), [("SYMMETRIC", 8, 2), ("SAME", 8, 2), ("SAME", 9, 1)]
)
def test_depthwise_convolutions_agree(padding, size, stride):
    found = [
        DepthwiseConv(4, stride=stride, padding=padding, method=method, rngs=nnx.Rngs(0))(
            images(size)
        )
        for method in ("lax", "patches")
    ]
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)


@pytest.mark.parametrize("size", [7, 8])
def test_the_pooling_is_pytorchs(size):
    torch = pytest.importorskip("torch")
    x = images(size) - 5  # below 0: what lies beyond the edge must not win
    expected = torch.nn.functional.max_pool2d(torch.tensor(nchw(x)), 3, 2, 1)
    assert np.array_equal(nchw(np.asarray(max_pool_3x3(x))), expected.numpy())


def test_the_recorded_variance_is_pytorchs():
    torch = pytest.importorskip("torch")
    norm, x = BatchNorm(4, unbiased_record=True), images(3)
    theirs = torch.nn.BatchNorm2d(4)
    expected = theirs(torch.tensor(nchw(x)))
    np.testing.assert_allclose(nchw(np.asarray(norm(x))), expected.detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(norm.variance[...], theirs.running_var.numpy(), rtol=1e-5)
    np.testing.assert_allclose(norm.mean[...], theirs.running_mean.numpy(), rtol=1e-5, atol=1e-7)


def test_taps_are_what_lies_between():
    sizes = ResNetConfig((1, 1, 1, 1), (4, 4, 6, 8), small_images=True)
    taps = jax.eval_shape(
        lambda x: ResNet(sizes, rngs=nnx.Rngs(0)).taps(x), jnp.zeros((2, 16, 16, 3))
    )
    assert {name: tap.shape for name, tap in taps.items()} == {
        "stem": (2, 16, 16, 4), "stage0": (2, 16, 16, 4), "stage1": (2, 8, 8, 4),
        "stage2": (2, 4, 4, 6), "stage3": (2, 2, 2, 8),
    }  # fmt: skip
    vit = ViTConfig(image_size=8, patch=4, width=8, layers=2, heads=2, hidden=8)
    taps = jax.eval_shape(lambda x: ViT(vit, rngs=nnx.Rngs(0)).taps(x), jnp.zeros((1, 8, 8, 3)))
    assert set(taps) == {"embedded", "block0", "block1", "norm"}
    assert taps["norm"].shape == (1, 5, 8)
    with pytest.raises(ValueError, match="images must be 8 x 8 pixels"):
        jax.eval_shape(lambda x: ViT(vit, rngs=nnx.Rngs(0))(x), jnp.zeros((1, 9, 9, 3)))


def test_the_published_sizes_are_right():
    counts = {"resnet18": 11_176_512, "resnet50": 23_508_032, "vit-s": 21_665_664}
    for name, expected in counts.items():
        network = image_network(name, image_size=224, color=True)
        params, _ = jax.eval_shape(from_nnx(network.build).init, jax.random.key(0))
        assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected


def test_what_was_saved_with_its_head_is_loaded_without(tmp_path):
    network = image_network("small", image_size=16, color=False)
    draw = np.random.default_rng(0)
    params, state = jax.tree.map(
        lambda leaf: draw.normal(size=leaf.shape).astype(leaf.dtype),
        jax.eval_shape(from_nnx(network.build).init, jax.random.key(0)),
    )
    head = {"kernel": np.ones((128, 3)), "bias": np.ones(3)}
    path = tmp_path / "model.safetensors"
    write_tensors(path, tensors_of({"encoder": params, "head": head}, {"encoder": state}))
    start = load_image_encoder(tmp_path, network)
    assert set(start.report.ignored) == {"head.kernel", "head.bias"}
    for mine, theirs in zip(
        *map(jax.tree.leaves, ((start.params, start.state), (params, state))), strict=True
    ):
        assert np.array_equal(mine, theirs)
    with pytest.raises(UserError, match="does not fit the network"):
        load_image_encoder(tmp_path, image_network("small", image_size=16, color=True))
    with pytest.raises(UserError, match="There is no network 'alexnet'; there are: small"):
        image_network("alexnet", image_size=16, color=True)
    with pytest.raises(UserError, match="vit-s takes images of a multiple of 16"):
        image_network("vit-s", image_size=100, color=True)
