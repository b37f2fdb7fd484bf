import numpy as np
import pytest
from PIL import Image

from jaxfer.report import adaptation_curves, episode_picture
from jaxfer.report.style import GREEN, VERMILION

IMAGES = np.random.default_rng(0).random((10, 28, 28))
CLASSES = np.repeat(np.arange(5), 2)


def picture_of(path, predictions, **kwargs):
    episode_picture(IMAGES[::2], CLASSES[::2], IMAGES, CLASSES, predictions, path, **kwargs)
    return path


def test_frames_tell_right_from_wrong(tmp_path, colours):
    right = picture_of(tmp_path / "right.png", CLASSES)
    wrong = picture_of(tmp_path / "wrong.png", (CLASSES + 1) % 5)
    assert colours(right, GREEN) > 0.005
    assert colours(right, VERMILION) == 0
    assert colours(wrong, VERMILION) > 0.005
    assert colours(wrong, GREEN) == 0


def test_one_wrong_answer_shows_among_the_right_ones(tmp_path, colours):
    predictions = CLASSES.copy()
    predictions[3] = 4
    path = picture_of(tmp_path / "mixed.png", predictions, title="Episode 1")
    assert 0 < colours(path, VERMILION) < colours(path, GREEN)


def test_the_picture_grows_with_the_ways_and_is_limited_in_depth(tmp_path):
    def size(way, queries):
        classes = np.repeat(np.arange(way), queries)
        images = np.zeros((len(classes), 8, 8))
        path = tmp_path / f"{way}-{queries}.png"
        episode_picture(images[::queries], classes[::queries], images, classes, classes, path)
        with Image.open(path) as image:
            return image.size

    assert size(20, 1)[0] > size(5, 1)[0]
    assert size(5, 3)[1] > size(5, 1)[1]
    assert size(5, 15) == size(5, 8)


def test_colour_images_and_single_channels_are_drawn(tmp_path):
    for channels in (1, 3):
        images = np.random.default_rng(0).random((2, 8, 8, channels)) * 255
        path = tmp_path / f"{channels}.png"
        episode_picture(images, [0, 1], images, [0, 1], [0, 1], path, class_names=["cat", "dog"])
        assert path.stat().st_size > 1000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"support_x": np.zeros((5, 28))}, "support_x: expected images"),
        ({"query_x": np.zeros((10, 8, 8, 2))}, "query_x: expected images"),
        ({"predictions": CLASSES[:3]}, "predictions: expected one label per image, 10; got 3"),
        ({"predictions": CLASSES * 1.0}, "predictions: expected integer classes"),
        ({"query_y": CLASSES + 5}, "query_y: expected classes of the support"),
        ({"class_names": ["a"]}, "class_names: expected at least 5 names, got 1"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, change, message):
    arguments = {
        "support_x": IMAGES[::2],
        "support_y": CLASSES[::2],
        "query_x": IMAGES,
        "query_y": CLASSES,
        "predictions": CLASSES,
    } | change
    with pytest.raises(ValueError, match=message):
        episode_picture(out_png=tmp_path / "episode.png", **arguments)


def test_adapted_functions_are_drawn_for_any_number_of_tasks(tmp_path, colours):
    x = np.linspace(-5, 5, 40)
    for tasks in (1, 2, 4):
        truth = np.sin(x + np.arange(tasks)[:, None])
        path = tmp_path / f"{tasks}.png"
        fits = {0: 0 * truth, 1: 0.5 * truth, 5: 0.8 * truth, 10: truth}
        adaptation_curves(x, truth, truth[:, :5], truth[:, :5], fits, path, title="MAML")
        assert colours(path, VERMILION) > 0.001
        adaptation_curves(x, truth, truth[:, :5], truth[:, :5], {10: truth}, path)
        assert colours(path, VERMILION) > 0.001


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"truth": np.zeros(40)}, r"truth: expected shape \[tasks, points\], got \(40,\)"),
        ({"support_y": np.zeros((2, 4))}, "support_x and support_y: expected shape"),
        ({"predictions": {1: np.zeros((2, 39))}}, r"predictions\[1\]: expected truth's shape"),
        ({"titles": ["one"]}, "titles: expected 2 of them"),
    ],
)
def test_functions_that_do_not_fit_are_refused(tmp_path, change, message):
    arguments = {
        "x": np.linspace(-5, 5, 40),
        "truth": np.zeros((2, 40)),
        "support_x": np.zeros((2, 5)),
        "support_y": np.zeros((2, 5)),
        "predictions": {},
    } | change
    with pytest.raises(ValueError, match=message):
        adaptation_curves(out_png=tmp_path / "sine.png", **arguments)
