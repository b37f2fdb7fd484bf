import io

import numpy as np
import pytest
from PIL import Image

from jaxfer.data.omniglot_drawings import Entry, collect, packed_ink
from jaxfer.typing import UserError


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def ink() -> np.ndarray:
    return np.random.default_rng(0).random((105, 105)) < 0.1


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_black_on_white_becomes_bits_of_ink(ink, mode):
    bits = np.frombuffer(packed_ink(png(Image.fromarray(~ink).convert(mode))), np.uint8)
    np.testing.assert_array_equal(np.unpackbits(bits.reshape(105, 14), axis=-1, count=105), ink)


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (lambda good: b"", "is not a readable PNG"),
        (lambda good: b"no picture at all", "is not a readable PNG"),
        (lambda good: good[: len(good) // 2], "is not a readable PNG"),
        (lambda good: good[:60] + bytes(200) + good[260:], "is not a readable PNG"),
        (lambda good: png(Image.new("1", (105, 104))), "is 105 x 104 pixels instead of 105 x 105"),
        (lambda good: png(Image.new("1", (105, 105), 1)), "is blank"),
    ],
)
def test_a_bad_drawing_is_named(ink, broken, complaint):
    content = broken(png(Image.fromarray(~ink)))
    with pytest.raises(UserError, match=f"^x.zip: a.png {complaint}; fetch it.$"):
        collect(
            [Entry("Greek", 1, "a.png", content)], characters=1, place="x.zip", remedy="fetch it"
        )


def test_drawings_are_sorted_so_that_their_order_in_the_container_does_not_matter():
    images = [Image.new("1", (105, 105), 1) for _ in range(20)]
    for i, image in enumerate(images):
        image.putpixel((i, 0), 0)
    entries = [Entry("Greek", 1, "", png(image)) for image in images]
    there, back = (
        collect(some, characters=1, place="", remedy="") for some in (entries, entries[::-1])
    )
    assert there == back
    assert len(set(there["Greek", 1])) == 20
