"""Fine-tuning: what each method trains and where it begins, whole runs, and the user's mistakes."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxfer
from jaxfer.adapters import count_parameters
from jaxfer.experiments import (
    finetune_images,
    finetune_methods,
    finetune_run,
    finetune_speech,
    finetune_text,
    pretrain_images,
)
from jaxfer.experiments.finetune_methods import FineTuningOptions, Model, make_tuning
from jaxfer.experiments.image_data import digits_domain, random_view, shift_images
from jaxfer.models import BertConfig, TextClassifier, from_nnx
from jaxfer.typing import Classification, Tokens, UserError

SMALL = BertConfig(vocabulary=9, width=8, layers=2, heads=2, hidden=8, positions=6)
IDS = np.array([[2, 3, 4, 0], [5, 6, 0, 0]])
TOKENS = Tokens(IDS, IDS > 0)


@pytest.fixture(scope="module")
def model():
    def build(rngs):
        return TextClassifier(SMALL, classes=2, rngs=rngs)

    params, _ = from_nnx(build).init(jax.random.key(7))
    embeddings = ("encoder/words/*", "encoder/positions/*", "encoder/segments/*", "encoder/norm/*")
    groups = (*embeddings, "encoder/block0/*", "encoder/block1/*", "head/*")
    start = jax.tree.map(np.asarray, params["encoder"])
    return Model(build, start, {}, ("*/attention/query",), groups)


def whole(model):
    return count_parameters(model.start) + 8 * 2 + 2


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("full", lambda path: True),
        ("l2-sp", lambda path: True),
        ("thaw", lambda path: True),
        ("lora", lambda path: "low_rank" in path or path.startswith("head/")),
        ("bitfit", lambda path: path.endswith("/bias")),
        ("adapters", lambda path: "_adapter/" in path or "norm" in path or "head/" in path),
    ],
)
def test_each_method_trains_its_share_from_where_pretraining_ended(model, name, share):
    tuning = make_tuning(name, model, FineTuningOptions(rank=2, steps=10))
    trained, state = jax.jit(tuning.init)(jax.random.key(0))
    assert state == {} and trained
    assert all(share(path) or path == "head/kernel" for path in trained)
    params = tuning.whole(trained)
    logits = tuning.network.apply(params, state, TOKENS, train=False)[0]
    # Whatever was put in, the features are still those of the start.
    plain, _ = from_nnx(model.build).init(jax.random.key(0))
    expected = from_nnx(model.build).apply(
        {**plain, "encoder": model.start}, {}, TOKENS, train=False
    )[0]
    np.testing.assert_allclose(logits.features, expected.features, atol=1e-6)
    if name in ("full", "l2-sp", "thaw"):
        assert count_parameters(trained) == whole(model)
    else:
        assert count_parameters(trained) < 0.7 * whole(model)
    penalty = float(tuning.penalty(trained))
    head = sum(float(jnp.sum(leaf**2)) for path, leaf in trained.items() if "head/" in path)
    assert penalty == pytest.approx(0.5 * 0.01 * head if name == "l2-sp" else 0.0)


def test_scratch_begins_elsewhere_for_each_seed(model):
    tuning = make_tuning("scratch", model, FineTuningOptions())
    first, second = (tuning.init(jax.random.key(k))[0] for k in (0, 1))
    path = "encoder/block0/up/kernel"
    assert not np.array_equal(first[path], second[path])
    assert not np.array_equal(first[path], model.start["block0"]["up"]["kernel"])


@pytest.mark.slow
def test_thawing_moves_the_head_first(model):
    tuning = make_tuning("thaw", model, FineTuningOptions(steps=28, rate=0.1))
    trained, _ = tuning.init(jax.random.key(0))
    state = tuning.optimiser.init(trained)
    ones = jax.tree.map(jnp.ones_like, trained)
    moved = []
    for _ in range(6):
        updates, state = tuning.optimiser.update(ones, state, trained)
        moved.append(
            {path.split("/")[1] for path, u in updates.items() if u.any() and "head" not in path}
        )
    assert moved[0] == moved[1] == set()
    assert moved[3] == {"block1"} and moved[5] == {"block1", "block0"}


def test_options_that_make_no_sense_are_refused():
    for options, complaint in (
        ({"methods": ("prune",)}, "There is no method 'prune'"),
        ({"methods": ()}, "--methods names none"),
        ({"rank": 0}, "--rank is 0"),
        ({"layer_decay": 2.0}, "--layer-decay is 2.0; give at most 1"),
    ):
        with pytest.raises(UserError, match=complaint):
            finetune_methods.check_options(FineTuningOptions(**options))


def test_a_method_that_does_not_fit_the_network_is_refused(model):
    with pytest.raises(UserError, match="lora does not fit this network: pattern 'odd' matches no"):
        make_tuning("lora", model._replace(low_rank=("odd",)), FineTuningOptions())


def test_validation_is_cut_from_training_and_no_class_is_lost():
    domain = digits_domain(image_size=8)
    parts = finetune_run.split(FineTuningOptions(balance=True), domain)
    held = len(parts.validation.y)
    assert held == len(domain.train.y) // 5
    assert len(parts.train.y) + held == len(domain.train.y)
    assert float((parts.weights[parts.train.y]).mean()) == pytest.approx(1, abs=1e-5)
    lost = domain._replace(classes=(*domain.classes, "ten"))
    with pytest.raises(UserError, match="No example of the class 'ten' is left"):
        finetune_run.split(FineTuningOptions(), lost)


def test_views_keep_their_images_apart():
    x = np.zeros((3, 8, 8, 1), np.float32)
    x[1] = 1.0
    shifted = np.asarray(shift_images(jnp.asarray(x), jax.random.key(0), pixels=2, flip=True))
    assert np.array_equal(shifted, x)  # of one colour each: nothing comes in from elsewhere
    draw = np.random.default_rng(0).normal(size=(1, 8, 8, 1)).astype(np.float32)
    moved = np.asarray(shift_images(jnp.asarray(draw), jax.random.key(1), pixels=2))
    assert np.isin(moved, draw).all() and not np.array_equal(moved, draw)


@pytest.mark.slow
def test_two_views_of_an_image_are_not_the_same():
    draw = np.random.default_rng(0).normal(size=(1, 8, 8, 1)).astype(np.float32)
    views = (
        random_view(jnp.asarray(draw), jax.random.key(0)),
        random_view(jnp.asarray(draw), jax.random.key(1)),
    )
    assert views[0].shape == draw.shape and not np.allclose(*views)


def smoke(module, tmp_path, **options):
    config = module.Config(out=tmp_path / "run", smoke=True)
    config = dataclasses.replace(config, **{**module.SMOKE, **options})
    return config, module.run(config)


@pytest.mark.slow
def test_texts_from_a_file_end_in_a_model_that_predicts(tmp_path, capsys):
    path = tmp_path / "mine.csv"
    rows = [f"the {a} {b} is {c},{d}" for a in ("old", "new") for b in ("film", "book", "song")
            for c, d in (("good", "up"), ("bad", "down"), ("fine", "up"), ("poor", "down"))]  # fmt: skip
    path.write_text("text,label\n" + "\n".join(rows))
    config, summary = smoke(finetune_text, tmp_path, data=str(path), methods=("probe", "lora"))
    assert set(summary["methods"]) == {"probe", "lora"}
    for name in (
        "config.json",
        "summary.json",
        "confusion.png",
        "saliency.png",
        "model/jaxfer.json",
    ):
        assert (config.out / name).is_file(), name
    found = jaxfer.predict(config.out / "model", ["the new song is good", "bad"])
    assert set(found.labels) <= {"up", "down"}
    assert "test accuracy (%)" in capsys.readouterr().out
    assert set(json.loads((config.out / "summary.json").read_text())["layers_by_logme"]) == {
        "embedded", "block0", "block1",
    }  # fmt: skip


@pytest.mark.slow
def test_pretraining_ends_in_weights_that_are_read_back(tmp_path):
    config, summary = smoke(pretrain_images, tmp_path, method="simclr")
    assert np.isfinite(summary["validation_loss"]).all()
    config, summary = smoke(
        finetune_images, tmp_path / "next", model=str(config.out / "model"), methods=("full",)
    )
    assert set(summary["methods"]) == {"full"}
    image = np.zeros((9, 9), np.uint8)
    assert jaxfer.predict(config.out / "model", [image]).labels[0] in map(str, range(10))


def test_rotations_are_quarter_turns_and_labels_are_of_no_account():
    outputs, loss = pretrain_images.make_loss(pretrain_images.Config(method="rotation"), 7)
    x = np.random.default_rng(0).integers(0, 256, (5, 6, 6, 1), dtype=np.uint8)
    seen = []

    def apply(batch):
        seen.append(np.asarray(batch))
        return Classification(None, 9 * jnp.eye(4)[jnp.arange(5) % 4])  # knows the answer

    found, right = loss(apply, jnp.asarray(x), jnp.full(5, 99), None)
    assert outputs == 4 and found < 1e-3 and right == 1
    for k, image in enumerate(seen[0]):
        expected = (np.rot90(x[k], k % 4) / 255 - 0.5) * 4
        np.testing.assert_allclose(image, expected, atol=1e-5)


def test_speech_has_networks_of_its_own_that_only_scratch_makes_sense_with(tmp_path):
    options = {"network": "gru", "methods": ("scratch",), "mels": 16, "features": 8}
    config = finetune_speech.Config(**options)
    model = finetune_speech.make_model(config, 10, tmp_path)
    network = from_nnx(model.build)
    logits = jax.eval_shape(
        lambda key: (
            network.apply(*network.init(key), jnp.zeros((2, 30, 16)), train=False)[0].logits
        ),
        jax.random.key(0),
    )
    assert logits.shape == (2, 10)
    config = dataclasses.replace(config, network="conv", methods=("probe", "scratch"))
    with pytest.raises(
        UserError, match="--network conv is not pre-trained: give --methods scratch"
    ):
        finetune_speech.make_model(config, 10, tmp_path)
