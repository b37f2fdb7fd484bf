"""Pictures of single predictions: the colours say what the scores say."""

import numpy as np
import pytest
from PIL import Image

from jaxfer.report import ImageSaliency, TextSaliency, image_saliency, text_saliency
from jaxfer.report.style import GREEN

WORDS = ("a", "rather", "fine", "day")
DARK = np.zeros((8, 8), np.uint8)


def hues(path):
    """Shares of pixels that are more blue, orange or green than grey."""
    with Image.open(path) as image:
        red, green, blue = np.moveaxis(np.asarray(image.convert("RGB"), int), -1, 0)
    return {
        "blue": float((blue - red > 30).mean() - ((green - blue > 0) & (blue - red > 30)).mean()),
        "orange": float((red - blue > 30).mean()),
        "green": float(((green - red > 30) & (green - blue > 10)).mean()),
    }


def drawn(row, path, **options):
    draw = text_saliency if isinstance(row, TextSaliency) else image_saliency
    draw([row], path, **options)
    return hues(path)


@pytest.mark.parametrize("kind", ["text", "image"])
def test_scores_for_and_against_have_colours_of_their_own(tmp_path, kind):
    def row(scores):
        if kind == "text":
            return TextSaliency("good, right", WORDS, scores)
        return ImageSaliency("3, right", DARK, np.repeat(scores, 16).reshape(8, 8))

    towards = drawn(row([1.0, 0, 0, 0]), tmp_path / "for.png")
    against = drawn(row([-1.0, 0, 0, 0]), tmp_path / "against.png")
    nothing = drawn(row([0.0, 0, 0, 0]), tmp_path / "nothing.png")
    assert towards["blue"] > 0 and towards["orange"] == towards["green"] == 0
    assert against["orange"] > 0 and against["blue"] == against["green"] == 0
    assert nothing == {"blue": 0, "orange": 0, "green": 0}


@pytest.mark.parametrize("kind", ["text", "image"])
def test_shares_are_green_by_what_they_have_more_than_the_least(tmp_path, kind):
    def row(scores):
        if kind == "text":
            return TextSaliency("good, right", WORDS, scores)
        return ImageSaliency("3, right", DARK, np.reshape(scores, (2, 2)))

    one = drawn(row([0.4, 0.2, 0.2, 0.2]), tmp_path / "one.png", signed=False)
    three = drawn(row([0.3, 0.3, 0.3, 0.1]), tmp_path / "three.png", signed=False)
    even = drawn(row([0.25, 0.25, 0.25, 0.25 + 1e-9]), tmp_path / "even.png", signed=False)
    assert 0 < 2 * one["green"] < three["green"]
    assert one["blue"] == one["orange"] == even["green"] == 0


def test_patches_lie_over_the_places_that_they_are_of(tmp_path, colours):
    """Of an image that is bright to the left, with its share in the upper right corner."""
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, :4] = 255
    path = tmp_path / "patches.png"
    image_saliency([ImageSaliency("3", image, [[0, 1], [0, 0]])], path, signed=False)
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"), int)
    green = (pixels[..., 1] - pixels[..., 0] > 30).nonzero()
    bright = (pixels.min(-1) > 240)[pixels.shape[0] // 2 + 60 :]  # the lower panel and margins
    assert colours(path, GREEN) == 0  # the overlay lets what is below shine through
    assert green[0].min() > pixels.shape[0] // 2
    height, width = (np.ptp(axis) + 1 for axis in green)
    assert 0.9 < height / width < 1.1  # a quarter of a square
    assert bright.any() and green[1].mean() > pixels.shape[1] / 2


def test_what_does_not_fit_is_refused(tmp_path):
    for draw in (text_saliency, image_saliency):
        with pytest.raises(ValueError, match="rows must hold at least one"):
            draw([], tmp_path / "no.png")
    with pytest.raises(ValueError, match="one number for each of 4 tokens; their shape is"):
        text_saliency([TextSaliency("", WORDS, [1.0])], tmp_path / "no.png", signed=False)
