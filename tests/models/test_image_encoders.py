"""What networks of images are made of, against PyTorch where it is at hand; taps and refusals."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxfer.models import (
    BatchNorm,
    Conv,
    DepthwiseConv,
    ImageClassifier,
    ResNet,
    ResNetConfig,
    ViT,
    ViTConfig,
    from_nnx,
    image_network,
    load_image_encoder,
    max_pool_3x3,
    read_tensors,
    tensors_of,
    write_tensors,
)
from jaxfer.models.image_spellings import VIT, mobilenet_spellings
from jaxfer.typing import UserError

from .encoders import GOLDEN, TINY_MOBILENET


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


def small_of(name, config, spellings):
    """A network of images by its name, of other sizes."""
    network = image_network(name, image_size=32, color=True)
    return network._replace(config=config, spellings=spellings)


SMALL_VIT = small_of(
    "vit-s", ViTConfig(image_size=8, patch=4, width=16, layers=2, heads=4, hidden=24), VIT
)
SMALL_MOBILE = small_of(
    "mobilenet", TINY_MOBILENET._replace(padding="SYMMETRIC", epsilon=1e-5),
    mobilenet_spellings(TINY_MOBILENET),
)  # fmt: skip


def golden(name, folder):
    """The golden file of a network of transformers, and its weights as a model's folder."""
    file = read_tensors(GOLDEN / f"{name}.safetensors")
    weights = {n.removeprefix("weights."): t for n, t in file.items() if n.startswith("weights.")}
    write_tensors(folder / "model.safetensors", weights)
    return file


def outputs(start, x):
    network = from_nnx(start.network.build)
    return jax.jit(lambda *a: network.apply(*a, train=False)[0])(start.params, start.state, x)


def test_weights_from_tensorflow_bring_its_padding_and_epsilon(tmp_path):
    golden("mobilenet", tmp_path)
    start = load_image_encoder(tmp_path, SMALL_MOBILE)
    assert start.network.numerics() == {"padding": "SAME", "epsilon": 1e-3}
    module = nnx.eval_shape(lambda: start.network.build(nnx.Rngs(0)))
    assert module.block1.depthwise.padding == "SAME"
    assert module.last_norm.epsilon == module.block3.expand_norm.epsilon == 1e-3
    # The same tensors under jaxfer's names are the network's own, unless the file says otherwise.
    tensors = tensors_of(start.params, start.state)
    path = tmp_path / "converted.safetensors"
    for note, expected in (
        ({}, SMALL_MOBILE.numerics()),
        ({"padding": "SAME", "epsilon": "0.001"}, start.network.numerics()),
    ):
        write_tensors(path, tensors, note=note)
        assert load_image_encoder(path, SMALL_MOBILE).network.numerics() == expected
    write_tensors(path, tensors)
    settings = {"network": "mobilenet", **start.network.numerics()}
    (tmp_path / "jaxfer.json").write_text(json.dumps({"settings": settings}))
    assert load_image_encoder(path, SMALL_MOBILE).network == start.network
    (tmp_path / "config.json").write_text('{"tf_padding": false, "layer_norm_eps": 1e-4}')
    found = load_image_encoder(tmp_path / "model.safetensors", SMALL_MOBILE).network
    assert found.numerics() == {"padding": "SYMMETRIC", "epsilon": 1e-4}
    for content, complaint in (
        ('{"layer_norm_eps": 0}', "epsilon must be a number above 0; it is 0"),
        ("[]", "config.json cannot be read .it is no object."),
    ):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(UserError, match=complaint):
            load_image_encoder(tmp_path / "model.safetensors", SMALL_MOBILE)


@pytest.mark.slow
def test_what_is_loaded_computes_what_tensorflows_weights_want(tmp_path):
    file = golden("mobilenet", tmp_path)
    found = outputs(load_image_encoder(tmp_path, SMALL_MOBILE), file["input.x"])
    scale = np.abs(file["output"]).max()
    np.testing.assert_allclose(found, file["output"], atol=1e-4 * scale)
    wrong = load_image_encoder(tmp_path, SMALL_MOBILE)._replace(network=SMALL_MOBILE)
    assert np.abs(outputs(wrong, file["input.x"]) - file["output"]).max() > 1e-2 * scale


def test_a_vision_transformers_epsilon_is_that_of_its_file(tmp_path):
    file = golden("vit", tmp_path)
    assert load_image_encoder(tmp_path, SMALL_VIT).network.numerics() == {"epsilon": 1e-12}
    for epsilon in (1e-6, 1.0):  # the golden file was made with the first
        (tmp_path / "config.json").write_text(json.dumps({"layer_norm_eps": epsilon}))
        start = load_image_encoder(tmp_path, SMALL_VIT)
        assert start.network.numerics() == {"epsilon": epsilon}
        error = np.abs(outputs(start, file["input.x"]) - file["output"]).max()
        assert (error < 1e-4) == (epsilon == 1e-6)


def test_a_frozen_encoders_batch_statistics_stand_still_in_training():
    sizes = ResNetConfig((1, 1, 1, 1), (4, 4, 4, 4), small_images=True)

    def build(rngs):
        return ImageClassifier(ResNet(sizes, rngs=rngs), features=4, classes=2, rngs=rngs)

    x = images(8, 3)
    found = {}
    for name, frozen in (("frozen", ("encoder",)), ("free", ())):
        network = from_nnx(build, frozen=frozen)
        draw = np.random.default_rng(0)
        params, state = jax.tree.map(
            lambda leaf: draw.uniform(0.5, 1.5, leaf.shape).astype(leaf.dtype),  # noqa: B023
            jax.eval_shape(network.init, jax.random.key(0)),
        )
        found[name] = jax.jit(lambda *a: network.apply(*a, train=True))(params, state, x)  # noqa: B023
    evaluated, _ = jax.jit(lambda *a: network.apply(*a, train=False))(params, state, x)
    output, after = found["frozen"]
    assert len(jax.tree.leaves(state)) == 2 * 12
    assert all(map(np.array_equal, *map(jax.tree.leaves, (after, state))))
    np.testing.assert_allclose(output.features, evaluated.features, rtol=1e-5)
    output, after = found["free"]
    assert not any(map(np.array_equal, *map(jax.tree.leaves, (after, state))))
    assert not np.allclose(output.features, evaluated.features, rtol=0.1)
