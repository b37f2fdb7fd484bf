import numpy as np
import pytest
from PIL import Image

from jaxfer.report import witness_features, witness_images
from jaxfer.report.style import BLUE, VERMILION

IMAGES = np.random.default_rng(0).random((4, 8, 8))
VALUES = [0.4, 0.3, 0.2, 0.1]


def size(path):
    with Image.open(path) as image:
        return image.size


def test_both_rows_are_framed_in_their_colour(tmp_path, colours):
    path = tmp_path / "witness.png"
    witness_images(IMAGES, VALUES, IMAGES, VALUES, path, title="Where they differ")
    assert colours(path, BLUE) > 0.005
    assert colours(path, VERMILION) > 0.005


def test_the_means_and_more_images_take_room(tmp_path):
    few, means, many = (tmp_path / f"{name}.png" for name in ("few", "means", "many"))
    images, values = np.tile(IMAGES, (2, 1, 1)), VALUES * 2
    witness_images(images, values, images, values, few)
    witness_images(images, values, images, values, means, source_mean=IMAGES[0])
    witness_images(np.tile(images, (2, 1, 1)), values * 2, images, values, many)
    assert size(few)[0] < size(means)[0] < size(many)[0]
    assert size(few)[1] == size(many)[1]


def test_ink_is_dark_and_light_is_light(tmp_path, colours):
    white = np.full((2, 8, 8), 255, np.uint8)
    for ink, share in ((False, 0.0), (True, 0.1)):
        path = tmp_path / f"{ink}.png"
        witness_images(white, [0.2, 0.1], white, [0.2, 0.1], path, ink=ink)
        assert (colours(path, "#000000") > share) == ink


def test_colours_and_sizes_may_differ(tmp_path, colours):
    red = np.zeros((2, 16, 16, 3), np.uint8)
    red[..., 0] = 255
    path = tmp_path / "witness.png"
    witness_images(IMAGES[..., None], VALUES, red, [-0.1, -0.2], path, target_mean=red[0] / 255)
    assert colours(path, "#FF0000") > 0.05


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source_images": np.zeros((4, 8))}, r"source_images: expected images \[k, height, width"),
        ({"target_images": np.zeros((4, 8, 8, 2))}, "target_images: expected images"),
        ({"target_values": [0.1]}, "target_values: expected one for each of 4 images"),
        ({"source_mean": np.zeros(8)}, r"source_mean: expected \[height, width\]"),
    ],
)
def test_images_that_do_not_fit_are_refused(tmp_path, change, message):
    arguments = {
        "source_images": IMAGES,
        "source_values": VALUES,
        "target_images": IMAGES,
        "target_values": VALUES,
    }
    with pytest.raises(ValueError, match=message):
        witness_images(**(arguments | change), out_png=tmp_path / "witness.png")


def test_features_that_rise_and_fall_have_the_colour_of_the_side_that_has_more(tmp_path, colours):
    # Only the bars differ: all points of both sides have one value.
    shares = {}
    for name, sign in (("up", 1), ("down", -1)):
        path = tmp_path / f"{name}.png"
        witness_features([0.1] * 9, [0.1] * 9, sign * np.linspace(1, 2, 20), path)
        shares[name] = colours(path, BLUE), colours(path, VERMILION)
    assert shares["up"][1] > shares["up"][0] + 0.05
    assert shares["down"][0] > shares["down"][1] + 0.05


def test_points_that_were_not_looked_at_and_long_names_do_no_harm(tmp_path, colours):
    path = tmp_path / "witness.png"
    names = ["a name that is much longer than there is room for it", "b"]
    values = np.array([np.nan, 0.1, 0.2])
    witness_features(values, -values, [0.0, 1.0], path, feature_names=names, title="Where")
    assert colours(path, VERMILION) > 0.01


def test_names_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ValueError, match="feature_names: expected 2 of them, one per feature, got"):
        witness_features([0.1], [0.2], [1.0, 2.0], tmp_path / "a.png", feature_names=["a"])
