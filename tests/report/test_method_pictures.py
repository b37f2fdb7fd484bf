"""Pictures of methods side by side: what is drawn, and what cannot be."""

import numpy as np
import pytest
from PIL import Image

from jaxfer.report import accuracy_curves, method_dots


def inked(path):
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    return pixels, len(np.unique(pixels.reshape(-1, 3), axis=0))


def has(pixels, colour):
    target = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return (np.abs(pixels.astype(int) - target).max(-1) < 12).any()


def test_curves_of_two_methods_with_and_without_intervals(tmp_path):
    curves = {"oml": [(0.9, 0.02), (0.7, 0.05)], "scratch": [(0.5, float("nan"))] * 2}
    accuracy_curves([10, 200], curves, tmp_path / "a.png", x_label="characters", title="one pass")
    pixels, _ = inked(tmp_path / "a.png")
    assert has(pixels, "#0072B2") and has(pixels, "#D55E00")
    with pytest.raises(ValueError, match=r"curves\['oml'\]: expected 3 points, as x has; got 2"):
        accuracy_curves([1, 2, 3], curves, tmp_path / "b.png", x_label="characters")


def test_dots_of_methods_that_lack_a_kind_of_test(tmp_path):
    results = {
        "prototypical": {"5-way": (0.98, 0.01), "20-way": (0.95, 0.01)},
        "snail": {"5-way": (0.9, float("nan"))},
    }
    method_dots(results, tmp_path / "a.png", title="200 episodes")
    pixels, colours = inked(tmp_path / "a.png")
    assert has(pixels, "#0072B2") and has(pixels, "#D55E00") and colours > 20
    with pytest.raises(ValueError, match="results must hold at least one method"):
        method_dots({}, tmp_path / "b.png")
