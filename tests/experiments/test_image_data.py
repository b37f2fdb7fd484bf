"""Which images ``--data`` means."""

import pytest

from jaxfer.experiments import image_data
from jaxfer.experiments.image_data import read_images
from jaxfer.typing import UserError

OPTIONS = {"image_size": 20, "color": False, "skip_bad": True, "seed": 4}


def test_names_go_to_their_loaders(tmp_path, monkeypatch):
    asked = []
    for name in ("load_cifar10", "load_tfds_images"):
        monkeypatch.setattr(
            image_data, name, lambda *args, name=name, **options: asked.append(
                (name, args, options)
            ),
        )  # fmt: skip
    read_images("cifar10", tmp_path, **OPTIONS)
    read_images("tfds:eurosat/rgb", tmp_path, **OPTIONS)
    assert asked == [
        ("load_cifar10", (tmp_path,), {"image_size": 20, "color": False}),
        ("load_tfds_images", ("eurosat/rgb", tmp_path), OPTIONS),
    ]


def test_what_is_not_there_is_said_in_one_sentence(tmp_path):
    for data, said in (
        ("cifar10", "There is no CIFAR-10 in"),
        (
            "tfds:svhn_cropped",
            r"There is no svhn_cropped prepared by TFDS .*pip install tensorflow",
        ),
        (str(tmp_path / "none"), "none is no folder"),
    ):
        with pytest.raises(UserError, match=said):
            read_images(data, tmp_path, **OPTIONS)
