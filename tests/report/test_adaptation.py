"""The comparison of adaptation methods: in numbers, in a table, in words."""

import json

import numpy as np
import pytest
import scipy.stats

from jaxfer.report import (
    AdaptationRow,
    adaptation_summary,
    adaptation_table,
    adaptation_verdict,
    compare_runs,
    read_run,
)
from jaxfer.report.adaptation import estimates

SOURCE_ONLY = np.array([0.50, 0.52, 0.54, 0.51, 0.53])
TARGET = np.array([0.95, 0.96, 0.97, 0.96, 0.96])


def row(method="DANN", gain=0.2, spread=0.01, **changes):
    """A method whose change has the mean ``gain``, within 2.5 times ``spread``."""
    picked = SOURCE_ONLY + gain + spread * np.array([-1, 1, 0, 1, -1])
    given = AdaptationRow(method, SOURCE_ONLY, picked - 0.01, picked, picked + 0.02)
    return given._replace(target_trained=TARGET, validator="IM")._replace(**changes)


def test_the_change_is_that_of_a_paired_t_test_and_the_gap_that_of_means():
    each = estimates(row())
    ours, theirs = np.asarray(row().picked), SOURCE_ONLY
    expected = scipy.stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    np.testing.assert_allclose(each.change.mean - each.change.ci95, expected.low, rtol=1e-6)
    np.testing.assert_allclose(each.change.mean, 0.2)
    np.testing.assert_allclose(each.gap_closed.mean, 0.2 / (TARGET.mean() - theirs.mean()))
    np.testing.assert_allclose(each.means["oracle"].mean, ours.mean() + 0.02)
    assert each.positive_transfer and not each.negative_transfer


def test_better_worse_and_neither_are_told_apart_in_words():
    rows = [row(), row("MDD", -0.1), row("AdaBN", 0.01, 0.02), row("SHOT", 0.3)]
    rows.append(row("JAN", -0.01, 0.02))
    assert adaptation_verdict(rows).splitlines() == [
        "Negative transfer: MDD is 10.0 ± 1.2 points worse than source-only.",
        "Better than source-only beyond chance: DANN, SHOT.",
        "Not to be told from source-only: AdaBN, JAN.",
        "Trained on the target with its labels: 96.00 ± 0.88 %.",
        "Means over 5 seeds ± half of the 95% interval by Student's t.",
        "The oracle is the best by the target's labels: nothing chosen without them.",
    ]


def test_a_seed_that_failed_and_one_that_kept_source_only_are_named():
    picked = np.asarray(row().picked).copy()
    picked[1] = np.nan
    failed = row(picked=picked, kept_source_only=[0, 0, 1, 1, 0])
    each = estimates(failed)
    assert (each.seeds, each.failed, each.kept_source_only) == (5, 1, 2)
    np.testing.assert_allclose(each.change.mean, np.nanmean(picked - SOURCE_ONLY))
    words = adaptation_verdict([failed])
    assert (
        "DANN: in 2 of 5 seeds the guard left nothing to pick, and source-only was kept." in words
    )
    assert "DANN: 1 of 5 seeds have numbers that are not finite; its means leave them out." in words
    everything = row(picked=np.full(5, np.nan))
    assert np.isnan(estimates(everything).change.mean)
    assert "5 of 5 seeds" in adaptation_table([everything, row("MDD")])


def test_one_seed_proves_nothing():
    one = AdaptationRow("DANN", [0.5], [0.8], [0.8], [0.9])
    words = adaptation_verdict([one])
    assert words.startswith("One seed has no interval and proves nothing: DANN.")
    assert "Student" not in words and "worse" not in words and "Better" not in words
    assert "50.00  " in adaptation_table([one]) and "±" not in adaptation_table([one])


def test_the_table_has_a_column_for_what_any_method_has():
    text = adaptation_table(
        [row(), row("MDD", proxy_a_before=[1.8] * 5, domain_accuracy=[0.6] * 5)]
    )
    header, _, first, second, *_ = text.splitlines()
    assert header.split("  ")[0] == "method" and "picked by IM (%)" in header
    assert "domain acc. (%)" in header and "proxy A before" in header and "after" not in header
    assert "52.00 ± 1.96" in first and "+20.0 ± 1.2" in first and "45 ± 3" in first
    assert first.rstrip().endswith("-") and "1.80 ± 0.00" in second
    assert "picked (%)" in adaptation_table([row(), row("MDD", validator="SND")])
    markdown = adaptation_table([row()], markdown=True)
    assert markdown.startswith("| method |") and "\n- Better than source-only" in markdown


def test_where_there_is_no_gap_there_is_no_share_of_it():
    assert "gap closed" not in adaptation_table([row(target_trained=SOURCE_ONLY)])


def test_the_summary_is_json_that_a_comparison_of_runs_reads(write_run):
    picked = np.asarray(row().picked).copy()
    picked[0] = np.nan
    summary = adaptation_summary(row(picked=picked))
    again = json.loads(json.dumps(summary, allow_nan=False))
    assert again["picked"]["runs"][0] is None and again["failed"] == 1
    assert again["source_only"]["runs"] == SOURCE_ONLY.tolist()
    assert adaptation_summary(row("MDD", -0.1))["negative_transfer"] is True
    folder = write_run("a")
    whole = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(whole | {"test": {"DANN": again}}))
    assert "DANN picked accuracy" in compare_runs([read_run(folder)])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "rows: expected at least one method's results, got none"),
        ([row(), row()], "rows: each method needs a name of its own; twice: DANN"),
        ([row(last=[0.5])], "DANN: last must have one number for each of the 5 seeds of picked"),
        ([row(kept_source_only=[True])], "DANN: kept_source_only must have one number for each"),
        ([row(oracle=100 * SOURCE_ONLY)], "DANN: oracle must be fractions .* from 50 to 54"),
        ([row(picked=0.5)], r"DANN: picked must be \[seeds\] with at least one; its shape is \(\)"),
    ],
)
def test_rows_that_make_no_sense(rows, message):
    with pytest.raises(ValueError, match=message):
        adaptation_table(rows)
