"""One-shot classification within alphabets: what is trained on, what is answered alone, the error."""

import dataclasses
import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxfer.data import draw_glyphs
from jaxfer.experiments import oneshot_lake
from jaxfer.experiments.command_line import parse
from jaxfer.experiments.few_shot import Problem, check_options
from jaxfer.experiments.few_shot_methods import (
    METHODS,
    WITHOUT_EPISODES,
    chosen_methods,
    make_method,
)
from jaxfer.experiments.oneshot_lake import (
    PRESETS,
    PUBLISHED,
    SMOKE,
    Arrays,
    Config,
    choose_alphabets,
    compare_pixels,
    make_runs,
    make_sampler,
    run,
    summarise,
    warped,
)
from jaxfer.typing import UserError

from .conftest import commands, do, fail

pytestmark = pytest.mark.usefixtures("compiled_quickly", "few_glyphs")

TINY = dataclasses.replace(Config(), **SMOKE | dict(data="glyphs", image_size=16, devices=1))


def glyphs():
    return draw_glyphs(alphabets=10, characters=10, image_size=16)


@pytest.mark.slow
def test_a_run_from_beginning_to_end(tmp_path):
    config = dataclasses.replace(TINY, held_out=2, out=tmp_path / "out")
    done = do(run, config)
    summary = json.loads((done.folder / "summary.json").read_text())
    [pixels, found] = summary["test"]["results"]
    trials = np.load(done.folder / "prototypical" / "test_trials.npz")["prototypical"]
    assert trials.shape == (2, 2, 10)
    assert found["errors"] == pytest.approx(1 - trials.mean((1, 2)))
    assert found["error"] == pytest.approx(np.mean(found["errors"]))
    assert summary["test"]["protocol"] == {
        "runs": 2, "way": 10, "trials": 20, "statistics": "running",
    }  # fmt: skip
    assert summary["data"]["characters"] == {"train": 40, "held_out": 20, "evaluation": 40}
    assert "people, on the published runs" in done.out and "2 runs made with seed" in done.out
    assert (done.folder / "prototypical" / "run_first.png").stat().st_size > 1000


def test_alphabets_that_are_held_out_are_of_the_background_and_not_trained_on():
    characters = glyphs()
    chosen = choose_alphabets(dataclasses.replace(TINY, held_out=2), characters)
    of = [{characters.alphabets[c] for c in part} for part in chosen]
    assert [len(each) for each in of] == [4, 2, 4] and len(set.union(*of)) == 10
    assert (
        characters.background[chosen.train].all() and characters.background[chosen.held_out].all()
    )
    assert not characters.background[chosen.evaluation].any()
    everything = choose_alphabets(TINY, characters)
    assert len(everything.train) == 60 and not len(everything.held_out)


def test_runs_are_made_of_evaluation_or_of_held_out_alphabets():
    characters = glyphs()
    for test_on, part in (("evaluation", "evaluation"), ("held-out", "held_out")):
        config = dataclasses.replace(TINY, held_out=2, test_on=test_on)
        chosen = choose_alphabets(config, characters)
        validation, test = make_runs(config, characters, chosen)
        pool = {i.tobytes() for c in getattr(chosen, part) for i in characters.images[c]}
        held_out = {i.tobytes() for c in chosen.held_out for i in characters.images[c]}
        assert {image.tobytes() for image in test.test.reshape(-1, 16, 16)} <= pool
        assert {image.tobytes() for image in validation.test.reshape(-1, 16, 16)} <= held_out
        assert (validation.test != test.test).any()


def test_the_error_is_over_all_trials_and_its_interval_over_seeds():
    right = np.ones((3, 2, 10))
    right[0, 0, :4] = right[1, 1, :2] = 0  # 4, 2 and 0 of 20 are wrong
    found = summarise(right)
    assert found["errors"] == pytest.approx([0.2, 0.1, 0.0])
    assert found["error"] == pytest.approx(0.1)
    assert found["ci95"] == pytest.approx(4.302652730 * 0.1 / np.sqrt(3))


def test_nearest_pixels_by_hand():
    characters = glyphs()
    config = dataclasses.replace(TINY, held_out=2)
    _, runs = make_runs(config, characters, choose_alphabets(config, characters))
    found = compare_pixels(runs)
    assert found.shape == (1, 2, 10)
    for index, (shown, asked) in enumerate(zip(runs.training, runs.test, strict=True)):
        for item, image in enumerate(asked):
            distances = [np.sum((image.astype(float) - other) ** 2) for other in shown]
            assert found[0, index, item] == (np.argmin(distances) == runs.answers[index, item])


def test_presets_and_commands_are_configurations():
    for flags in commands(oneshot_lake):
        check_options(parse(Config, flags, presets=PRESETS))
    assert [len(set(names)) for names in PUBLISHED.values()] == [5, 5]


@pytest.mark.slow
def test_the_published_alphabets_and_protocol_are_in_omniglot(data_dir):
    from jaxfer.data import load_omniglot

    characters = load_omniglot("omniglot", str(data_dir), image_size=16)
    for name, alphabets in PUBLISHED.items():
        chosen = choose_alphabets(dataclasses.replace(TINY, alphabets=name), characters)
        assert {characters.alphabets[c] for c in chosen.train} == set(alphabets)
        assert len(chosen.evaluation) == 659
    made, _ = make_runs(TINY, characters, chosen)
    assert made.training.shape == made.test.shape == (2, 20, 16, 16)
    assert (made.training != made.test).any((1, 2, 3)).all()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--alphabets", "five-a"], "--alphabets five-a needs Omniglot's background alphabets"),
        (["--held-out", "6"], "--held-out is 6, and there are 6 background alphabets"),
        (["--test-on", "held-out"], "--test-on held-out needs alphabets held out"),
        (["--within", "1.5"], "--within is 1.5; give a share from 0 to 1"),
        (["--warp", "5"], "--warp is 5.0; give at most 4"),
        (["--train-way", "61"], "--train-way is 61, but there are only 60 characters"),
        (["--method", "all-of-them"], "There is no method 'all-of-them'"),
        (["--method", "ridge", "supervised"], "--method supervised trains on no episodes"),
        (["--train-queries", "20"], "--shot 1 and --queries 20 need 21 drawings"),
    ],
)
def test_what_is_refused(flags, said, tmp_path):
    error = fail(
        oneshot_lake, "--data", "glyphs", "--smoke", "--out", tmp_path / "out", *flags, smoke=SMOKE
    )
    assert error.startswith(f"error: {said}"), error
    assert not (tmp_path / "out").exists()


def test_all_methods_are_those_that_train_on_episodes():
    config = dataclasses.replace(TINY, method=("all",))
    names = chosen_methods(config, only_on_episodes=True)
    assert set(METHODS) - set(names) == {"supervised"} and chosen_methods(config) == (*METHODS,)
    ways = {name: make_method(Problem(TINY, name, 4, 1, 48)).train_way for name in METHODS}
    assert {name for name, way in ways.items() if way == 0} == {*WITHOUT_EPISODES}


def episodes(config, images, count=32):
    """Episodes to train on, of twelve characters in two alphabets of six."""
    part = jnp.arange(12, dtype=jnp.int32)
    arrays = Arrays(jnp.asarray(images), part, part // 6, (), ())
    method = SimpleNamespace(train_way=4)
    sample = jax.jit(jax.vmap(make_sampler(config, method), in_axes=(0, None)))
    return jax.device_get(sample(jax.random.split(jax.random.key(0), count), arrays))


@pytest.mark.parametrize(("within", "least", "most"), [(0.5, 9, 26), (1.0, 32, 32)])
def test_a_share_of_the_episodes_is_of_one_alphabet(within, least, most):
    images = np.broadcast_to(
        np.arange(12, dtype=np.uint8)[:, None, None, None] * 20, (12, 5, 16, 16)
    )
    config = dataclasses.replace(TINY, within=within, warp=0.0, elastic=0.0)
    task = episodes(config, images)
    characters = np.round(task.query.x[..., 0, 0, 0] * 255 / 20).astype(int).reshape(32, 4, 2)
    assert (characters[..., 0] == characters[..., 1]).all()  # two queries of each of four
    assert all(len(set(each)) == 4 for each in characters[..., 0])
    alone = sum(len(set(each // 6)) == 1 for each in characters[..., 0])
    assert least <= alone <= most


def test_every_image_of_an_episode_is_warped_for_itself():
    row, column = np.mgrid[:16, :16]
    blob = np.round(255 * np.exp(-((row - 6) ** 2 + (column - 9) ** 2) / 9)).astype(np.uint8)
    images = np.broadcast_to(blob, (12, 5, 16, 16))
    still, moved = (
        episodes(dataclasses.replace(TINY, warp=warp, elastic=elastic), images, count=2)
        for warp, elastic in ((0.0, 0.0), (1.0, 0.02))
    )
    drawn, warped_ones = (
        np.concatenate([batch.x.reshape(-1, 16, 16) for batch in task]) for task in (still, moved)
    )
    np.testing.assert_allclose(drawn, np.broadcast_to(blob / 255, drawn.shape), atol=1e-6)
    assert len(warped_ones) == 2 * 4 * (1 + 2)
    for i, image in enumerate(warped_ones):
        differences = np.abs(np.delete(warped_ones, i, axis=0) - image).max((1, 2))
        assert np.abs(image - drawn[0]).max() > 0.02 and differences.min() > 0.01
    for batch, as_drawn in zip(moved, still, strict=True):
        np.testing.assert_array_equal(batch.y, as_drawn.y)


def test_the_strength_of_a_warp_is_in_multiples(monkeypatch):
    asked = {}
    monkeypatch.setattr(oneshot_lake, "warp_images", lambda key, x, **given: asked.update(given))
    warped(dataclasses.replace(TINY, warp=1.5, elastic=0.02), None, None)
    expected = dict(rotation=15, shear=15, scale=0.3, shift=0.105, elastic=0.02)
    assert asked == pytest.approx(expected)


def write_runs(folder, runs=2, way=4):
    """Runs as they are published; an item is the drawing that it is to be matched with, smeared."""
    draw = np.random.default_rng(0)
    for name in (f"run{number + 1:02d}" for number in range(runs)):
        for part in ("training", "test"):
            (folder / name / part).mkdir(parents=True)
        order, lines = draw.permutation(way), []
        inks = draw.random((way, 105, 105)) < 0.1
        for i in range(way):
            smeared = inks[order[i]] ^ (draw.random((105, 105)) < 0.01)
            Image.fromarray(~inks[i]).save(folder / name / f"training/class{i + 1:02d}.png")
            Image.fromarray(~smeared).save(folder / name / f"test/item{i + 1:02d}.png")
            shown, asked = f"training/class{order[i] + 1:02d}.png", f"test/item{i + 1:02d}.png"
            lines.append(f"{name}/{asked} {name}/{shown}")
        (folder / name / "class_labels.txt").write_text("\n".join(lines))
    return folder


@pytest.mark.slow
def test_the_published_runs_are_what_it_is_tested_on(tmp_path):
    folder = write_runs(tmp_path / "all_runs")
    done = do(run, dataclasses.replace(TINY, lake_runs=folder, out=tmp_path / "out"))
    summary = json.loads((done.folder / "summary.json").read_text())
    assert summary["test"]["protocol"] == {
        "runs": 2, "way": 4, "trials": 8, "statistics": "running",
    }  # fmt: skip
    assert summary["data"]["runs"] == f"2 runs read from {folder}."
    assert summary["data"]["characters"] == {"train": 60, "held_out": 0, "evaluation": 40}
    pixels, found = summary["test"]["results"]
    assert pixels["error"] == 0  # of as many wrong answers as labels are read wrongly
    trials = np.load(done.folder / "prototypical" / "test_trials.npz")["prototypical"]
    assert trials.shape == (2, 2, 4)
    assert found["errors"] == pytest.approx(1 - trials.mean((1, 2)))
    assert "4-way one-shot, 2 runs, 2 seeds" in done.out and "made with seed" not in done.out


def test_runs_that_are_not_there(tmp_path):
    with pytest.raises(UserError, match="nowhere.zip is neither a folder nor a zip"):
        run(dataclasses.replace(TINY, lake_runs=tmp_path / "nowhere.zip", out=tmp_path / "out"))
