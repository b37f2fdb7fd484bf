"""A saved model predicts what its network did, and a damaged or foreign folder is refused."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

import jaxfer
from jaxfer.experiments.finetune_text import make_tokenizer
from jaxfer.inference import load_model, predict, save_model
from jaxfer.models import BertConfig, ImageClassifier, TextClassifier, from_nnx, image_network
from jaxfer.typing import Tokens, UserError

TEXTS = ["good good film", "bad", "a bad phone"]
SMALL = BertConfig(vocabulary=9, width=8, layers=1, heads=2, hidden=8, positions=6)


@pytest.fixture(scope="module")
def text_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tokenizer = make_tokenizer(TEXTS)
    tokenizer.save(str(folder / "tokenizer.json"))
    network = from_nnx(lambda rngs: TextClassifier(SMALL, classes=2, rngs=rngs))
    params, state = network.init(jax.random.key(0))
    params["head"]["kernel"] = 30 * params["head"]["kernel"]
    save_model(
        folder, kind="text", classes=("worse", "better"), params=params, state=state,
        settings={"encoder": SMALL._asdict(), "length": 6, "pooling": "mean"},
    )  # fmt: skip
    ids = np.zeros((3, 6), np.int32)
    for row, text in zip(ids, TEXTS, strict=True):
        found = tokenizer.encode(text).ids
        row[: len(found)] = found
    logits = network.apply(params, state, Tokens(ids, ids > 0), train=False)[0].logits
    return folder, np.asarray(jax.nn.softmax(logits))


def test_texts_are_classified_as_in_training(text_model):
    folder, expected = text_model
    found = jaxfer.predict(folder, TEXTS)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
    assert found.classes == ("worse", "better")
    assert found.labels == tuple(found.classes[k] for k in expected.argmax(1))
    model = load_model(folder)
    assert predict(model, TEXTS[0]).labels == found.labels[:1]
    many = predict(model, 40 * TEXTS)
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


def test_images_of_any_size_and_mode_are_classified(tmp_path):
    network = image_network("small", image_size=16, color=False)
    whole = from_nnx(
        lambda rngs: ImageClassifier(
            network.build(rngs), features=network.features, classes=2, rngs=rngs
        )
    )
    params, state = whole.init(jax.random.key(0))
    settings = {"network": "small", "image_size": 16, "color": False}
    save_model(
        tmp_path,
        kind="image",
        classes=("cat", "dog"),
        params=params,
        state=state,
        settings=settings,
    )
    grey = np.random.default_rng(0).integers(0, 256, (20, 20), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    model = load_model(tmp_path)
    found = predict(
        model, [tmp_path / "grey.png", grey, grey[..., None], np.repeat(grey[..., None], 3, 2)]
    )
    assert found.probabilities.shape == (4, 2)
    np.testing.assert_allclose(found.probabilities, found.probabilities[:1].repeat(4, 0), atol=1e-3)
    with pytest.raises(UserError, match="an image must be a path or an array"):
        predict(model, [grey.astype(float)])
    with pytest.raises(UserError, match="nowhere.png cannot be read as an image"):
        predict(model, ["nowhere.png"])
