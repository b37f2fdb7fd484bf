import time

import numpy as np
import pytest

from jaxfer.data import load_omniglot
from jaxfer.typing import UserError

# Of the 32460 drawings, wherever they are read from.
CHECKSUM = "81cd07a2e192e48379174c089ebdbc4924c8ab07a3ceee95196f613eb6988a62"


def names(characters):
    return list(zip(characters.names, characters.background.tolist(), strict=True))


MINIATURE = [
    ("Greek/character01", True),
    ("Greek/character02", True),
    ("Latin/character01", True),
    ("Angelic/character01", False),
    ("Angelic/character02", False),
]


def test_auto_takes_the_folder_given(zips):
    characters = load_omniglot("auto", str(zips))
    assert names(characters) == MINIATURE
    assert characters.source == "omniglot"
    assert characters.origin == f"Omniglot from its official files in {zips}."
    assert characters.images.shape == (5, 20, 28, 28)


def test_auto_takes_the_environments_folder(zips, monkeypatch):
    monkeypatch.setenv("JAXFER_DATA_DIR", str(zips))
    assert names(load_omniglot()) == MINIATURE


def test_auto_passes_over_an_environments_folder_of_other_data(zips, monkeypatch, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setenv("JAXFER_DATA_DIR", str(other))
    (tmp_path / "cache" / "jaxfer").mkdir(parents=True)
    zips.rename(tmp_path / "cache" / "jaxfer" / "omniglot")
    characters = load_omniglot()
    assert names(characters) == MINIATURE
    assert "cache" in characters.origin


def test_the_folder_given_comes_before_the_environments(zips, prepared, monkeypatch):
    monkeypatch.setenv("JAXFER_DATA_DIR", str(zips))
    assert load_omniglot("auto", str(prepared)).source == "tfds"


def test_a_folder_as_data(zips, prepared):
    assert load_omniglot(str(zips)).source == "omniglot"
    assert load_omniglot(str(prepared)).source == "tfds"


def test_tfds_and_zips_are_the_same_arrays(zips, prepared):
    from_zips, from_tfds = load_omniglot(str(zips)), load_omniglot("tfds", str(prepared))
    assert from_zips.names == from_tfds.names
    assert from_zips.checksum == from_tfds.checksum
    np.testing.assert_array_equal(from_zips.images, from_tfds.images)


def test_tfds_looks_in_its_own_folder_last(prepared, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    assert load_omniglot("tfds").source == "tfds"
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nothing"))
    with pytest.raises(UserError, match="expected an Omniglot prepared by TFDS: .*pip install"):
        load_omniglot("tfds")


def test_without_data_or_network_glyphs_say_what_they_are():
    start = time.monotonic()
    characters = load_omniglot("auto", image_size=20)
    assert time.monotonic() - start < 10
    assert characters.source == "glyphs"
    assert "NOT Omniglot" in characters.origin
    assert "could not be downloaded" in characters.origin
    assert characters.origin.count(". ") == 0 and characters.origin.endswith(".")
    assert characters.images.shape == (600, 20, 20, 20)


def test_omniglot_draws_no_glyphs():
    with pytest.raises(UserError, match="could not be downloaded: .*; put images_background.zip"):
        load_omniglot("omniglot")


def test_a_damaged_cache_is_not_passed_over(zips, tmp_path):
    (tmp_path / "cache" / "jaxfer").mkdir(parents=True)
    zips.rename(tmp_path / "cache" / "jaxfer" / "omniglot")
    path = tmp_path / "cache" / "jaxfer" / "omniglot" / "images_background.zip"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=f"{path}: is truncated or damaged"):
        load_omniglot()


def test_a_folder_that_is_not_omniglot(tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    for i in range(7):
        (folder / f"{i}.jpg").touch()
    seen = "holds 0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg and 2 more; expected images_background.zip and"
    for arguments in ((str(folder),), ("auto", str(folder)), ("omniglot", str(folder))):
        with pytest.raises(UserError, match=f"photographs is not Omniglot: it {seen}"):
            load_omniglot(*arguments)
    with pytest.raises(UserError, match="expected an Omniglot prepared by TFDS: prepare it once"):
        load_omniglot("tfds", str(folder))


def test_only_the_form_that_was_asked_for(zips, prepared):
    with pytest.raises(UserError, match="expected images_background.zip"):
        load_omniglot("omniglot", str(prepared))
    with pytest.raises(UserError, match="expected an Omniglot prepared by TFDS"):
        load_omniglot("tfds", str(zips))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("omniglto",), "--data is 'omniglto', which is no folder; give auto"),
        (("auto", "/no/such"), "--data-dir is /no/such, which is no folder; name one"),
        ((".", "."), "--data . is a folder already; leave --data-dir out"),
    ],
)
def test_bad_options(arguments, complaint):
    with pytest.raises(UserError, match=complaint):
        load_omniglot(*arguments)


def test_a_bad_environment(monkeypatch):
    monkeypatch.setenv("JAXFER_DATA_DIR", "/no/such")
    with pytest.raises(UserError, match="JAXFER_DATA_DIR is /no/such, which is no folder"):
        load_omniglot()


@pytest.mark.parametrize("image_size", [7, 106])
def test_a_bad_image_size(image_size):
    with pytest.raises(UserError, match="give 8 to 105 pixels"):
        load_omniglot("glyphs", image_size=image_size)


@pytest.mark.slow
def test_the_real_one_is_the_same_from_zips_and_tfds(data_dir):
    from_zips = load_omniglot("omniglot", str(data_dir))
    assert from_zips.images.shape == (1623, 20, 28, 28)
    assert from_zips.background.sum() == 964
    assert len(set(from_zips.alphabets)) == 50
    assert from_zips.names[0] == "Alphabet_of_the_Magi/character01"
    assert from_zips.checksum == CHECKSUM
    from_tfds = load_omniglot("tfds", str(data_dir))
    assert from_tfds.names == from_zips.names
    assert from_tfds.checksum == CHECKSUM
    np.testing.assert_array_equal(from_tfds.images, from_zips.images)
