"""A picture of scores and accuracies: every candidate is in it, in the colour of its group."""

import numpy as np
import pytest

from jaxfer.report import RankedAccuracies, ranking_picture
from jaxfer.report.style import BLUE, GREEN, VERMILION

ROW = RankedAccuracies(
    "probe", ("a", "b", "b"), {"LogME": [0.1, 0.2, 0.3], "H-score": [3.0, 2.0, 1.0]},
    [0.8, 0.9, 0.85], [0.01, np.nan, 0.02], {"LogME": 0.33},
)  # fmt: skip


def test_groups_have_their_colours(tmp_path, colours):
    path = tmp_path / "ranking.png"
    ranking_picture([ROW, ROW._replace(title="full", errors=None)], path, title="Which source?")
    few = {colour: colours(path, colour) for colour in (BLUE, VERMILION, GREEN)}
    assert few[VERMILION] > few[BLUE] > 0 and few[GREEN] == 0
    ranking_picture([ROW._replace(groups=("a", "b", "c"))], path)
    assert colours(path, GREEN) > 0


def test_what_does_not_fit_is_refused(tmp_path):
    for rows, complaint in (
        ([], "at least one kind of accuracy"),
        ([ROW._replace(accuracies=[0.5])], "a number for each candidate; 'probe' has"),
        ([ROW, ROW._replace(scores={"LogME": [1, 2, 3]})], "the same scores"),
    ):
        with pytest.raises(ValueError, match=complaint):
            ranking_picture(rows, tmp_path / "no.png")
