import zipfile

import pytest

from jaxfer.data.omniglot_files import find_files, read_files
from jaxfer.typing import UserError


def test_zips_and_folders_hold_the_same(zips, request):
    zipped = read_files(zips)
    assert list(zipped[0]) == [("Greek", 1), ("Greek", 2), ("Latin", 1)]
    assert list(zipped[1]) == [("Angelic", 1), ("Angelic", 2)]
    assert read_files(request.getfixturevalue("unpacked")) == zipped


@pytest.mark.parametrize("below", ["omniglot", ""])
def test_files_are_found_below_omniglot_or_directly(zips, tmp_path, below):
    folder = tmp_path / "data"
    folder.mkdir()
    zips.rename(folder / below if below else folder)
    assert find_files(folder) == folder / below


def test_what_else_lies_in_the_zip_is_passed_over(halves, write_zips, tmp_path):
    expected = read_files(write_zips(tmp_path / "plain", halves))
    halves[0]["Greek/.DS_Store"] = b"?"
    halves[0]["Greek/character01/._0001_01.png"] = b"?"
    assert read_files(write_zips(tmp_path / "more", halves)) == expected


def test_a_missing_zip(zips):
    (zips / "images_evaluation.zip").unlink()
    with pytest.raises(UserError, match="holds neither images_evaluation.zip nor .*; put https://"):
        read_files(zips)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_truncated_zip(zips, keep):
    path = zips / "images_background.zip"
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(UserError, match="background.zip: is truncated or damaged .* replace it by"):
        read_files(zips)


@pytest.mark.parametrize("where", [0, 300])
def test_a_zip_with_wrong_bytes(zips, where):
    """At the start of a compressed file zlib stumbles over them, later on the checksum does."""
    path = zips / "images_background.zip"
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        file = archive.infolist()[30]
    start = file.header_offset + 30 + len(file.filename) + where
    content[start : start + 4] = bytes(0xFF ^ byte for byte in content[start : start + 4])
    path.write_bytes(content)
    with pytest.raises(UserError, match="background.zip: is truncated or damaged .* replace it by"):
        read_files(zips)


def test_a_missing_drawing(halves, write_zips, tmp_path):
    del halves[0]["Greek/character02/0002_07.png"]
    with pytest.raises(UserError, match="Greek/character02 has 19 drawings instead of 20; replace"):
        read_files(write_zips(tmp_path / "data", halves))


def test_a_missing_character(halves, write_zips, tmp_path):
    kept = {name: png for name, png in halves[0].items() if not name.startswith("Latin")}
    with pytest.raises(UserError, match="background.zip: holds 2 characters instead of 3; replace"):
        read_files(write_zips(tmp_path / "data", (kept, halves[1])))


def test_the_two_zips_swapped(halves, write_zips, tmp_path):
    with pytest.raises(UserError, match="background.zip: holds 2 characters instead of 3"):
        read_files(write_zips(tmp_path / "data", halves[::-1]))


def test_a_damaged_png_in_a_folder(unpacked):
    path = unpacked / "images_evaluation" / "Angelic" / "character01" / "0004_11.png"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(
        UserError, match="images_evaluation: Angelic/character01/0004_11.png is not a readable PNG"
    ):
        read_files(unpacked)
