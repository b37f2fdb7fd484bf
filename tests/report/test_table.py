import pytest

from jaxfer.report import format_estimate, table


@pytest.mark.parametrize(
    ("mean", "ci95", "percent", "text"),
    [
        (0.98312, 0.00218, True, "98.31 ± 0.22"),
        (1.0, 0.0, True, "100.00 ± 0.00"),
        (0.98312, None, True, "98.31"),
        (0.034567, 0.00123, False, "0.0346 ± 0.0012"),
        (345.67, 12.3, False, "346 ± 12"),
        (0.5, 0.0, False, "0.5000 ± 0.0000"),
        (0.123456, None, False, "0.1235"),
        (float("nan"), float("nan"), True, "nan ± nan"),
    ],
)
def test_an_interval_sets_the_digits(mean, ci95, percent, text):
    assert format_estimate(mean, ci95, percent=percent) == text


def test_numbers_stand_to_the_right_and_words_to_the_left():
    text = table(["name", "steps"], [["a", 5], ["longer", 4000], ["b", None]])
    assert text.splitlines() == [
        "name    steps",
        "------  -----",
        "a           5",
        "longer   4000",
        "b           -",
    ]


def test_markdown_marks_the_alignment_and_escapes_bars():
    text = table(["name", "steps"], [["a|b", 5]], markdown=True)
    assert text.splitlines() == [
        "| name | steps |",
        "| ---- | ----: |",
        r"| a\|b |     5 |",
    ]


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="a row has 1 cells under 2 titles"):
        table(["a", "b"], [["alone"]])
