import hashlib

import numpy as np
import pytest
from PIL import Image

from jaxfer.data.characters import assemble


def packed(ink: np.ndarray) -> bytes:
    return np.packbits(ink, axis=-1).tobytes()


@pytest.fixture
def ink() -> np.ndarray:
    """Thick strokes, ``[3, 105, 105]``."""
    y, x = np.mgrid[:105, :105]
    return np.stack([abs(x - y) < 3, abs(x - 40) < 2, (x - 52) ** 2 + (y - 60) ** 2 < 30**2])


def test_classes_stand_in_canonical_order(ink):
    drawings = [packed(ink[0])]
    characters = assemble(
        {("Latin", 1): drawings, ("Greek", 10): drawings, ("Greek", 9): drawings},
        {("Angelic", 1): drawings},
        image_size=28,
        source="omniglot",
        origin="Here.",
    )
    assert characters.names == (
        "Greek/character09",
        "Greek/character10",
        "Latin/character01",
        "Angelic/character01",
    )
    assert characters.alphabets == ("Greek", "Greek", "Latin", "Angelic")
    assert characters.background.tolist() == [True, True, True, False]
    assert characters.checksum == hashlib.sha256(4 * drawings[0]).hexdigest()


def test_the_original_size_is_the_original(ink):
    drawings = {("Greek", 1): [packed(each) for each in ink]}
    characters = assemble(drawings, {}, image_size=105, source="omniglot", origin="Here.")
    np.testing.assert_array_equal(characters.images[0], 255 * ink.astype(np.uint8))
    assert characters.images.dtype == np.uint8


@pytest.mark.parametrize("image_size", [20, 28, 64])
def test_resizing_is_pillows_lanczos(ink, image_size):
    drawings = {("Greek", 1): [packed(each) for each in ink]}
    characters = assemble(drawings, {}, image_size=image_size, source="omniglot", origin="Here.")
    for image, each in zip(characters.images[0], ink, strict=True):
        # In floats: Pillow rounds and clips 8-bit images between its two passes.
        floats = Image.fromarray(255 * each.astype(np.float32))
        expected = floats.resize((image_size, image_size), Image.Resampling.LANCZOS)
        difference = image.astype(float) - np.clip(np.asarray(expected), 0, 255)
        assert abs(difference).max() < 1
