"""Adaptation between the user's own folders of images, tried as a user would."""

import dataclasses
import zipfile

import jax
import numpy as np
import pytest
from PIL import Image

from jaxfer.experiments import uda_images
from jaxfer.experiments.command_line import parse
from jaxfer.experiments.uda_images import (
    PRESETS,
    SMOKE,
    Config,
    ImageEncoder,
    digits,
    make_classifier,
    make_prepare,
    random_color,
    random_crop,
    random_flip,
    read_domains,
    run,
)
from jaxfer.inference.saved import save_model
from jaxfer.models import from_nnx
from jaxfer.models.image_networks import image_network

from .conftest import commands, do
from .conftest import fail as conftest_fail

pytestmark = pytest.mark.usefixtures("compiled_quickly")

SMALL = dataclasses.replace(Config(), **SMOKE)


def fail(*flags):
    said = conftest_fail(uda_images, *flags, smoke=SMOKE)
    assert said.startswith("error: ") and said.count("\n") == 1, said
    return said


def photographs(folder, classes=("cup", "bowl"), count=6, seed=0):
    """A folder of images in classes, or directly in it; cups are light and bowls are dark."""
    draw = np.random.default_rng(seed)
    for index in range(count):
        kind = classes[index % len(classes)] if classes else "."
        (folder / kind).mkdir(parents=True, exist_ok=True)
        pixels = draw.integers(0, 100, size=(24, 30, 3)) + (150 if kind == "cup" else 0)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / kind / f"{index}.png")
    return folder


def packed(folder, path):
    with zipfile.ZipFile(path, "w") as file:
        for image in sorted(folder.rglob("*.png")):
            file.write(image, image.relative_to(folder.parent).as_posix())
    return path


def test_folders_and_zips(tmp_path, monkeypatch):
    dark, light = photographs(tmp_path / "dark"), photographs(tmp_path / "light", seed=1)
    place = packed(light, tmp_path / "all.zip")
    config = Config(source=str(dark), target=str(place / "light"), image_size=16)
    source, target = read_domains(config)
    assert source.classes == target.classes == ("bowl", "cup") and target.name == "light"
    assert source.train.x.shape == (4, 16, 16, 3) and source.train.x.dtype == np.uint8
    for domain in (source, target):
        light = domain.train.x.mean((1, 2, 3)) > 125
        np.testing.assert_array_equal(light, domain.train.y == 1)
    grey, _ = read_domains(dataclasses.replace(config, grey=True))
    assert grey.train.x.shape == (4, 16, 16, 1)
    # Relative paths are looked for in the folders of data.
    monkeypatch.setenv("JAXFER_DATA_DIR", str(tmp_path))
    found, _ = read_domains(Config(source="all.zip/light", target="dark", image_size=16))
    np.testing.assert_array_equal(found.train.x, target.train.x)


def test_unreadable_images_are_left_out_where_they_may_be(tmp_path):
    dark, light = photographs(tmp_path / "dark"), photographs(tmp_path / "light")
    (light / "cup" / "broken.jpg").write_bytes(b"no")
    flags = ("--source", dark, "--target", light)
    assert "cannot be read: cup/broken.jpg" in fail("--out", tmp_path / "run", *flags)
    config = Config(source=str(dark), target=str(light), skip_bad=True)
    assert "1 unreadable left out" in read_domains(config)[1].origin


def test_the_built_in_digits():
    source, target = digits(Config())
    assert source.train.x.shape[1:] == target.train.x.shape[1:] == (16, 16, 1)
    assert len(source.train.x) + len(source.test.x) == 898
    assert len(target.train.x) + len(target.test.x) == 899
    assert "blurred with sigma 0.7 and contrast of severity 3." in target.origin
    sharp, blurred = (domain.train.x.astype(float).std() for domain in (source, target))
    assert blurred < 0.5 * sharp
    assert digits(Config(image_size=20))[0].train.x.shape[1:] == (20, 20, 1)


def test_crops_are_windows_of_the_mirrored_image():
    x = np.arange(16.0 * 16).reshape(1, 16, 16, 1).repeat(60, 0)
    padded = np.pad(x[0, :, :, 0], 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (16, 16)).reshape(-1, 16 * 16)
    crops = np.asarray(random_crop(x, jax.random.key(0))).reshape(60, -1)
    places = (crops[:, None] == windows).all(-1)
    assert (places.sum(1) == 1).all() and len(set(places.argmax(1))) > 15


def test_half_are_mirrored():
    x = np.random.default_rng(0).random((100, 4, 4, 3), np.float32)
    flipped = np.asarray(random_flip(x, jax.random.key(0)))
    same, mirrored = (flipped == x).all((1, 2, 3)), (flipped == x[:, :, ::-1]).all((1, 2, 3))
    assert (same ^ mirrored).all() and 30 < mirrored.sum() < 70


def test_colors_change_and_grey_stays_grey():
    x = np.random.default_rng(0).random((50, 6, 6, 1), np.float32).repeat(3, -1)
    changed = np.asarray(random_color(x, jax.random.key(0)))
    assert changed.min() >= 0 and changed.max() <= 1
    np.testing.assert_allclose(changed, changed[..., :1].repeat(3, -1), atol=1e-6)
    factors = changed.mean((1, 2, 3)) / x.mean((1, 2, 3))
    assert 0.55 < factors.min() < 0.75 and 1.2 < factors.max() < 1.45
    tinted = x * np.array([1.0, 0.5, 0.5], np.float32)
    spread = np.ptp(np.asarray(random_color(tinted, jax.random.key(0))), -1).mean((1, 2))
    assert spread.std() > 0.05 * spread.mean()


def test_nothing_is_random_in_evaluation():
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    every = make_prepare(Config(augment=("crop", "flip", "color")))
    np.testing.assert_allclose(every(images, None), images / 127.5 - 1, atol=1e-6)
    none = make_prepare(Config(augment=()))
    np.testing.assert_array_equal(none(images, jax.random.key(0)), none(images, None))
    changed = every(images, jax.random.key(0))
    assert changed.shape == images.shape and not np.allclose(changed, every(images, None))


def test_the_encoder_has_eight_times_the_width():
    encoder = from_nnx(lambda rngs: ImageEncoder(channels=3, width=4, dropout=0.1, rngs=rngs))

    def features(key, x):
        return encoder.apply(*encoder.init(key), x, train=True, key=key)[0]

    for size in (16, 50):
        x = jax.ShapeDtypeStruct((2, size, size, 3), np.float32)
        assert jax.eval_shape(features, jax.random.key(0), x).shape == (2, 32)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--source", "a"], "--source is given and --target is not; give both, or none"),
        (["--target", "a"], "--target is given and --source is not; give both, or none"),
        (["--source", "a", "--target", "a"], "--source and --target are both a; name two"),
        (["--source", "a", "--target", "none"], "--target is none, which does not exist; give a"),
        (["--source", "a", "--target", "empty"], "empty holds no image"),
        (["--source", "a", "--target", "pets"], "The classes of source and target differ: a alone"),
        (["--source", "bare", "--target", "a"], "bare has no class subfolders"),
        (["--source", "a", "--target", "one"], "one holds 1 image; at least 2 are needed"),
        (["--source", "a", "--target", "all.zip/none"], "all.zip holds no image in none"),
        (
            ["--source", "a", "--target", "b", "--image-size", "8"],
            "--image-size is 8; give at least",
        ),
        (["--test-share", "1"], "--test-share is 1.0; give less than 1"),
        (["--methods", "damn"], "There is no method 'damn'; the methods are: source-only"),
        (["--width", "0"], "--width is 0; give at least 1"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path, monkeypatch, flags, sentence):
    monkeypatch.chdir(tmp_path)
    photographs(tmp_path / "a")
    photographs(tmp_path / "pets", classes=("cat", "dog"))
    photographs(tmp_path / "bare", classes=())
    photographs(tmp_path / "one", classes=(), count=1)
    packed(tmp_path / "a", tmp_path / "all.zip")
    (tmp_path / "empty").mkdir()
    assert sentence in fail("--smoke", "--out", tmp_path / "run", *flags)
    assert not (tmp_path / "run" / "summary.json").exists()


def test_the_examples_of_its_docstring_can_be_copied():
    for flags in commands(uda_images):
        assert parse(Config, flags, presets=PRESETS, smoke=SMOKE, name="uda_images").out


@pytest.mark.thorough  # a stage of .ci/run does it, too
def test_the_smoke_test_of_the_real_thing(start):
    out, _ = start("uda_images", "--smoke").end()
    assert "scikit-learn's handwritten digits" in out
    assert "Trained on the target with its labels" in out


def test_weights_without_their_network(tmp_path):
    said = fail("--model", "some.safetensors", "--out", tmp_path / "run")
    assert "--model is some.safetensors; say by --network what it is the weights of." in said


def test_a_network_begins_with_the_weights_that_are_named(tmp_path):
    network = image_network("small", image_size=16, color=False)
    params, state = from_nnx(network.build).init(jax.random.key(5))
    save_model(
        tmp_path / "model", kind="image", classes=("a", "b"), state={"encoder": state},
        params={"encoder": params, "head": {"kernel": np.zeros((network.features, 2))}},
        settings={"network": "small", "image_size": 16, "color": False},
    )  # fmt: skip
    config = dataclasses.replace(SMALL, network="small", model=str(tmp_path / "model"))
    classifier, features = make_classifier(config, 1, 10)
    found = classifier.encoder.init(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, found, (params, state))
    assert features == network.features
    images = np.full((2, 16, 16, 1), 255, np.uint8)
    x = make_prepare(config)(images, None)
    np.testing.assert_allclose(x, 2.0)  # as the encoder was trained
    assert classifier.encoder.apply(*found, x, train=False, key=None)[0].shape == (2, features)


def test_weights_bring_the_padding_that_they_presuppose(tmp_path):
    network = image_network("mobilenet", image_size=32, color=True)
    other = network.with_numerics({"padding": "SAME", "epsilon": 0.5})
    params, state = from_nnx(other.build).init(jax.random.key(5))
    save_model(
        tmp_path / "model", kind="image", classes=("a", "b"), state={"encoder": state},
        params={"encoder": params, "head": {"kernel": np.zeros((network.features, 2))}},
        settings={"network": "mobilenet", "image_size": 32, "color": True, **other.numerics()},
    )  # fmt: skip
    config = dataclasses.replace(
        SMALL, network="mobilenet", image_size=32, model=str(tmp_path / "model")
    )
    encoder = make_classifier(config, 3, 10)[0].encoder
    x = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
    found, right, wrong = (
        each.apply(params, state, x, train=False, key=None)[0]
        for each in (encoder, from_nnx(other.build), from_nnx(network.build))
    )
    np.testing.assert_array_equal(found, right)
    assert not np.allclose(found, wrong, rtol=0.01)


@pytest.mark.slow
def test_of_a_folder_without_classes_no_accuracy_is_claimed(tmp_path):
    config = dataclasses.replace(
        SMALL, source=str(photographs(tmp_path / "dark")), statistics="separate",
        target=str(photographs(tmp_path / "light", classes=(), seed=1)), out=tmp_path / "run",
        augment=("crop", "flip", "color"), methods=("dann",), steps=2,
    )  # fmt: skip
    done = do(run, config)
    assert "The target has no labels, so no accuracy is claimed." in done.out
    assert done.summary["scores"].keys() == {"source-only", "dann"}
