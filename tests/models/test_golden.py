"""Published networks against PyTorch's transformers, by files that golden/make_golden.py wrote."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxfer.models import (
    Bert,
    BertConfig,
    MobileNetV2,
    ResNet,
    ResNetConfig,
    ViT,
    ViTConfig,
    fold_low_rank,
    from_nnx,
    load_tensors,
    read_peft,
    read_tensors,
    with_adapter,
)
from jaxfer.models.image_spellings import RESNET, VIT, mobilenet_spellings
from jaxfer.models.spellings import BERT
from jaxfer.typing import PyTree, Tokens

from .encoders import GOLDEN, TINY_MOBILENET

_SMALL = {"vocabulary": 40, "width": 16, "layers": 2, "heads": 4, "hidden": 24, "positions": 12}


def resnet(**options):
    sizes = ResNetConfig(blocks=(1, 2, 1, 1), **options)
    return lambda rngs: ResNet(sizes, rngs=rngs)


NETWORKS = {
    "bert": (lambda rngs: Bert(BertConfig(**_SMALL), rngs=rngs), BERT),
    "distilbert": (lambda rngs: Bert(BertConfig(**_SMALL, segments=0), rngs=rngs), BERT),
    "vit": (
        lambda rngs: ViT(
            ViTConfig(image_size=8, patch=4, width=16, layers=2, heads=4, hidden=24), rngs=rngs
        ),
        VIT,
    ),
    "resnet_basic": (resnet(widths=(8, 8, 12, 12)), RESNET),
    "resnet_bottleneck": (resnet(widths=(4, 4, 6, 6), bottleneck=True), RESNET),
    "mobilenet": (
        lambda rngs: MobileNetV2(TINY_MOBILENET, rngs=rngs),
        mobilenet_spellings(TINY_MOBILENET),
    ),  # fmt: skip
}


DEAR = ("distilbert", "mobilenet", "resnet_basic", "resnet_bottleneck")  # much to compile


ALL = [pytest.param(n, marks=[pytest.mark.slow] * (n in DEAR)) for n in NETWORKS]


class Golden(NamedTuple):
    """A file, and the network with its weights."""

    file: dict[str, np.ndarray]
    build: Callable[[nnx.Rngs], nnx.Module]
    params: PyTree
    state: PyTree
    places: dict[str, str]  # of parameters, by the names of the file

    @property
    def x(self):
        if "input.x" in self.file:
            return self.file["input.x"]
        return Tokens(self.file["input.ids"], self.file["input.mask"])


def read(name):
    path = GOLDEN / f"{name}.safetensors"
    assert path.stat().st_size < 200_000
    file = read_tensors(path)
    weights = {n.removeprefix("weights."): t for n, t in file.items() if n.startswith("weights.")}
    build, spellings = NETWORKS[name]
    shapes = jax.eval_shape(from_nnx(build).init, jax.random.key(0))
    params, state, report = load_tensors(weights, *shapes, spellings)
    assert not report.fresh and len(report.filled) == len(jax.tree.leaves((params, state)))
    places = {source: path for path, source, _ in report.filled}
    return Golden(file, build, params, state, places)


def numbered(file, kind):
    """``block.00``, ``block.01``, ... of a file."""
    return [file[name] for name in sorted(file) if name.startswith(f"{kind}.")]


def blocks_of(module, x):
    """The stem and each block, as functions of what comes before; the stem's is the input."""
    if isinstance(module, ResNet):
        return [
            lambda x: module.taps(x)["stem"],
            *(
                getattr(module, f"stage{stage}_block{i}")
                for stage, count in enumerate(module.config.blocks)
                for i in range(count)
            ),
        ]
    if isinstance(module, MobileNetV2):
        return [
            lambda x: module.taps(x)["stem"],
            *(getattr(module, f"block{i}") for i in range(module.blocks)),
            lambda x: nnx.relu6(module.last_norm(module.last(x))),
        ]
    stem = module.embed if isinstance(module, Bert) else lambda x: module.taps(x)["embedded"]
    mask = x.mask if isinstance(module, Bert) else None
    blocks = [getattr(module, f"block{i}") for i in range(module.config.layers)]
    return [stem, *(lambda x, block=block: block(x, mask) for block in blocks)]


@pytest.mark.parametrize("name", ALL)
def test_each_block_is_the_originals(name):
    """To 1e-5 of the largest number, each fed with what came to it there."""
    golden = read(name)
    expected = numbered(golden.file, "block")
    before = [golden.x, *expected[:-1]]

    def each(module, x):
        return [block(x) for block, x in zip(blocks_of(module, x[0]), x, strict=True)]

    network = from_nnx(golden.build, call=each)
    found = jax.jit(
        lambda params, before: network.apply(params, golden.state, before, train=False)[0]
    )(golden.params, before)
    kinds = {"bert": 3, "distilbert": 3, "vit": 3, "mobilenet": 19}
    assert len(found) == len(expected) == kinds.get(name, 6)
    for mine, theirs in zip(found, expected, strict=True):
        assert theirs.std() > 0
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("name", [each for each in ALL if "net" not in str(each.values)])
def test_attention_weights_are_the_originals(name):
    golden = read(name)
    network = from_nnx(golden.build, call=lambda module, x: module.attention_maps(x))
    found = jax.jit(lambda params: network.apply(params, {}, golden.x, train=False)[0])
    expected = np.stack(numbered(golden.file, "attention"))
    assert expected.std() > 0.05
    np.testing.assert_allclose(found(golden.params), expected, rtol=0, atol=1e-5)


def in_its_layout(gradient, golden, name):
    """The gradient by a parameter, taken back to how it stands in the file."""
    where = golden.places[name]
    mine = gradient
    for key in where.split("/"):
        mine = mine[key]
    mine = np.asarray(mine)
    if where.endswith("kernel"):
        mine = mine.transpose(3, 2, 0, 1) if mine.ndim == 4 else mine.T
    return mine.reshape(golden.file[f"weights.{name}"].shape)


@pytest.mark.parametrize("name", ALL)
def test_outputs_and_gradients_are_the_originals(name):
    """From end to end, to 1e-4: the output, the gradient by one tensor, and two sums of each."""
    golden = read(name)
    file, x = golden.file, golden.x
    network = from_nnx(golden.build)

    def total(params):
        out, _ = network.apply(params, golden.state, x, train=False)
        out = out * x.mask[..., None] if isinstance(x, Tokens) else out
        return jnp.sum(out * jnp.linspace(-1, 1, out.size).reshape(out.shape)), out

    (_, out), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(golden.params)
    scale = np.abs(file["output"]).max()
    np.testing.assert_allclose(out, file["output"], atol=1e-4 * scale)

    (probed,) = (n.removeprefix("gradient.") for n in file if n.startswith("gradient."))
    expected = file[f"gradient.{probed}"]
    mine = in_its_layout(gradient, golden, probed)
    np.testing.assert_allclose(mine, expected, atol=1e-4 * np.abs(expected).max())

    names = sorted(n.removeprefix("weights.") for n in file if n.startswith("weights."))
    most, trained = file["gradients"][:, 1].max(), 0
    for original, (weighted, length) in zip(names, file["gradients"], strict=True):
        if "running" in original:
            assert length == 0
            continue
        mine = in_its_layout(gradient, golden, original).astype(np.float64).ravel()
        # A bias that softmax takes no notice of has none but rounding: held to the largest.
        scale = 1e-4 * max(length, 1e-2 * most)
        assert abs(np.linalg.norm(mine) - length) < scale, original
        weights = np.linspace(-1, 2, mine.size)
        assert abs(mine @ weights - weighted) < scale * np.linalg.norm(weights), original
        trained += 1
    assert trained == len(jax.tree.leaves(golden.params))


def test_the_names_of_other_libraries_are_all_different():
    """Each spelling gives each parameter a place of its own, or a third of one."""
    for build, spellings in NETWORKS.values():
        params, state = jax.eval_shape(from_nnx(build).init, jax.random.key(0))
        paths = [
            "/".join(str(key.key) for key in path)
            for tree in (params, state)
            for path, _ in jax.tree_util.tree_leaves_with_path(tree)
        ]
        for spelling in spellings:
            places = [spelling.place(path) for path in paths]
            known = [place.name for place in places if place is not None]
            joint = [name for name in known if "qkv" in name or "in_proj" in name]
            single = [name for name in known if name not in joint]
            assert len(set(single)) == len(single)
            assert all(joint.count(name) == 3 for name in joint)
            if "DistilBERT" not in spelling.library:
                assert len(known) == len(paths), spelling.library


def test_joint_projections_are_cut_in_three():
    """timm and torchvision keep query, key and value in one tensor."""
    build, spellings = NETWORKS["vit"]
    draw = np.random.default_rng(0)
    params, state = jax.tree.map(
        lambda leaf: draw.normal(size=leaf.shape).astype(leaf.dtype),
        jax.eval_shape(from_nnx(build).init, jax.random.key(0)),
    )
    plain = {
        "/".join(str(key.key) for key in path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }
    for spelling in spellings:
        thirds, tensors = {}, {}
        for path, leaf in plain.items():
            place = spelling.place(path)
            value = leaf.T if leaf.ndim == 2 and path.endswith("kernel") else leaf
            value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value
            if "qkv" in place.name or "in_proj" in place.name:
                thirds.setdefault(place.name, {})[path.split("/")[-2]] = value
            else:
                one = path in ("class_token", "positions")
                tensors[place.name] = value.reshape(1, -1, value.shape[-1]) if one else value
        for name, parts in thirds.items():
            tensors[name] = np.concatenate([parts[part] for part in ("query", "key", "value")])
        loaded, _, report = load_tensors(tensors, params, state, spellings)
        assert report.library == spelling.library
        for path, leaf in jax.tree_util.tree_leaves_with_path(loaded):
            assert np.array_equal(leaf, plain["/".join(str(key.key) for key in path)])


def test_an_adapter_from_peft_computes_what_it_did_there():
    """A LoRA that PEFT itself wrote, on the network of the file beside; see golden/make_peft.py."""
    assert sum(path.stat().st_size for path in (GOLDEN / "peft").iterdir()) < 200_000
    build, spellings = NETWORKS["bert"]
    network = from_nnx(build)
    file = read_tensors(GOLDEN / "bert.safetensors")
    weights = {n.removeprefix("weights."): t for n, t in file.items() if n.startswith("weights.")}
    params, _, _ = load_tensors(
        weights, *jax.eval_shape(network.init, jax.random.key(0)), spellings
    )
    layers = [f"block{i}/attention/{part}" for i in (0, 1) for part in ("query", "key", "value")]
    adapter = read_peft(GOLDEN / "peft", layers)
    assert (adapter.rank, adapter.alpha, len(adapter.factors)) == (2, 8.0, 4)
    params = fold_low_rank(with_adapter(params, adapter), alpha=adapter.alpha)
    x = Tokens(file["input.ids"], file["input.mask"])
    out, _ = jax.jit(lambda params: network.apply(params, {}, x, train=False))(params)
    expected = read_tensors(GOLDEN / "peft" / "expected.safetensors")["output"]
    out = np.asarray(out) * x.mask[..., None]
    np.testing.assert_allclose(out, expected, atol=1e-4 * np.abs(expected).max())
    assert np.abs(expected - file["output"]).max() > 0.1  # without it another
