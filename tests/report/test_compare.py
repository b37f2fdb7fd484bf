import json

import pytest

from jaxfer.report import compare_runs, comparison_picture, read_run
from jaxfer.report.__main__ import main
from jaxfer.report.style import BLUE, VERMILION
from jaxfer.typing import UserError


def test_results_and_the_fields_that_differ_are_tabled(write_run):
    a = write_run("maml", config={"method": "maml", "way": 5, "out": "a"}, accuracy=0.9831)
    b = write_run("anil", config={"method": "anil", "way": 5, "out": "b"}, runs=[0.96, 0.98])
    text = compare_runs([read_run(a), read_run(b)])
    assert text.splitlines() == [
        "run   test accuracy (%)         runs  steps  seconds  data",
        "----  -----------------  -----------  -----  -------  --------",
        "maml       98.31 ± 0.20            1      4       12  omniglot",
        "anil       97.00 ± 0.20  2 (sd 1.41)      4       12  omniglot",
        "",
        "configuration  maml  anil",
        "-------------  ----  ----",
        "method         maml  anil",
    ]


def test_many_results_become_rows(write_run):
    folder = write_run("a")
    errors = [{"shot": shot, "mse": 1.0 / shot, "ci95": 0.01} for shot in (5, 10, 20)]
    (folder / "summary.json").write_text(json.dumps({"test": {"errors": errors, "runs": [1, 2]}}))
    lines = compare_runs([read_run(folder)]).splitlines()
    assert lines[0].split() == ["run", "runs", "steps", "seconds", "data"]
    assert "test shot 5: mse   0.200 ± 0.010" in lines
    assert "test shot 20: mse  0.050 ± 0.010" in lines


def test_other_data_are_marked_in_the_table_and_warned_of(write_run):
    runs = [read_run(write_run("a")), read_run(write_run("b", source="glyphs"))]
    text = compare_runs(runs)
    assert "omniglot !" in text
    assert "glyphs !" in text
    assert "Warning: the data differ (omniglot in a, glyphs in b); do not compare" in text


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({"checksum": "def"}, "the data have one name but different checksums"),
        ({"config": {"way": 20, "shot": 1}}, "the test tasks differ (way)"),
        ({"config": {"way": 5, "shot": 1, "split": "alphabet"}}, "split differently (split)"),
    ],
)
def test_what_makes_results_incomparable_is_warned_of(write_run, change, warning):
    text = compare_runs([read_run(write_run("a")), read_run(write_run("b", **change))])
    assert warning in text
    assert text.count("Warning:") == 1


def test_what_the_test_asked_counts_not_what_the_training_did(write_run):
    asked = {"way": 5, "shot": 5, "inner_steps": 3}
    a = read_run(write_run("a", config={"way": 5, "shot": 5}, protocol=asked))
    b = read_run(write_run("b", config={"way": 5, "shot": 1}, protocol=asked))
    c = read_run(write_run("c", config={"way": 5, "shot": 1}, protocol=asked | {"shot": 1}))
    assert "Warning" not in compare_runs([a, b])
    text = compare_runs([b, c])
    assert "Warning: the test tasks differ (shot)" in text
    assert ["test", "shot", "5", "1"] in [line.split() for line in text.splitlines()]


def test_equal_runs_are_not_warned_of(write_run):
    text = compare_runs([read_run(write_run("a")), read_run(write_run("b"))])
    assert "Warning" not in text
    assert "!" not in text
    assert "configuration" not in text


def test_an_unfinished_run_is_listed_and_said_to_be_one(write_run):
    folder = write_run("b")
    (folder / "summary.json").unlink()
    text = compare_runs([read_run(write_run("a")), read_run(folder)])
    assert "Warning: b has no summary.json: it has not finished." in text
    assert text.count("Warning:") == 1


def test_folders_of_one_name_are_told_apart(write_run):
    text = compare_runs([read_run(write_run("x/seed0")), read_run(write_run("y/seed0"))])
    assert "x/seed0" in text
    assert "y/seed0" in text


def test_the_overlay_gives_each_run_its_colour(write_run, tmp_path, colours):
    runs = [read_run(write_run("a", runs=[0.9, 0.95])), read_run(write_run("b", accuracy=0.8))]
    comparison_picture(runs, tmp_path / "overlay.png")
    assert colours(tmp_path / "overlay.png", BLUE) > 0.001
    assert colours(tmp_path / "overlay.png", VERMILION) > 0.001


def test_runs_without_validation_cannot_be_overlaid(write_run, tmp_path):
    folder = write_run("a")
    (folder / "metrics.jsonl").unlink()
    with pytest.raises(UserError, match="no run has validation metrics"):
        comparison_picture([read_run(folder)], tmp_path / "overlay.png")


def test_the_command_prints_the_tables_and_draws_the_overlay(write_run, tmp_path, capsys):
    folders = [str(write_run("a")), str(write_run("b"))]
    assert main([*folders, "--out", str(tmp_path / "overlay.png"), "--markdown"]) == 0
    assert "| run | test accuracy (%) |" in capsys.readouterr().out
    assert (tmp_path / "overlay.png").is_file()


def test_the_command_refuses_a_bad_folder_in_one_line(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "has no config.json" in said.err
    with pytest.raises(UserError):
        main([str(tmp_path), "--debug"])


def test_shifts_are_tabled_with_their_verdicts(write_run):
    runs = []
    for name, distance in (("photos", 1.97), ("digits", 1.68)):
        folder = write_run(name, config={"source": name}, source=name)
        test = {"p_value": 0.001, "mmd_squared": 0.77, "proxy_a_distance": distance}
        summary = {"verdict": f"Strong shift of {name}.", "test": test, "seconds": 3.2}
        (folder / "summary.json").write_text(json.dumps(summary | {"data": {"source": name}}))
        runs.append(read_run(folder))
    assert compare_runs(runs).splitlines() == [
        "run     p-value  MMD squared  proxy A-distance  seconds  data",
        "------  -------  -----------  ----------------  -------  ------",
        "photos    0.001         0.77              1.97        3  photos",
        "digits    0.001         0.77              1.68        3  digits",
        "",
        "photos: Strong shift of photos.",
        "digits: Strong shift of digits.",
        "",
        "configuration  photos  digits",
        "-------------  ------  ------",
        "source         photos  digits",
    ]
