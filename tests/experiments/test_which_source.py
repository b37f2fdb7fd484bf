"""Which source: the ranking stands beside what came of it, for built-in sources and named ones."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from jaxfer.data import Domain
from jaxfer.experiments import which_source
from jaxfer.experiments.finetune_images import make_model
from jaxfer.experiments.image_data import digits_domain
from jaxfer.models import from_nnx
from jaxfer.models.image_networks import EncoderStart, image_network
from jaxfer.typing import LabelledBatch, UserError

NAMES = ("supervised", "rotation", "simclr", "untrained")


def smoke(path, **options):
    config = which_source.Config(out=path, smoke=True)
    config = dataclasses.replace(config, **{**which_source.SMOKE, **options})
    return config, which_source.run(config)


def telling(count, share, seed=0):
    """Features that tell ten classes apart as far as the share says, and their labels."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % 10
    features = draw.normal(size=(count, 12)) + 4 * share * np.eye(12)[labels]
    return features.astype(np.float32), labels.astype(np.int32)


def test_scores_and_linear_classifiers_agree_on_what_is_clear():
    shares = {"some": 0.5, "nothing": 0.0, "most": 1.0}
    layers = {name: np.split(telling(400, share)[0], [200]) for name, share in shares.items()}
    labels = telling(400, 0)[1]
    parts = [LabelledBatch(np.zeros((200, 1)), half) for half in np.split(labels, [200])]
    images = Domain("made up", *parts, tuple("abcdefghij"), "Made up.", "")
    accuracies = which_source.judge_linearly(layers, images)
    assert accuracies[1] < 0.3 < accuracies[0] < accuracies[2]
    scores = which_source.score(layers, images)
    assert set(scores) == {"LogME", "H-score", "TransRate"}
    for name, found in scores.items():
        assert found[1] < found[0] < found[2], name


def test_the_table_and_the_summary_say_how_far_the_order_was_foretold(tmp_path, capsys):
    sources = {
        name: {"probe": {"test_accuracy": {"mean": mean, "ci95": 0.01}}}
        for name, mean in (("a", 0.9), ("b", 0.8), ("c", 0.7))
    }
    scores = {"LogME": np.array([3.0, 2.0, 1.0]), "H-score": np.array([1.0, 2.0, 3.0]),
              "TransRate": np.array([3.0, 1.0, 2.0])}  # fmt: skip
    layers = {f"{name}/stem": [np.zeros((2, 1))] * 2 for name in sources}
    found = which_source.report(
        sources, scores, layers, which_source.Candidates(scores, np.array([0.1, 0.3, 0.2])),
        tmp_path, title="made up",
    )  # fmt: skip
    assert found["kendall_tau"]["probe"] == pytest.approx(
        {"LogME": 1, "H-score": -1, "TransRate": 1 / 3}
    )
    assert found["kendall_tau"]["layers"]["LogME"] == pytest.approx(-1 / 3)
    assert found["chosen_layers"] == {"LogME": "a/stem", "H-score": "c/stem",
                                      "TransRate": "a/stem", "best": "b/stem"}  # fmt: skip
    said = capsys.readouterr().out
    assert "LogME would take the layer a/stem: a linear classifier has 10.00%." in said
    assert "The best by the test itself, which nothing may be chosen by: b/stem, 30.00%." in said
    assert (tmp_path / "ranking.png").is_file()


def test_depth_is_the_baseline_and_ties_stay_ties(tmp_path, capsys):
    # As many right of 360, summed in another order.
    means = {"a": 0.9145777225, "b": 0.9145776828, "c": 0.8}
    sources = {n: {"full": {"test_accuracy": {"mean": x, "ci95": 0.1}}} for n, x in means.items()}
    scores = dict.fromkeys(which_source.SCORES, np.array([2.0, 3.0, 1.0]))
    layers = {f"{n}/{layer}": [] for n in "abc" for layer in ("stem", "stage0")}
    of_layers = which_source.Candidates(
        dict.fromkeys(which_source.SCORES, np.arange(6.0)), np.array([0.1, 0.6, 0.2, 0.5, 0.3, 0.4])
    )
    found = which_source.report(sources, scores, layers, of_layers, tmp_path, title="made up")
    # Two pairs of three agree, the third is a tie of one: 2 / sqrt(3 * 2).
    assert found["kendall_tau"]["full"]["LogME"] == pytest.approx(2 / 6**0.5)
    # All 9 pairs of a stem and a stage agree, the 6 others tie: 9 / sqrt(9 * 15).
    assert found["kendall_tau"]["layers"]["depth alone"] == pytest.approx(9 / 135**0.5)
    assert "of their depth alone, without a score: 0.77" in capsys.readouterr().out


@pytest.mark.slow
def test_layers_are_what_the_network_makes_of_either_part():
    images = digits_domain(image_size=8)
    network = image_network("small", image_size=8, color=False)
    params, state = from_nnx(network.build).init(jax.random.key(0))
    model = make_model(EncoderStart(params, state, None, network), 10)
    found = which_source.layers_of(model, lambda x, key: x.astype(np.float32) / 255, images)
    assert [*found] == ["stem", *(f"stage{i}" for i in range(4)), "features"]
    assert found["features"][0].shape == (len(images.train.y), 128)
    for part, half in zip((images.train, images.test), found["features"], strict=True):
        x = np.asarray(part.x[-3:], np.float32) / 255
        encoder = from_nnx(network.build)
        expected, _ = encoder.apply(params, state, x, train=False)
        np.testing.assert_allclose(half[-3:], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_run_ranks_tunes_and_goes_on(tmp_path):
    config, summary = smoke(tmp_path / "run", methods=("probe",))
    assert tuple(summary["sources"]) == NAMES
    assert len(summary["layers"]) == 4 * 5
    assert (config.out / "ranking.png").is_file()
    written = json.loads((config.out / "summary.json").read_text())
    assert set(written["kendall_tau"]) == {"probe", "layers"}
    models = tuple(str(config.out / "pretrained" / name / "model") for name in NAMES[:2])
    _, named = smoke(tmp_path / "named", methods=("probe",), models=models)
    for mine, theirs in zip(named["sources"].values(), summary["sources"].values(), strict=False):
        assert mine["scores"] == pytest.approx(theirs["scores"], rel=1e-4)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"models": ("A",)}, "--models names one source; give at least two"),
        ({"models": ("A", "A")}, "--models names one source; give at least two"),
        ({"methods": ("scratch",)}, "--methods scratch begins from no source"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, options, complaint):
    with pytest.raises(UserError, match=complaint):
        which_source.run(which_source.Config(out=tmp_path / "run", **options))
    assert not (tmp_path / "run").exists()
