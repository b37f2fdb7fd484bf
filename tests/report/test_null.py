import numpy as np
import pytest
from PIL import Image

from jaxfer.report import null_distribution
from jaxfer.report.style import VERMILION

NULL = np.random.default_rng(0).normal(size=999)


def line(path):
    """Where the observed value's line stands, as a fraction of the width."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=float)
    wanted = np.array([int(VERMILION[i : i + 2], 16) for i in (1, 3, 5)])
    close = (np.abs(pixels - wanted).max(-1) < 12).mean(0)
    assert close.max() > 0.5  # a line from bottom to top
    return close.argmax() / len(close)


def test_the_observed_value_stands_where_it_belongs(tmp_path):
    places = []
    for statistic in (-2.0, 0.0, 2.0, 4.0):
        null_distribution(NULL, statistic, 0.5, tmp_path / "null.png", title="a title")
        places.append(line(tmp_path / "null.png"))
    assert places == sorted(places) and places[0] > 0.1 and places[-1] > 0.6


@pytest.mark.parametrize("statistic", [100.0, 1e6])
def test_a_value_far_out_stands_beyond_a_break(tmp_path, statistic):
    null_distribution(NULL, statistic, 0.001, tmp_path / "null.png")
    assert 0.8 < line(tmp_path / "null.png") < 0.95
    with Image.open(tmp_path / "null.png") as image:
        left = np.asarray(image.convert("L"))[:, : image.width // 2]
    assert (left < 220).mean() > 0.1  # the distribution has kept its room


def test_a_null_distribution_without_width(tmp_path):
    for null in (np.zeros(19), np.full(19, 0.3)):
        null_distribution(null, float(null[0]), 1.0, tmp_path / "null.png")
        assert 0.05 < line(tmp_path / "null.png") < 0.95


@pytest.mark.parametrize("null", [np.zeros((2, 3)), np.zeros(0)])
def test_what_is_no_distribution_is_refused(tmp_path, null):
    with pytest.raises(ValueError, match=r"null: expected shape \[permutations\], got"):
        null_distribution(null, 0.0, 1.0, tmp_path / "null.png")
