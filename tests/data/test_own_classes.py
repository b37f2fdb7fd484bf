"""A user's own folder as characters: which images become which class, and where it is taken."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxfer.data import load_omniglot, read_own_classes
from jaxfer.typing import UserError


def write(folder: Path, counts: dict[str, int], ground: int = 0) -> Path:
    for place, count in counts.items():
        (folder / place).mkdir(parents=True)
        for number in range(count):
            image = np.full((20, 20), ground, np.uint8)
            image[5:15, 5:15] = 255 - ground if number % 2 else 200
            Image.fromarray(image).save(folder / place / f"{number:02d}.png")
    return folder


def test_classes_of_different_sizes_are_cut_to_the_smallest(tmp_path):
    own = read_own_classes(
        write(tmp_path, {"cat": 4, "cow": 3, "dog": 5, "rare": 1}), image_size=10
    )
    assert own.names == ("cat", "cow", "dog") and own.alphabets == (".", ".", ".")
    assert own.images.shape == (3, 3, 10, 10) and own.images.dtype == np.uint8
    assert own.origin == f"3 classes of 3 images from {tmp_path}, 1 smaller classes left out."
    assert own.source == "folder" and own.background.all()


def test_groups_of_classes_are_alphabets(tmp_path):
    own = read_own_classes(write(tmp_path, {"a/x": 2, "a/y": 2, "b/x": 2, "z": 2}), image_size=8)
    assert own.names == ("a/x", "a/y", "b/x", "z")
    assert own.alphabets == ("a", "a", "b", ".")


def test_light_paper_becomes_dark(tmp_path):
    dark, light = (
        read_own_classes(write(tmp_path / str(g), {c: 2 for c in "abc"}, g), image_size=10)
        for g in (0, 255)
    )
    assert dark.images[0, 0, 0, 0] == light.images[0, 0, 0, 0] == 0
    for images in (dark.images, light.images):  # resized, so that its corner blends a little
        assert images[0, 1, 5, 5] > 230


def test_an_experiments_data_flag_takes_such_a_folder(tmp_path):
    folder = write(tmp_path, {"cat": 2, "cow": 2, "dog": 2})
    assert load_omniglot(str(folder), image_size=8).names == ("cat", "cow", "dog")


def test_too_few_classes(tmp_path):
    with pytest.raises(UserError, match="holds 2 classes of at least 2 images; .* at least 3"):
        read_own_classes(write(tmp_path, {"cat": 2, "cow": 2, "dog": 1}), image_size=8)
