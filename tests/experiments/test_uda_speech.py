"""Adaptation to a speaker left out, tried as a user would."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxfer.data import blank_stripes, speak_digits
from jaxfer.experiments import uda_speech
from jaxfer.experiments.command_line import parse
from jaxfer.experiments.uda_speech import (
    PRESETS,
    SMOKE,
    Config,
    in_log_mel,
    make_prepare,
    read_speakers,
    run,
)
from jaxfer.typing import UserError

from .conftest import commands, do
from .conftest import fail as conftest_fail

pytestmark = pytest.mark.usefixtures("compiled_quickly")

SMALL = dataclasses.replace(Config(), **SMOKE)


def fail(*flags):
    said = conftest_fail(uda_speech, *flags, smoke=SMOKE)
    assert said.startswith("error: ") and said.count("\n") == 1, said
    return said


def test_voices_stand_in_where_there_are_no_recordings(tmp_path):
    """Wherever they were not asked for; a folder that was named must hold them."""
    domains = read_speakers(Config(takes=2))
    assert "NOT recordings of anybody" in domains["fay"].origin
    for place in ({"data_dir": tmp_path}, {"data": str(tmp_path)}):
        with pytest.raises(UserError, match="There are no spoken digits in"):
            read_speakers(Config(**place))


def test_recordings_of_the_users_own(data_dir):
    domains = read_speakers(Config(data_dir=data_dir))
    assert len(domains) == 6 and "NOT" not in domains["theo"].origin


def test_features_have_mean_0_and_variance_1():
    domain = in_log_mel(speak_digits(takes=2)["ada"], 16)
    assert domain.train.x.shape == (10, 49, 16) and domain.train.x.dtype == np.float32
    np.testing.assert_allclose(domain.train.x.mean((1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(domain.train.x.std((1, 2)), 1, atol=1e-3)


def test_what_is_spoken_can_be_brought_to_so_many_frames():
    domain = in_log_mel(speak_digits(takes=2)["ada"], 16, 12)
    assert domain.train.x.shape == (10, 12, 16)
    assert domain.origin.endswith("in 16 log-mel bands, what is spoken in 12 frames.")


def test_stripes_are_blanked_in_training_alone():
    x = np.ones((200, 50, 40), np.float32)
    np.testing.assert_array_equal(make_prepare(Config())(x, None), x)
    np.testing.assert_array_equal(make_prepare(Config(masks=0))(x, jax.random.key(0)), x)
    blank = np.asarray(make_prepare(Config())(x, jax.random.key(0))) == 0
    for axis, total in ((1, 50), (2, 40)):
        stripes = blank.all(3 - axis)  # [n, total]
        assert 0.05 < stripes.mean() < 0.15 and stripes.sum(1).max() <= 0.2 * total + 1
        ends = np.abs(np.diff(np.pad(stripes, ((0, 0), (1, 1))).astype(int))).sum(1)
        assert set(ends) <= {0, 2}  # in one piece
        assert len(np.unique(stripes, axis=0)) > 100
    rows, columns = blank.all(2), blank.all(1)
    np.testing.assert_array_equal(blank, rows[:, :, None] | columns[:, None])
    many = np.asarray(blank_stripes(x, jax.random.key(1), masks=3)) == 0
    assert many.mean() > 1.5 * blank.mean()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--speaker", "bob"], "There is no speaker 'bob' beside others; give one of: ada, bruno,"),
        (["--data", "auto", "--data-dir", "none"], "--data-dir is none, which is no folder"),
        (["--data", "none"], "which is no folder; name one that holds spoken digits"),
        (["--data", "."], "There are no spoken digits in .; put recordings such as"),
        (["--methods", "damn"], "There is no method 'damn'; the methods are: source-only"),
        (["--takes", "1"], "--takes is 1; give at least 2"),
        (["--mels", "4"], "--mels is 4; give at least 8"),
        (["--mels", "87"], "--mels is 87; give at most 86"),
        (["--masks", "-1"], "--masks is -1; give at least 0"),
        (["--frames", "7"], "--frames is 7; give at least 8, or 0 for recordings as they are"),
        (["--dropout", "1"], "--dropout is 1.0; give less than 1"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path, monkeypatch, flags, sentence):
    monkeypatch.chdir(tmp_path)
    assert sentence in fail("--smoke", "--out", tmp_path / "run", *flags)
    assert not (tmp_path / "run" / "summary.json").exists()


def test_the_examples_of_its_docstring_can_be_copied():
    for flags in commands(uda_speech):
        assert parse(Config, flags, presets=PRESETS, smoke=SMOKE, name="uda_speech").out


@pytest.mark.thorough  # a stage of .ci/run does it, too
def test_the_smoke_test_of_the_real_thing(start):
    out, _ = start("uda_speech", "--smoke", "--speaker", "emil").end()
    assert "as the voices ada, bruno, carla, david, fay" in out.split("\n")[0]
    assert "as the voice emil" in out.split("\n")[1] and "in 16 log-mel bands" in out
    assert "Trained on the target with its labels" in out


@pytest.mark.slow
def test_statistics_of_each_domain_with_real_recordings(data_dir, tmp_path):
    config = dataclasses.replace(
        SMALL, data="auto", data_dir=data_dir, speaker="theo", statistics="separate",
        methods=("source-only",), steps=2, out=tmp_path / "run",
    )  # fmt: skip
    done = do(run, config)
    assert done.summary["data"]["target"]["source"] == "theo"
    assert "NOT" not in done.out
