"""Adaptation of reviews, tried as a user would."""

import contextlib
import dataclasses
import io
import json

import jax
import numpy as np
import pytest
from PIL import Image

from jaxfer.experiments import uda_amazon
from jaxfer.experiments.command_line import main
from jaxfer.experiments.uda_amazon import SMOKE, Config, run

from .conftest import do, measured

pytestmark = pytest.mark.usefixtures("compiled_quickly")

SMALL = Config(
    data="made-up",
    runs=3,
    strengths=2,
    examples=400,
    hidden=6,
    steps=120,
    validate_every=40,
    batch=30,
)


@pytest.fixture(scope="module")
def finished(compiled_quickly, tmp_path_factory):
    return do(run, dataclasses.replace(SMALL, out=tmp_path_factory.mktemp("runs") / "finished"))


def fail(*flags):
    """One sentence on stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        with pytest.raises(SystemExit) as ended:
            main(Config, run, smoke=SMOKE, args=[*map(str, flags), "--smoke"])
    assert ended.value.code == 2, err.getvalue()
    [line] = [line for line in err.getvalue().splitlines() if line.startswith("error: ")]
    return line


def test_it_learns_and_says_what_came_out(finished):
    summary = json.loads((finished.folder / "summary.json").read_text())
    assert set(summary["test"]) == {"left-right", "right-left", "mean of the pairs"}
    for row in summary["test"].values():
        assert row["validator"] == "reverse validation" and row["seeds"] == 3
        assert row["source_only"]["accuracy"] > 0.55  # of two classes alike
        assert row["oracle"]["accuracy"] >= row["picked"]["accuracy"] > 0.55
        assert row["target_trained"]["accuracy"] > row["picked"]["accuracy"]
        assert 0 < row["gap_closed"]["mean"] < 1 and 0.5 <= row["domain_accuracy"]["accuracy"] <= 1
        change = np.subtract(row["picked"]["runs"], row["source_only"]["runs"])
        assert row["change"]["mean"] == pytest.approx(change.mean())
    assert summary["data"]["source"] == "made-up reviews"
    assert "these are made up" in finished.out
    for said in ("picked by reverse validation", "gap closed (%)", "domain acc. (%)"):
        assert said in finished.out
    pictures = ("learning_curves.png", "features.png", "confusion.png")
    for name in ("pairs.png", *(f"left-right/{name}" for name in pictures)):
        with Image.open(finished.folder / name) as image:
            assert min(image.size) > 200


def test_every_pair_has_its_curves(finished):
    for pair in ("left-right", "right-left"):
        for part, names in (
            (".", {"risk_0", "accuracy_0.01", "domain_accuracy_1", "loss_1", "test_accuracy_1"}),
            ("reverse", {"risk_0", "risk_1"}),
            ("on-target", {"risk_0", "test_accuracy_0"}),
        ):
            lines = measured(finished.folder / pair / part)
            assert [line["step"] for line in lines[::3]] == [40, 80, 120]
            assert names <= lines[0].keys()
        result = json.loads((finished.folder / pair / "result.json").read_text())
        assert np.shape(result["test_accuracy"]) == (3, 3)
        assert result["strengths"][0] == 0 and set(np.ravel(result["step"])) <= {40, 80, 120}
        lines = measured(finished.folder / pair)
        for seed in range(3):
            tests = [line["test_accuracy_1"] for line in lines if line["run"] == seed]
            assert result["best_accuracy"][seed][2] == pytest.approx(max(tests))
            assert result["last_accuracy"][seed][2] == pytest.approx(tests[-1])
            picked = [40, 80, 120].index(result["step"][seed][2])
            assert result["test_accuracy"][seed][2] == pytest.approx(tests[picked])


def test_finished_pairs_are_not_computed_again(finished, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    first = dataclasses.replace(SMALL, out=folder, pairs=("right-left",))
    do(run, first)
    before = (folder / "right-left" / "result.json").stat().st_mtime_ns
    both = do(run, dataclasses.replace(SMALL, out=folder, resume=True))
    assert (folder / "right-left" / "result.json").stat().st_mtime_ns == before
    for name, row in both.summary["test"].items():
        assert row["picked"] == finished.summary["test"][name]["picked"]
        assert row["change"] == finished.summary["test"][name]["change"]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--pairs", "left-left"), "There is no pair 'left-left'; the pairs are: left-right"),
        (("--batch", "1000"), "--batch is 1000, but left has 36 reviews to train on"),
        (("--devices", "2"), "--devices is 2; this experiment computes on one."),
        (("--data", "no/such"), "no/such"),
        (("--strengths", "0"), "--strengths is 0; give at least 1."),
    ],
)
def test_mistakes_are_named_in_one_sentence(flags, sentence, tmp_path):
    assert sentence in fail(*flags, "--out", tmp_path / "run")


def write_domains(folder, **counts):
    for name, count in counts.items():
        lines = "".join(f"{i % 2} {i % 5}:2\n" for i in range(count))
        for part in ("train", "test"):
            (folder / f"{name}_{part}.svmlight").write_text(lines)


def test_a_domain_of_one_review_is_named_before_anything_is_trained(tmp_path):
    write_domains(tmp_path, toys=30, tools=30, books=1)
    said = fail(
        "--data", tmp_path, "--out", tmp_path / "run", "--pairs", "tools-toys", "toys-books"
    )
    assert "books has 1 review to train on; give at least 2, of which one is held out." in said
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_files_of_the_users_own(tmp_path):
    draw = np.random.default_rng(0)
    for domain in ("toys", "tools"):
        for part in ("train", "test"):
            lines = [f"{2 * (i % 2) - 1} {i % 2}:2 {2 + draw.integers(5)}:1" for i in range(40)]
            (tmp_path / f"{domain}_{part}.svmlight").write_text("\n".join(lines) + "\n")
    config = dataclasses.replace(
        SMALL, data="auto", data_dir=tmp_path, out=tmp_path / "run", runs=1, batch=8, steps=40
    )
    result = do(run, config)
    assert result.summary["data"]["source"] == "reviews"
    assert result.summary["test"]["toys-tools"]["source_only"]["accuracy"] == 1
    (tmp_path / "toys_train.svmlight").unlink()
    with pytest.raises(uda_amazon.UserError, match="only one domain, tools"):
        do(run, dataclasses.replace(config, out=tmp_path / "other"))


@pytest.mark.slow
def test_the_papers_reviews(data_dir, tmp_path):
    jax.config.update("jax_disable_most_optimizations", False)
    config = Config(
        data=str(data_dir), out=tmp_path / "run", runs=2, strengths=2, steps=288,
        pairs=("electronics-dvd",),
    )  # fmt: skip
    row = do(run, config).summary["test"]["electronics-dvd"]
    # The paper has .733 and .738; naive training on these inputs stands at .745.
    assert row["source_only"]["accuracy"] > 0.72 and row["picked"]["accuracy"] > 0.72
    assert row["picked"]["accuracy"] < 0.8
