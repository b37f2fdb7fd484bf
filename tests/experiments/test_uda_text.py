"""Adaptation from one kind of text to another, tried as a user would."""

import dataclasses
import gzip
import json

import jax
import numpy as np
import pytest

from jaxfer.experiments import uda_text
from jaxfer.experiments.command_line import parse
from jaxfer.experiments.uda_text import PRESETS, SMOKE, Config, make_prepare, read_texts, run

from .conftest import commands, do
from .conftest import fail as conftest_fail

pytestmark = pytest.mark.usefixtures("compiled_quickly")

SMALL = dataclasses.replace(Config(), **SMOKE)


def fail(*flags):
    said = conftest_fail(uda_text, *flags, smoke=SMOKE)
    assert said.startswith("error: ") and said.count("\n") == 1, said
    return said


@pytest.fixture
def texts(tmp_path):
    """Reviews of toys and tools, sentences of shops and cafes."""
    lines = [
        json.dumps({"domain": name, "label": i % 2, "text": f"{name} {'bad good'.split()[i % 2]}"})
        for name in ("toys", "tools")
        for i in range(20)
    ]
    (tmp_path / "reviews.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    for name in ("shop", "cafe"):
        rows = [f"{name} {'bad good'.split()[i % 2]}\t{i % 2}" for i in range(20)]
        (tmp_path / f"{name}_labelled.txt").write_text("\n".join(rows) + "\n")
    return tmp_path


@pytest.mark.slow
def test_the_built_in_sentences(tmp_path):
    done = do(run, dataclasses.replace(SMALL, methods=("source-only",), out=tmp_path))
    assert done.out.startswith("Source: Sentences about films that jaxfer wrote from templates")
    assert "NOT reviews of anybody" in done.out
    assert {"source-only", "on-target"} == done.summary["test"].keys()
    assert done.summary["data"]["target"]["source"] == "phones"


def test_texts_of_the_users_own(texts):
    reviews = Config(task="reviews", source="toys", target="tools", data_dir=texts)
    source, target = read_texts(reviews)
    assert (source.name, target.name, len(source.train.x)) == ("toys", "tools", 16)
    for place in ({"data": str(texts)}, {"data_dir": texts}):
        sentences = Config(task="sentences", source="cafe", target="shop", **place)
        source, target = read_texts(sentences)
        assert source.train.x[0].startswith("cafe") and target.test.x[0].startswith("shop")


def test_words_are_dropped_in_training_alone():
    tokens = np.tile(np.array([5, 6, 7, 8, 0, 0], np.int32), (400, 1))
    prepare = make_prepare(Config(word_dropout=0.25))
    np.testing.assert_array_equal(prepare(tokens, None), tokens)
    changed = np.asarray(prepare(tokens, jax.random.key(0)))
    assert (changed[:, 4:] == 0).all() and set(np.unique(changed)) == {0, 1, 5, 6, 7, 8}
    assert 0.2 < np.mean(changed[:, :4] == 1) < 0.3
    same = make_prepare(Config(word_dropout=0))(tokens, jax.random.key(0))
    np.testing.assert_array_equal(same, tokens)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--source", "phones"], "--source and --target are both phones; name two different ones"),
        (["--target", "cars"], "--target is cars; give one of films, phones."),
        (["--task", "reviews", "--data-dir", "."], "There is no reviews.jsonl.gz in"),
        (
            ["--task", "sentences", "--data", "none"],
            "none, which is no folder; name one that holds",
        ),
        (["--methods", "damn"], "There is no method 'damn'; the methods are: source-only"),
        (["--methods", "dann", "vada", "vat"], "--methods has vada and vat, which moves inputs"),
        (["--methods", "fixmatch"], "--methods has fixmatch, which changes inputs at random"),
        (["--methods", "tent"], "--methods has tent, which adapts batch normalisation"),
        (["--validator", "target_accuracy"], "There is no validator 'target_accuracy'"),
        (["--word-dropout", "1"], "--word-dropout is 1.0; give less than 1"),
        (["--dropout", "-1"], "--dropout is -1.0; give at least 0"),
        (["--length", "0"], "--length is 0; give at least 1"),
        (["--vocabulary", "2"], "--vocabulary is 2; give at least 3"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path, monkeypatch, flags, sentence):
    monkeypatch.chdir(tmp_path)
    assert sentence in fail("--smoke", "--out", tmp_path / "run", *flags)
    assert not (tmp_path / "run" / "summary.json").exists()


def test_a_domain_that_is_not_in_the_files(texts, tmp_path):
    said = fail("--task", "sentences", "--data-dir", texts, "--out", tmp_path / "run")
    assert "--source is imdb; give one of cafe, shop." in said


def test_the_examples_of_its_docstring_can_be_copied():
    for flags in commands(uda_text):
        assert parse(Config, flags, presets=PRESETS, smoke=SMOKE, name="uda_text").out
    assert parse(Config, ["--preset", "reviews"], presets=PRESETS).length == 150


@pytest.mark.thorough  # a stage of .ci/run does it, too
def test_the_smoke_test_of_the_real_thing(start):
    out, _ = start("uda_text", "--smoke").end()
    assert "NOT reviews of anybody" in out and "Trained on the target with its labels" in out


@pytest.mark.slow
@pytest.mark.parametrize("network", ["gru", "lstm"])
def test_recurrent_networks(texts, tmp_path, network):
    done = do(
        run,
        dataclasses.replace(
            SMALL, network=network, task="reviews", source="toys", target="tools", data_dir=texts,
            methods=("source-only",), out=tmp_path / network,
        ),
    )  # fmt: skip
    assert done.summary["test"].keys() == {"source-only", "on-target"}
