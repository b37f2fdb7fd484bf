"""Fine-tuning: what each method trains and where it begins, whole runs, and the user's mistakes."""

import dataclasses
import json
import re
import wave

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxfer
from jaxfer.adapters import count_parameters, parameter_table
from jaxfer.data import Domain, another_voice, make_domain, speak_digits
from jaxfer.evaluation import attention_rollout
from jaxfer.experiments import (
    finetune_images,
    finetune_options,
    finetune_run,
    finetune_saliency,
    finetune_speech,
    finetune_text,
    pretrain_images,
)
from jaxfer.experiments.command_line import parse
from jaxfer.experiments.finetune_methods import Model, make_tuning, plan_tuning
from jaxfer.experiments.finetune_options import FineTuningOptions
from jaxfer.experiments.finetune_rates import make_schedule, search_rate
from jaxfer.experiments.image_data import digits_domain, random_view, shift_images
from jaxfer.inference import save_model
from jaxfer.models import (
    BertConfig,
    ImageClassifier,
    Network,
    ResNet,
    ResNetConfig,
    TextClassifier,
    ViT,
    ViTConfig,
    from_nnx,
    speech_classifier,
)
from jaxfer.typing import Classification, LabelledBatch, Tokens, UserError

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
        ({"patience": 0}, "--patience is 0"),
        ({"scratch_rate": -1.0}, "--scratch-rate is -1.0; give at least 0"),
        ({"layer_decay": 2.0}, "--layer-decay is 2.0; give at most 1"),
    ):
        with pytest.raises(UserError, match=complaint):
            finetune_options.check_options(FineTuningOptions(**options))


def test_a_method_that_does_not_fit_the_network_is_refused(model):
    with pytest.raises(UserError, match="lora does not fit this network: pattern 'odd' matches no"):
        make_tuning("lora", model._replace(low_rank=("odd",)), FineTuningOptions())


def parameters_of(table):
    """Trained and frozen, of the last line."""
    _, trained, frozen = table.splitlines()[-1].split()
    return int(trained.replace(",", "")), int(frozen.replace(",", ""))


@pytest.mark.parametrize("name", ["full", "probe", "lora"])
def test_the_table_says_what_of_a_method_trains(model, name):
    plan = plan_tuning(name, model, FineTuningOptions(rank=2))
    trained, frozen = parameters_of(parameter_table(plan.shapes, plan.mask))
    factors = 2 * 2 * (8 + 8)  # of two queries
    assert trained == {"full": whole(model), "probe": 18, "lora": 18 + factors}[name]
    assert trained + frozen == whole(model) + (factors if name == "lora" else 0)


def test_what_does_not_fit_is_said_before_anything_is_trained(tmp_path):
    sizes = ResNetConfig((1, 1, 1, 1), (4, 4, 4, 4), small_images=True, in_features=1)

    def build(rngs):
        return ImageClassifier(ResNet(sizes, rngs=rngs), features=4, classes=10, rngs=rngs)

    task = finetune_run.Task(
        digits_domain(image_size=8), Model(build, {}, {}, (), ("encoder/*", "head/*")),
        lambda x, key: x, None,
    )  # fmt: skip
    config = FineTuningOptions(methods=("full", "adapters"), out=tmp_path / "run")
    with pytest.raises(UserError, match="adapters does not fit this network: pattern '.*' matches"):
        finetune_run.compare(config, task)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cosine", [0, 0.5, 1, 0.5 + 0.5 * np.cos(np.pi / 3), 0.5, 0]),
        ("linear", [0, 0.5, 1, 2 / 3, 1 / 2, 0]),
        ("constant", [0, 0.5, 1, 1, 1, 1]),
    ],
)
def test_rates_rise_and_go_on_as_their_schedule_says(name, expected):
    schedule = make_schedule(name, 1.0, 20)
    found = [float(schedule(t)) for t in (0, 1, 2, 8, 11, 20)]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_rate_is_searched_once_and_kept(tmp_path):
    def loss_fn(params, batch):
        return jnp.mean((params["w"] - batch) ** 2)

    def search(target):
        arguments = ({"w": jnp.zeros(3)}, jnp.full((100, 2, 3), target), tmp_path)
        return search_rate(FineTuningOptions(), loss_fn, *arguments)

    found = search(1.0)
    assert 1e-3 < found < 1
    kept = json.loads((tmp_path / "rate.json").read_text())
    assert kept["rate"] == found and len(kept["losses"]) == 100
    assert search(1e9) == found
    (tmp_path / "rate.json").write_text("{}")
    with pytest.raises(UserError, match="rate.json cannot be read"):
        search(1.0)


def test_flags_of_rates_and_patience_are_read():
    flags = ("--rate", "find", "--few-rate", "0.01", "--schedule", "linear", "--patience", "3")
    config = parse(finetune_images.Config, flags)
    assert (config.rate, config.few_rate, config.scratch_rate) == ("find", 0.01, 1e-3)
    assert (config.schedule, config.patience) == ("linear", 3)
    assert parse(finetune_text.Config, ()).patience is None


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
    options = {"methods": ("probe", "lora"), "few_rate": "find", "patience": 1}
    config, summary = smoke(finetune_text, tmp_path, data=str(path), **options)
    assert set(summary["methods"]) == {"probe", "lora"}
    found = summary["methods"]["lora"]
    assert (
        found["learning_rate"]
        == json.loads((config.out / "lora" / "rate.json").read_text())["rate"]
    )
    for name in ("macro_f1", "macro_precision", "macro_recall"):
        assert len(found[name]) == 2 and 0 <= min(found[name]) <= max(found[name]) <= 1
    for name in (
        "config.json",
        "summary.json",
        "confusion.png",
        "saliency.png",
        "rollout.png",
        "lora/learning_curve.png",
        "probe/learning_curve.png",
        "model/jaxfer.json",
    ):
        assert (config.out / name).is_file(), name
    found = jaxfer.predict(config.out / "model", ["the new song is good", "bad"])
    assert set(found.labels) <= {"up", "down"}
    said = capsys.readouterr().out
    assert "test accuracy (%)" in said and "by a search over 100 steps" in said
    assert len(re.findall("^parameters +trained +frozen$", said, re.M)) == 2
    assert set(json.loads((config.out / "summary.json").read_text())["layers_by_logme"]) == {
        "embedded", "block0", "block1",
    }  # fmt: skip


@pytest.mark.slow
def test_pretraining_ends_in_weights_that_are_read_back(tmp_path):
    config, summary = smoke(pretrain_images, tmp_path, method="simclr")
    assert np.isfinite(summary["validation_loss"]).all()
    assert (config.out / "learning_curve.png").is_file()
    config, summary = smoke(
        finetune_images, tmp_path / "next", model=str(config.out / "model"), methods=("full",)
    )
    assert set(summary["methods"]) == {"full"}
    assert (config.out / "saliency.png").is_file()
    assert not (config.out / "rollout.png").exists()  # a ResNet has no attention
    image = np.zeros((9, 9), np.uint8)
    assert jaxfer.predict(config.out / "model", [image]).labels[0] in map(str, range(10))


def drawn(rows, path, **options):
    """In the place of a picture: what would be drawn."""
    DRAWN[path.name] = [row._replace(scores=np.asarray(row.scores)) for row in rows]


DRAWN = {}


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_rollout_of_words_is_that_of_what_the_head_reads(monkeypatch, tmp_path, pooling):
    monkeypatch.setattr(finetune_saliency, "text_saliency", drawn)
    tokenizer = finetune_text.make_tokenizer(["b c d e f g"])
    tokenizer.add_special_tokens(["b"])
    part = LabelledBatch(IDS, np.array([0, 1]))
    texts = make_domain("texts", part, part, classes=("no", "yes"), origin="Made up.")
    texts = texts._replace(test=LabelledBatch(TOKENS, part.y))

    def build(rngs):
        return TextClassifier(SMALL, classes=2, pooling=pooling, rngs=rngs)

    params, state = from_nnx(build).init(jax.random.key(0))
    logits = np.array([[1.0, 0.0], [1.0, 0.0]])
    places = finetune_saliency.right_and_wrong(logits, texts.test.y, each=4)
    arguments = (params, state, texts, tokenizer, places, logits)
    finetune_saliency.draw_texts(tmp_path, build, *arguments)
    maps, _ = from_nnx(build, call=lambda module, x: module.encoder.attention_maps(x)).apply(
        params, state, TOKENS, train=False
    )
    rolled = np.asarray(attention_rollout(maps, where=TOKENS.mask))
    shares = rolled[:, 0] if pooling == "first" else rolled.sum(1)
    first, second = DRAWN["rollout.png"]
    assert (first.tokens, second.tokens) == (["c", "d"], ["e", "f"])
    assert [row.tokens for row in DRAWN["saliency.png"]] == [["b", "c", "d"], ["e", "f"]]
    np.testing.assert_allclose(first.scores, shares[0, 1:3], rtol=1e-5)
    np.testing.assert_allclose(second.scores, shares[1, :2], rtol=1e-5)
    kept = shares[0, 1:3].sum() / shares[0, :3].sum()
    assert first.title == f"no, right; {kept:.0%} goes back to these words"
    assert second.title == "no, truly yes"


@pytest.mark.slow
def test_rollout_of_patches_lies_where_they_are(monkeypatch, tmp_path):
    monkeypatch.setattr(finetune_saliency, "image_saliency", drawn)
    sizes = ViTConfig(
        image_size=8, patch=2, width=8, layers=1, heads=2, hidden=8, in_features=1
    )  # fmt: skip

    def build(rngs):
        return ImageClassifier(ViT(sizes, rngs=rngs), features=8, classes=10, rngs=rngs)

    digits = digits_domain(image_size=8)
    params, state = from_nnx(build).init(jax.random.key(0))
    encoder = params["encoder"]
    # Every query alike, and a key that is large for the patch in the second row, third column.
    encoder["positions"] = encoder["positions"].at[1 + 4 + 2, 0].set(50.0)
    attention = encoder["block0"]["attention"]
    attention["query"] = {"kernel": jnp.zeros((8, 8)), "bias": jnp.ones(8)}
    attention["key"] = {"kernel": jnp.zeros((8, 8)).at[0].set(9.0), "bias": jnp.zeros(8)}
    logits = np.eye(10)[np.asarray(digits.test.y)]
    places = finetune_saliency.right_and_wrong(logits, digits.test.y, each=3)
    prepare = lambda x: jnp.asarray(x, jnp.float32) / 255  # noqa: E731
    arguments = (params, state, digits, prepare, places, logits)
    finetune_saliency.draw_images(tmp_path, build, *arguments)
    assert len(DRAWN["rollout.png"]) == len(DRAWN["saliency.png"]) == 3
    for row in DRAWN["rollout.png"]:
        assert row.scores.shape == (4, 4)
        assert np.unravel_index(row.scores.argmax(), (4, 4)) == (1, 2)
        assert row.scores.max() == pytest.approx(0.5, abs=0.01)  # the other half passes by


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
    model, _ = finetune_speech.make_model(config, 10, tmp_path)
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "network",
    ["gru", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("image", "conv"))],
)
def test_a_saved_recogniser_says_what_the_experiment_heard(tmp_path, monkeypatch, network):
    heard = {}

    def keep(network, domain, out_png, params, state, places, logits, **options):
        heard.update(logits=logits, classes=domain.classes)
        finetune_saliency.draw_saliency(
            network, domain, out_png, params, state, places, logits, **options
        )  # fmt: skip

    monkeypatch.setattr(finetune_speech, "draw_saliency", keep)
    build = speech_classifier("image", mels=16, features=8, classes=10)
    params, state = from_nnx(build).init(jax.random.key(1))  # what nothing has pre-trained
    save_model(
        tmp_path, kind="image", settings={}, classes="0123456789", params=params, state=state
    )
    config, _ = smoke(
        finetune_speech, tmp_path, network=network, methods=("scratch",), speaker="fay",
        model=str(tmp_path), listen=2,
    )  # fmt: skip
    summary = json.loads((config.out / "summary.json").read_text())
    assert summary["saved"] == "scratch"
    assert list(summary["methods"]) == ["scratch", "scratch, listening"]
    assert (config.out / "saliency.png").is_file() and (config.out / "confusion.png").is_file()
    fay = speak_digits(takes=config.takes)["fay"]
    audio = [*fay.train.x, *fay.test.x]
    found = jaxfer.predict(config.out / "model", audio)
    assert found.classes == heard["classes"] == tuple(map(str, range(10)))
    np.testing.assert_allclose(
        found.probabilities, jax.nn.softmax(heard["logits"]), rtol=1e-4, atol=1e-6
    )
    with wave.open(str(tmp_path / "seven.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes((audio[3] * 2**15).astype("<i2").tobytes())
    one = jaxfer.predict(config.out / "model", str(tmp_path / "seven.wav"))
    np.testing.assert_allclose(one.probabilities[0], found.probabilities[3], atol=1e-3)
    assert one.labels == found.labels[3:4]


def test_another_voice_speaks_in_training_alone():
    x = np.random.default_rng(0).normal(size=(20, 9, 8)).astype(np.float32)
    still = finetune_speech.Config(network="conv", masks=0, voice=0)
    prepare = finetune_speech.make_prepare(dataclasses.replace(still, voice=0.5))
    key = jax.random.key(0)
    np.testing.assert_array_equal(prepare(x, None), x)
    spoken = another_voice(jax.random.split(key)[0], x, strength=0.5)
    np.testing.assert_array_equal(prepare(x, key), spoken)
    np.testing.assert_array_equal(finetune_speech.make_prepare(still)(x, key), x)


def test_what_a_prediction_turned_on_is_drawn_upright(tmp_path, monkeypatch):
    """Of a classifier that looks at the second frame alone."""
    x = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)
    drawn = []
    monkeypatch.setattr(
        finetune_saliency, "image_saliency", lambda rows, out_png, title: drawn.extend(rows)
    )
    part = LabelledBatch(x, np.array([0, 0, 1, 1]))
    domain = Domain("d", part, part, ("low", "high"), "", "")
    network = Network(
        lambda key: ({}, {}),
        lambda params, state, x, *, train, key=None: (
            Classification(None, jnp.stack([x[:, 1, 0], 2 * x[:, 1, 1]], -1)), state
        ),
    )  # fmt: skip
    logits = np.array([[2.0, 1.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    places = finetune_saliency.right_and_wrong(logits, part.y, each=5)
    finetune_saliency.draw_saliency(
        network, domain, tmp_path / "a.png", {}, {}, places, logits,
        prepare=lambda x: x, upright=lambda x: x.T[::-1],
    )  # fmt: skip
    assert [row.title for row in drawn] == [
        "low, right",
        "high, right",
        "high, truly low",
        "low, truly high",
    ]
    for place, row in zip((0, 2, 1, 3), drawn, strict=True):
        np.testing.assert_array_equal(row.image, x[place].T[::-1])
        band = int(logits[place].argmax())
        expected = np.zeros((3, 2))
        expected[1, band] = (1 + band) * (x[place, 1, band] - x[place].mean())
        np.testing.assert_allclose(row.scores, expected.T[::-1], atol=1e-5)
