"""A saved model predicts what its network did, and a damaged or foreign folder is refused."""

import json

import jax
import numpy as np
import pytest
from flax import nnx
from PIL import Image
from scipy.special import softmax

import jaxfer
from jaxfer.data import speak_digits, spectrograms
from jaxfer.experiments.finetune_text import make_tokenizer
from jaxfer.inference import load_model, predict, save_model, saved
from jaxfer.inference.saved import read_images
from jaxfer.models import (
    BertConfig,
    ImageClassifier,
    TextClassifier,
    from_nnx,
    image_network,
    speech_classifier,
    speech_input,
)
from jaxfer.typing import Tokens, UserError

TEXTS = ["good good film", "bad", "a bad phone"]
SMALL = BertConfig(vocabulary=9, width=8, layers=1, heads=2, hidden=8, positions=6)


def drawn(network):
    draw = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: draw.normal(size=leaf.shape).astype(leaf.dtype),
        jax.eval_shape(network.init, jax.random.key(0)),
    )


@pytest.fixture(scope="module")
def text_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tokenizer = make_tokenizer(TEXTS)
    tokenizer.save(str(folder / "tokenizer.json"))
    network = from_nnx(lambda rngs: TextClassifier(SMALL, classes=2, rngs=rngs))
    params, state = drawn(network)
    save_model(
        folder, kind="text", classes=("worse", "better"), params=params, state=state,
        settings={"encoder": SMALL._asdict(), "length": 6, "pooling": "mean"},
    )  # fmt: skip
    ids = np.zeros((3, 6), np.int32)
    for row, text in zip(ids, TEXTS, strict=True):
        found = tokenizer.encode(text).ids
        row[: len(found)] = found
    apply = jax.jit(lambda *arguments: network.apply(*arguments, train=False)[0].logits)
    return folder, softmax(np.asarray(apply(params, state, Tokens(ids, ids > 0))), axis=1)


def test_texts_are_classified_as_in_training(text_model):
    folder, expected = text_model
    found = jaxfer.predict(folder, TEXTS)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
    assert found.classes == ("worse", "better")
    assert found.labels == tuple(found.classes[k] for k in expected.argmax(1))
    assert predict(folder, TEXTS[0]).labels == found.labels[:1]
    many = predict(folder, 40 * TEXTS)
    np.testing.assert_allclose(many.probabilities, np.tile(expected, (40, 1)), atol=1e-6)


def test_what_is_no_text_is_refused(text_model):
    model = load_model(text_model[0])
    with pytest.raises(UserError, match="text 1 is no string but int"):
        predict(model, ["fine", 3])
    with pytest.raises(UserError, match="no example to predict"):
        predict(model, [])


def test_a_damaged_folder_is_refused(text_model, tmp_path):
    for path in text_model[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "jaxfer.json").read_text())
    (tmp_path / "jaxfer.json").write_text(json.dumps({**config, "classes": ["only"]}))
    with pytest.raises(UserError, match="head.bias gives head/bias .2,. where .1,. belongs"):
        load_model(tmp_path)
    (tmp_path / "jaxfer.json").write_text(json.dumps({**config, "kind": "sound"}))
    with pytest.raises(UserError, match="cannot be read .KeyError..sound"):
        load_model(tmp_path)
    (tmp_path / "jaxfer.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="tokenizer.json does not exist"):
        load_model(tmp_path)


def test_images_of_any_size_and_mode_are_read(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (20, 20), dtype=np.uint8)
    colored = np.repeat(grey[..., None], 3, 2)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    found = read_images(
        [tmp_path / "grey.png", grey, grey[..., None], colored], image_size=16, color=False
    )
    assert found.shape == (4, 16, 16, 1) and found.dtype == np.uint8
    assert all(np.abs(one - found[0].astype(int)).max() <= 1 for one in found.astype(int))
    in_color = read_images([grey], image_size=16, color=True)
    assert in_color.shape == (1, 16, 16, 3) and np.array_equal(
        in_color[0, ..., 0], found[1, ..., 0]
    )
    with pytest.raises(UserError, match="an image must be a path or an array"):
        read_images([grey.astype(float)], image_size=16, color=False)
    with pytest.raises(UserError, match="nowhere.png cannot be read as an image"):
        read_images(["nowhere.png"], image_size=16, color=False)


@pytest.mark.slow
def test_images_are_classified_as_in_training(tmp_path):
    network = image_network("small", image_size=16, color=False)
    whole = from_nnx(
        lambda rngs: ImageClassifier(
            network.build(rngs), features=network.features, classes=2, rngs=rngs
        )
    )
    params, state = jax.jit(whole.init)(jax.random.key(0))
    settings = {"network": "small", "image_size": 16, "color": False}
    save_model(
        tmp_path,
        kind="image",
        classes=("cat", "dog"),
        params=params,
        state=state,
        settings=settings,
    )
    grey = np.random.default_rng(0).integers(0, 256, (2, 16, 16), dtype=np.uint8)
    x = (grey[..., None].astype(np.float32) / 255 - 0.5) * 4
    logits = whole.apply(params, state, x, train=False)[0].logits
    found = predict(load_model(tmp_path), list(grey))
    np.testing.assert_allclose(found.probabilities, softmax(logits, axis=1), atol=1e-5)


def test_what_the_weights_presupposed_is_in_the_settings(tmp_path):
    settings = {"network": "mobilenet", "image_size": 32, "color": True}
    for numerics in ({}, {"padding": "SAME", "epsilon": 1e-3}):
        build, _ = saved._image(tmp_path, settings | numerics, 2)
        encoder = nnx.eval_shape(lambda: build(nnx.Rngs(0))).encoder  # noqa: B023
        assert encoder.stem.padding == numerics.get("padding", "SYMMETRIC")
        assert encoder.last_norm.epsilon == numerics.get("epsilon", 1e-5)


SPEECH = {
    "mels": 16, "features": 8, "rate": 8000, "frame": 256, "hop": 160, "length": 4000,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "frames"),
    [*(pytest.param(name, None, marks=pytest.mark.slow) for name in ("image", "conv")),
     ("gru", None), ("gru", 12)],
)  # fmt: skip
def test_recordings_are_classified_as_in_training(tmp_path, name, frames):
    build = speech_classifier(name, mels=16, features=8, classes=2)
    network = from_nnx(build)
    params, state = jax.jit(network.init)(jax.random.key(0))
    save_model(
        tmp_path, kind="speech", classes=("yes", "no"), params=params, state=state,
        settings={**SPEECH, "network": name, "frames": frames},
    )  # fmt: skip
    audio = speak_digits(takes=2, length=4000)["ada"].train.x
    x = speech_input(spectrograms(audio, mels=16, frames=frames), name)
    logits = network.apply(params, state, x, train=False)[0].logits
    model = load_model(tmp_path)
    found = predict(model, list(audio))
    np.testing.assert_allclose(found.probabilities, softmax(logits, axis=1), atol=1e-5)
    assert found.labels == tuple(("yes", "no")[k] for k in np.asarray(logits).argmax(1))
    # Of another length and kind, and more than are judged at once.
    longer = np.concatenate([audio[0], np.ones(50, np.float32)])
    same = 40 * [longer, (longer[:4000] * 2**15).astype(np.int16)]
    many = predict(model, same)
    expected = np.repeat(found.probabilities[:1], 80, axis=0)
    np.testing.assert_allclose(many.probabilities, expected, atol=5e-3)
    np.testing.assert_allclose(many.probabilities[::2], expected[::2], atol=1e-6)
    assert predict(model, audio[0]).labels == found.labels[:1]
    with pytest.raises(UserError, match=r"a recording must be a path or an array .* \(10, 4000\)"):
        predict(model, audio)
    with pytest.raises(UserError, match="nowhere.wav cannot be read"):
        predict(model, "nowhere.wav")


def test_a_recogniser_whose_settings_are_damaged_is_refused(tmp_path):
    network = from_nnx(speech_classifier("gru", mels=16, features=8, classes=2))
    params, state = drawn(network)
    for settings, sentence in (
        ({**SPEECH, "network": "ear"}, "There is no network 'ear'; there are: image, conv, gru"),
        ({"network": "gru", "mels": 16, "features": 8}, "cannot be read .KeyError..length"),
        ({**SPEECH, "network": "gru", "features": 6}, "where .* belongs"),
    ):
        save_model(
            tmp_path, kind="speech", classes=("yes", "no"), params=params, state=state,
            settings=settings,
        )  # fmt: skip
        with pytest.raises(UserError, match=sentence):
            load_model(tmp_path)
