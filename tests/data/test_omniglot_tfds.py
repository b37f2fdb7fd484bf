import shutil

import pytest

from jaxfer.data.omniglot_files import read_files
from jaxfer.data.omniglot_tfds import ALPHABETS, find_tfds, read_tfds
from jaxfer.typing import UserError


def test_alphabets_are_numbered_by_name():
    assert len(ALPHABETS) == 50
    assert list(ALPHABETS) == sorted(set(ALPHABETS))


def test_the_same_drawings_as_in_the_zips(zips, prepared):
    assert read_tfds(prepared) == read_files(zips)


@pytest.mark.parametrize("below", ["tfds", ""])
def test_it_is_found_below_tfds_or_directly(prepared, below):
    assert find_tfds(prepared.parent if below else prepared) == prepared


def test_a_missing_record(halves, prepared):
    del halves[1]["Angelic/character02/0005_20.png"]
    with pytest.raises(
        UserError, match="split test: Angelic/character02 has 19 drawings instead of 20; delete"
    ):
        read_tfds(prepared)


def test_records_that_tfds_cannot_read(prepared, monkeypatch):
    class Damaged(list):
        def __getitems__(self, indices):
            raise RuntimeError("chunk hash mismatch\nand a long trace")

    monkeypatch.setattr("tensorflow_datasets.data_source", lambda *_, **__: Damaged([0]))
    with pytest.raises(
        UserError, match=r"truncated or damaged \(RuntimeError: chunk hash mismatch\); delete"
    ):
        read_tfds(prepared)


def test_what_tfds_does_not_open(tmp_path):
    with pytest.raises(UserError, match="cannot open its Omniglot .* pip install tensorflow"):
        read_tfds(tmp_path)


@pytest.fixture
def copy(data_dir, tmp_path):
    """The real thing, prepared by TFDS, to be damaged."""
    if find_tfds(data_dir) is None:
        pytest.skip("no Omniglot prepared by TFDS in JAXFER_DATA_DIR")
    shutil.copytree(find_tfds(data_dir) / "omniglot", tmp_path / "omniglot")
    for path in tmp_path.rglob("*"):
        path.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("damage", ["truncated", "flipped", "removed"])
def test_damaged_real_records(copy, damage):
    path = next(copy.rglob("*train.array_record*"))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    if damage == "truncated":
        path.write_bytes(content[:middle])
    elif damage == "removed":
        path.unlink()
    else:
        content[middle : middle + 500] = bytes(500)
        path.write_bytes(content)
    with pytest.raises(UserError, match="split train: is truncated or damaged .*; delete"):
        read_tfds(copy)
