"""Folders of images as users have them: nested, mixed, odd, broken."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxfer.data import decode_image, read_image_folder
from jaxfer.data.folders import SUFFIXES
from jaxfer.typing import UserError


def picture(value=128, size=(20, 10), mode="L", form="PNG", **options) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, value).save(file, form, **options)
    return file.getvalue()


def write(folder: Path, **files: bytes) -> Path:
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def test_images_at_any_depth_with_their_classes(tmp_path):
    write(
        tmp_path,
        dog__b_dot_png=picture(20),
        dog__deep__er__a_dot_JPG=picture(40, form="JPEG"),
        cat__1_dot_bmp=picture(60, form="BMP"),
        top_dot_png=picture(80),
        cat__notes_dot_txt=b"not an image",
        empty__notes_dot_txt=b"",
        cat___dot_hidden_dot_png=b"",
        _dot_cache__1_dot_png=b"",
    )
    found = read_image_folder(tmp_path, image_size=8)
    assert found.names == ("cat/1.bmp", "dog/b.png", "dog/deep/er/a.JPG", "top.png")
    assert found.class_names == ("cat", "dog")
    assert found.labels.tolist() == [0, 1, 1, -1] and found.labels.dtype == np.int32
    assert found.images.shape == (4, 8, 8, 1) and found.images.dtype == np.uint8
    assert np.abs(found.images[:, 0, 0, 0].astype(int) - [60, 20, 40, 80]).max() <= 1
    assert found.origin == f"4 images in {tmp_path}." and found.skipped == ()


def test_the_checksum_is_of_names_and_contents(tmp_path):
    one = write(tmp_path / "one", a_dot_png=picture(1), b_dot_png=picture(2))
    digest = hashlib.sha256()
    for name, value in (("a.png", 1), ("b.png", 2)):
        content = picture(value)
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    assert read_image_folder(one, image_size=8).checksum == digest.hexdigest()
    assert read_image_folder(one, image_size=4, color=True).checksum == digest.hexdigest()
    other = write(tmp_path / "other", a_dot_png=picture(1), c_dot_png=picture(2))
    assert read_image_folder(other, image_size=8).checksum != digest.hexdigest()


def test_unreadable_images_are_named_and_counted(tmp_path):
    whole = picture(form="JPEG", size=(64, 64))
    write(
        tmp_path,
        a_dot_png=picture(),
        cut_dot_jpg=whole[: len(whole) // 2],
        empty_dot_png=b"",
        page_dot_png=b"<html>",
        zebra_dot_png=b"no",
    )
    with pytest.raises(UserError) as error:
        read_image_folder(tmp_path, image_size=8)
    said = str(error.value)
    assert said.startswith(f"4 of 5 images in {tmp_path} cannot be read: cut.jpg (")
    assert "empty.png (not an image that can be read), page.png (" in said and "\n" not in said
    assert said.endswith(" and 1 more; remove them, or leave them out by --skip-bad.")
    found = read_image_folder(tmp_path, image_size=8, skip_bad=True)
    assert found.names == ("a.png",) and len(found.images) == 1
    assert [name for name, _ in found.skipped] == ["cut.jpg", "empty.png", "page.png", "zebra.png"]
    out = f"1 images in {tmp_path}, 4 unreadable left out: cut.jpg ("
    assert found.origin.startswith(out) and found.origin.endswith(" and 1 more.")
    (tmp_path / "a.png").unlink()
    with pytest.raises(UserError, match="4 of 4 images in .* cannot be read.*no image is left"):
        read_image_folder(tmp_path, image_size=8, skip_bad=True)


def test_folders_without_images(tmp_path):
    with pytest.raises(UserError, match="absent is no folder; name one that holds images"):
        read_image_folder(tmp_path / "absent", image_size=8)
    write(tmp_path, notes_dot_txt=b"")
    with pytest.raises(UserError, match=r"holds no image: .* ends in \.avif, .* or \.webp"):
        read_image_folder(tmp_path, image_size=8)


def test_links_are_followed_but_not_in_circles(tmp_path):
    write(tmp_path / "elsewhere", a_dot_png=picture())
    write(tmp_path / "images", b_dot_png=picture())
    (tmp_path / "images" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "images" / "self").symlink_to(tmp_path / "images")
    found = read_image_folder(tmp_path / "images", image_size=8)
    assert found.names == ("b.png", "more/a.png")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_ending_is_one_that_pillow_knows(suffix):
    Image.init()
    assert suffix in Image.registered_extensions() or suffix == ".avif"


def test_the_square_in_the_middle_is_taken():
    wide = np.zeros((10, 30), np.uint8)
    wide[:, 10:20] = 200
    file = io.BytesIO()
    Image.fromarray(wide).save(file, "PNG")
    assert (decode_image(file.getvalue(), image_size=10)[..., 0] == 200).all()


def test_a_chessboard_becomes_grey():
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(board).save(file, "PNG")
    small = decode_image(file.getvalue(), image_size=8)
    assert np.abs(small.astype(int) - 127).max() <= 3  # antialiased


@pytest.mark.parametrize("color", [False, True])
def test_colours(color):
    pixel = decode_image(picture((200, 100, 0), mode="RGB"), image_size=4, color=color)[0, 0]
    assert pixel.tolist() == ([200, 100, 0] if color else [(200 * 299 + 100 * 587) // 1000])
    grey = decode_image(picture(90), image_size=4, color=color)
    assert grey.shape == (4, 4, 3 if color else 1) and (grey == 90).all()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (picture((0, 0, 0, 0), mode="RGBA"), 255),  # what shines through is white
        (picture((0, 255), mode="LA"), 0),
        (picture(1, mode="1"), 255),
        (picture(51400, mode="I;16"), 200),  # 16 bits
        (picture((0, 0, 0, 255), mode="CMYK", form="JPEG"), 0),
        (picture(7, mode="P", form="GIF", transparency=7), 255),
    ],
    ids=["rgba", "la", "bits", "16 bits", "cmyk", "palette"],
)
def test_other_kinds_of_pixels(content, expected):
    assert np.abs(decode_image(content, image_size=4).astype(int) - expected).max() <= 1


def test_exif_turns_a_photograph():
    photograph = np.zeros((8, 8), np.uint8)
    photograph[:, :4] = 255  # white on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise: white above
    file = io.BytesIO()
    Image.fromarray(photograph).save(file, "JPEG", exif=exif, quality=95)
    shown = decode_image(file.getvalue(), image_size=8)[..., 0]
    assert shown[0].min() > 200 and shown[-1].max() < 50


def test_what_cannot_be_decoded_says_why():
    with pytest.raises(UserError, match="floating-point numbers"):
        decode_image(picture(0.5, mode="F", form="TIFF"), image_size=4)
    with pytest.raises(UserError, match="exceeds limit"):
        bomb = io.BytesIO()
        Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
        decode_image(bomb.getvalue(), image_size=4)
