"""Published networks against PyTorch's transformers, by files that golden/make_golden.py wrote."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
from jaxfer.typing import Tokens

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


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in DEAR)) for n in NETWORKS]
)
def test_outputs_and_gradients_are_the_originals(name):
    path = GOLDEN / f"{name}.safetensors"
    if not path.exists():
        pytest.skip("no golden file")
    assert path.stat().st_size < 200_000
    file = read_tensors(path)
    weights = {n.removeprefix("weights."): t for n, t in file.items() if n.startswith("weights.")}
    build, spellings = NETWORKS[name]
    network = from_nnx(build)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    params, state, report = load_tensors(weights, *shapes, spellings)
    assert not report.fresh and len(report.filled) == len(jax.tree.leaves((params, state)))
    tokens = "input.ids" in file
    x = Tokens(file["input.ids"], file["input.mask"]) if tokens else file["input.x"]

    def total(params):
        out, _ = network.apply(params, state, x, train=False)
        out = out * x.mask[..., None] if tokens else out
        return jnp.sum(out * jnp.linspace(-1, 1, out.size).reshape(out.shape)), out

    (_, out), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(params)
    scale = np.abs(file["output"]).max()
    np.testing.assert_allclose(out, file["output"], atol=1e-4 * scale)

    # The gradient by the probed tensor, taken back to where it stands in the file.
    (probed,) = (n for n in file if n.startswith("gradient."))
    expected, original = file[probed], probed.removeprefix("gradient.")
    (where,) = (path for path, source, _ in report.filled if source == original)
    mine = gradient
    for key in where.split("/"):
        mine = mine[key]
    mine = np.asarray(mine)
    if mine.shape != expected.shape or where.endswith("kernel"):
        mine = mine.transpose(3, 2, 0, 1) if mine.ndim == 4 else mine.T
    mine = mine.reshape(expected.shape)
    np.testing.assert_allclose(mine, expected, atol=1e-4 * np.abs(expected).max())


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
