"""Loading is strict: everything in its place and finite, or all disagreements and nothing."""

import json
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest

from jaxfer.experiments import finetune_images, finetune_speech
from jaxfer.models import (
    BertConfig,
    Place,
    Spelling,
    ViTConfig,
    convert,
    find_model,
    from_nnx,
    image_network,
    load_encoder,
    load_image_encoder,
    load_tensors,
    read_tensors,
    tensors_of,
    write_tensors,
)
from jaxfer.models.image_spellings import RESNET
from jaxfer.models.published import bert_config
from jaxfer.models.tensor_files import read_note, weight_files
from jaxfer.typing import UserError

from .encoders import GOLDEN

START = {
    "body": {"kernel": np.zeros((2, 3), "f4"), "bias": np.zeros(3, "f4")},
    "head": {"kernel": np.zeros((3, 2), "f4")},
}
NAMES = {"body/kernel": "lin.weight", "body/bias": "lin.bias", "head/kernel": "fc.weight"}
TORCH = Spelling(
    "torch",
    lambda path: Place(NAMES[path], np.transpose) if path in NAMES else None,
    ("", "model."),
    ("extra.*",),
)


def file(prefix="", **changes):
    tensors = {"lin.weight": np.arange(6.0).reshape(3, 2), "lin.bias": np.ones(3),
               "fc.weight": np.ones((2, 3))} | changes  # fmt: skip
    return {prefix + name: tensor for name, tensor in tensors.items() if tensor is not None}


@pytest.mark.parametrize("prefix", ["", "model."])
def test_everything_finds_its_place(prefix):
    tensors = file(prefix, **{"extra.counter": np.ones(1)})
    params, state, report = load_tensors(tensors, START, {}, [TORCH])
    assert np.array_equal(params["body"]["kernel"], np.arange(6.0).reshape(3, 2).T)
    assert params["body"]["kernel"].dtype == np.float32 and state == {}
    assert report.library == "torch" and report.ignored == (f"{prefix}extra.counter",)
    assert ("body/bias", f"{prefix}lin.bias", (3,)) in report.filled
    assert not START["body"]["kernel"].any()


def test_a_new_head_stays_as_it_began_whatever_the_file_has():
    for tensors in (file(), file(**{"fc.weight": None}), file(**{"fc.weight": np.ones((9, 3))})):
        params, _, report = load_tensors(tensors, START, {}, [TORCH], fresh=["head/*"])
        assert not params["head"]["kernel"].any() and params["body"]["bias"].all()
        assert report.fresh == ("head/kernel",)
        assert report.ignored == (("fc.weight",) if "fc.weight" in tensors else ())


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"lin.bias": None}, "body/bias is not there .as lin.bias."),
        ({"lin.bias": np.ones(4)}, "lin.bias gives body/bias .4,. where .3,. belongs"),
        ({"lin.bias": np.ones(3, int)}, "lin.bias is of int64, no floating point"),
        ({"lin.bias": np.array([1, np.nan, 1])}, "lin.bias holds NaN or infinity"),
        ({"lin.bias": np.full(3, 1e300)}, "lin.bias holds NaN or infinity"),
        ({"more.weight": np.ones(2)}, "more.weight is of no use to the network"),
    ],
)
def test_each_disagreement_is_named(changes, complaint):
    with pytest.raises(UserError, match=complaint) as caught:
        load_tensors(file(**changes), START, {}, [TORCH], origin="a.safetensors")
    assert str(caught.value).startswith("a.safetensors does not fit the network")
    assert "Nothing was loaded" in str(caught.value)


def test_all_disagreements_are_in_one_error():
    with pytest.raises(UserError) as caught:
        load_tensors(
            file(**{"lin.bias": None, "lin.weight": np.ones((5, 5)), "odd": np.ones(1)}),
            START, {}, [TORCH],
        )  # fmt: skip
    for part in ("body/bias is not there", "lin.weight gives body/kernel", "odd is of no use"):
        assert part in str(caught.value)
    renamed = {f"other.{name}": tensor for name, tensor in file().items()}
    with pytest.raises(UserError, match="body/kernel is not there.*other.fc.weight is of no use"):
        load_tensors(renamed, START, {}, [TORCH])


def test_what_is_written_is_read_back(tmp_path):
    path = tmp_path / "deep" / "model.safetensors"
    params = jax.tree.map(lambda leaf: leaf + 1.5, START)
    write_tensors(path, tensors_of(params, {"norm": {"mean": np.ones(2)}}))
    tensors = read_tensors(path.parent)
    assert tensors["norm.mean"].tolist() == [1, 1]
    del tensors["norm.mean"]
    loaded, _, report = load_tensors(tensors, START, {}, [TORCH])
    assert report.library == "jaxfer"
    assert all(map(np.array_equal, *map(jax.tree.leaves, (loaded, params))))
    half = {"w": np.array([1.5, -2.0], ml_dtypes.bfloat16)}
    write_tensors(path, half)
    assert read_tensors(path)["w"].astype("f4").tolist() == [1.5, -2.0]
    assert [entry.name for entry in path.parent.iterdir()] == ["model.safetensors"]


def test_damaged_files_and_pickles_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    write_tensors(path, {"w": np.ones(100)})
    whole = path.read_bytes()
    for content in (whole[:-8], whole[:5], b"", b"\x80\x04" + whole):
        path.write_bytes(content)
        with pytest.raises(UserError, match="is no whole safetensors file .* truncated or damaged"):
            read_tensors(path)
    path.unlink()
    with pytest.raises(UserError, match="holds no model.safetensors"):
        read_tensors(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(UserError, match="pytorch_model.bin is a pickle, which can run any program"):
        read_tensors(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        read_tensors(tmp_path / "nowhere")


def test_a_model_in_parts_is_read_whole(tmp_path):
    write_tensors(tmp_path / "a.safetensors", {"x": np.ones(1)})
    write_tensors(tmp_path / "b.safetensors", {"y": np.ones(2)})
    with pytest.raises(UserError, match="holds 2 safetensors files"):
        weight_files(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}))
    assert sorted(read_tensors(tmp_path)) == ["x", "y"]
    index.write_text(json.dumps({"weight_map": {"x": "a.safetensors", "z": "c.safetensors"}}))
    with pytest.raises(UserError, match="names c.safetensors; get the missing ones"):
        read_tensors(tmp_path)
    index.write_text("{}")
    with pytest.raises(UserError, match="is no index of weights"):
        read_tensors(tmp_path)


def test_what_the_configuration_cannot_be_is_said():
    assert bert_config({"model_type": "bert", "hidden_size": 32}) == BertConfig(width=32)
    for config, complaint in (
        ({"model_type": "gpt2"}, "model_type 'gpt2'; bert and distilbert"),
        ({}, "model_type None"),
        ({"model_type": "bert", "hidden_act": "relu"}, "the activation is 'relu'"),
        ({"model_type": "bert", "position_embedding_type": "relative_key"}, "are relative"),
    ):
        with pytest.raises(UserError, match=complaint):
            bert_config(config)


def test_a_folder_without_a_configuration_is_refused(tmp_path):
    write_tensors(tmp_path / "model.safetensors", {"x": np.ones(1)})
    with pytest.raises(UserError, match="config.json cannot be read"):
        load_encoder(tmp_path)
    assert find_model(tmp_path) == tmp_path
    with pytest.raises(UserError, match="does not exist; name a file, a folder"):
        find_model("/no/such/place")


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """A Hugging Face cache of our own, and no network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    commit = 40 * "a"
    model = tmp_path / "hub" / "models--some--model"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(commit)
    snapshot = model / "snapshots" / commit
    write_tensors(snapshot / "model.safetensors", {"x": np.ones(1)})
    return snapshot


def test_a_model_that_was_fetched_before_is_found_in_the_cache(hub_cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_model("some/model") == hub_cache
    assert read_tensors(find_model("some/model"))["x"] == 1
    for experiment in (finetune_images, finetune_speech):
        assert experiment.find_weights(experiment.Config(model="some/model")) == hub_cache
    with pytest.raises(UserError, match="some/other is no folder, not in the Hugging Face cache"):
        find_model("some/other")
    # A file that is not there is no name of the hub.
    with pytest.raises(UserError, match="mine.safetensors does not exist"):
        find_model("mine.safetensors")
    (tmp_path / "some" / "model").mkdir(parents=True)
    assert find_model("some/model") == Path("some/model")


def small_resnet(folder):
    """Weights of the small network of images, under the names of torchvision."""
    network = from_nnx(image_network("small", image_size=28, color=True).build)
    params, state = jax.eval_shape(network.init, jax.random.key(0))
    tensors = {}
    for tree in (params, state):
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            name = RESNET[0].place("/".join(key.key for key in path)).name
            shape = tuple(leaf.shape[k] for k in (3, 2, 0, 1)) if leaf.ndim == 4 else leaf.shape
            tensors[name] = np.full(shape, len(tensors), np.float32)
    write_tensors(folder / "model.safetensors", tensors)
    return tensors


def test_weights_are_checked_and_converted_by_a_command(tmp_path, capsys):
    tensors = small_resnet(tmp_path)
    out = tmp_path / "out" / "converted.safetensors"
    asked = ["--check", str(tmp_path), "--network"]
    assert convert.main([*asked, "small", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert f"spelling of torchvision and timm (ResNet): {len(tensors)} filled, 0 fresh" in said
    assert "conv/kernel" in said and f"Written: {out}" in said
    converted = read_tensors(out)
    assert len(converted) == len(tensors)
    assert (
        converted["stage1_block0.shortcut.kernel"]
        == tensors["layer2.0.downsample.0.weight"].flat[0]
    ).all()
    assert convert.main(["--check", str(out), "--network", "small"]) == 0
    assert "spelling of jaxfer" in capsys.readouterr().out

    assert convert.main([*asked, "resnet18"]) == 2
    said = capsys.readouterr()
    assert "error: " in said.err and "does not fit the network" in said.err
    assert "layer1.1.conv1.weight" in said.err and not said.out
    pickle = tmp_path / "resnet.pth"
    pickle.write_bytes(b"\x80\x04")
    assert convert.main(["--check", str(pickle), "--network", "small"]) == 2
    assert "resnet.pth is a pickle, which can run any program" in capsys.readouterr().err
    assert convert.main(["--check", str(tmp_path)]) == 2  # of texts, by its config.json
    assert "config.json cannot be read" in capsys.readouterr().err


def test_what_weights_presuppose_is_written_with_them(tmp_path, monkeypatch, capsys):
    file = read_tensors(GOLDEN / "vit.safetensors")
    weights = {n.removeprefix("weights."): t for n, t in file.items() if n.startswith("weights.")}
    write_tensors(tmp_path / "model.safetensors", weights)
    sizes = ViTConfig(image_size=8, patch=4, width=16, layers=2, heads=4, hidden=24)
    network = image_network("vit-s", image_size=32, color=True)._replace(config=sizes)
    monkeypatch.setattr(convert, "image_network", lambda *_, **__: network)
    out = tmp_path / "converted.safetensors"
    asked = [
        "--check",
        str(tmp_path / "model.safetensors"),
        "--network",
        "vit-s",
        "--out",
        str(out),
    ]
    assert convert.main(asked) == 0
    assert "epsilon 1e-12" in capsys.readouterr().out
    assert read_note(out)["epsilon"] == "1e-12"
    assert load_image_encoder(out, network).network.config.epsilon == 1e-12
