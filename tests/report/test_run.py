import json

import pytest

from jaxfer.report import read_metrics, read_run, series
from jaxfer.typing import UserError


def test_a_finished_run_is_read_with_its_test_results(write_run):
    run = read_run(
        write_run(
            "a", config={"way": 5, "optimizer": {"rate": 1e-3}}, accuracy=0.97, runs=[0.96, 0.98]
        )
    )
    assert run.config == {"way": 5, "optimizer.rate": 1e-3}
    assert run.test["accuracy"].mean == 0.97
    assert run.test["accuracy"].ci95 == 0.002
    assert run.test["accuracy"].runs == (0.96, 0.98)
    assert run.data["source"] == "omniglot"
    assert list(run.test) == ["accuracy"]  # episodes and ci95 are no results of their own


def test_results_of_single_runs_may_be_objects(write_run):
    run = read_run(write_run("a", accuracy=0.97, runs=[{"seed": 0, "accuracy": 0.96, "ci95": 0.1}]))
    assert run.test["accuracy"].runs == (0.96,)


@pytest.mark.parametrize(
    "groups",
    [
        {"shot 5: ": {"mse": 0.5, "ci95": 0.1}, "shot 10: ": {"mse": 0.2, "ci95": 0.1}},
        {"errors": [{"shot": 5, "mse": 0.5, "ci95": 0.1}, {"shot": 10, "mse": 0.2, "ci95": 0.1}]},
    ],
)
def test_groups_of_results_are_named_after_the_group(write_run, groups):
    folder = write_run("a")
    (folder / "summary.json").write_text(json.dumps({"test": {"episodes": 600} | groups}))
    test = read_run(folder).test
    assert {" ".join(name.split()): (e.mean, e.ci95) for name, e in test.items()} == {
        "shot 5: mse": (0.5, 0.1),
        "shot 10: mse": (0.2, 0.1),
    }


def test_protocol_baselines_and_spread_are_no_results(write_run):
    folder = write_run("a")
    test = {
        "accuracy": 0.97,
        "ci95": 0.002,
        "std_over_runs": 0.01,
        "protocol": {"way": 5, "shot": 1},
        "baselines": {"untrained": {"accuracy": 0.3, "ci95": 0.01}},
    }
    (folder / "summary.json").write_text(json.dumps({"test": test}))
    run = read_run(folder)
    assert list(run.test) == ["accuracy"]
    assert run.protocol == {"way": 5, "shot": 1}


def test_a_run_that_has_not_finished_is_read_without_results(write_run):
    folder = write_run("a")
    (folder / "summary.json").unlink()
    run = read_run(folder)
    assert (run.test, run.summary) == ({}, {})
    assert run.metrics


def test_a_half_written_last_line_is_passed_over(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    assert read_metrics(file) == ({"step": 1, "loss": 2.0},)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"step": 1, "lo\n{"step": 2}\n', r"metrics\.jsonl, line 1 is not JSON"),
        ('{"loss": 1.0}\n', r'line 1 has no "step"'),
        ("[1, 2]\n", r'line 1 has no "step"'),
    ],
)
def test_a_damaged_line_is_named(tmp_path, text, message):
    file = tmp_path / "metrics.jsonl"
    file.write_text(text)
    with pytest.raises(UserError, match=message):
        read_metrics(file)


def test_metrics_that_cannot_be_read_are_one_sentence(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_metrics(tmp_path / "none.jsonl")


def test_folders_that_are_no_runs_are_one_sentence(tmp_path, write_run):
    with pytest.raises(UserError, match="is not a folder"):
        read_run(tmp_path / "none")
    with pytest.raises(UserError, match=r"has no config\.json"):
        read_run(tmp_path)
    folder = write_run("a")
    (folder / "summary.json").write_text('{"test": ')
    with pytest.raises(UserError, match=r"summary\.json cannot be read \(not JSON text\)"):
        read_run(folder)
    (folder / "summary.json").write_text("[]")
    with pytest.raises(UserError, match="holds no JSON object"):
        read_run(folder)


def test_series_are_sorted_and_leave_out_what_is_not_finite():
    rows = [
        {"step": 3, "split": "train", "run": 1, "loss": 0.3},
        {"step": 1, "split": "train", "run": 1, "loss": 0.1},
        {"step": 2, "split": "train", "run": 1, "loss": float("nan")},
        {"step": 1, "split": "train", "run": 0, "loss": 0.5},
        {"step": 1, "split": "validation", "run": 0, "loss": 9.0},
        {"step": 9, "split": "train", "run": 0, "accuracy": 0.5},
    ]
    found = series(rows, "loss", split="train")
    assert {run: (s.tolist(), v.tolist()) for run, (s, v) in found.items()} == {
        0: ([1], [0.5]),
        1: ([1, 3], [0.1, 0.3]),
    }
