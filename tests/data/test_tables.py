"""Tables as users have them, and what is said of those that are none."""

import numpy as np
import pytest

from jaxfer.data import read_table
from jaxfer.typing import UserError

VALUES = np.array([[1.0, 2.5], [-3.0, 4e5]])


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("1,2.5\n-3,4e5\n", ()),
        ("1;2.5\r\n-3;4e5", ()),
        ("1\t2.5\n\n-3\t4e5\n\n", ()),
        ("\ufeffa,b\n1,2.5\n-3,4e5\n", ("a", "b")),
        (' width ,"height, in m"\n 1, 2.5\n-3, 4e5\n', ("width", "height, in m")),
        ("size,2024\n1,2.5\n-3,4e5\n", ("size", "2024")),
    ],
)
def test_text(tmp_path, text, columns):
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8")
    found = read_table(path)
    np.testing.assert_array_equal(found.values, VALUES)
    assert found.columns == columns
    assert found.origin == f"{path}, 2 x 2."


@pytest.mark.parametrize("suffix", [".tsv", ".txt", ".CSV"])
def test_other_endings_of_text(tmp_path, suffix):
    (tmp_path / f"a{suffix}").write_text("1\n2\n")
    assert read_table(tmp_path / f"a{suffix}").values.tolist() == [[1], [2]]


def test_arrays(tmp_path):
    images = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)
    np.save(tmp_path / "a.npy", images)
    np.savez(tmp_path / "one.npz", images)
    np.savez(tmp_path / "two.npz", x=images, y=np.arange(3))
    for found in (
        read_table(tmp_path / "a.npy"),
        read_table(tmp_path / "one.npz"),
        read_table(tmp_path / "two.npz", array="x"),
    ):
        np.testing.assert_array_equal(found.values, images)
        assert found.values.dtype == np.uint8 and found.columns == ()
        assert found.checksum == read_table(tmp_path / "a.npy").checksum
    assert found.origin == f"array x of {tmp_path / 'two.npz'}, 3 x 4 x 4."
    single = read_table(tmp_path / "two.npz", array="y")
    assert single.values.tolist() == [[0], [1], [2]]
    assert single.checksum != found.checksum


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a,b\n1,2\n3,cat\n", "line 3: column 'b' holds 'cat', which is no finite number"),
        ("1,cat\n2,dog\n", "line 1: column 2 holds 'cat', which is no finite number"),
        ("name,b\ncat,2\n", "line 2: column 'name' holds 'cat'"),
        ("a,b\n1,\n", "line 2: column 'b' holds nothing, which"),
        ("a,b\n1,nan\n", "line 2: column 'b' holds 'nan'"),
        ("1,2\n1e999,2\n", "line 2: column 1 holds '1e999'"),
        ("1,2\n3\n", "line 2 has 1 cells where the first has 2"),
        ("1,2\n3,4,5\n", "line 2 has 3 cells where the first has 2"),
        ("a,b\n", "holds a header and no line with numbers"),
        ("\n \n", "is empty; a line for each point is needed"),
    ],
)
def test_text_that_is_no_table(tmp_path, text, sentence):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_table(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (np.array([1, None]), "holds Python objects instead of numbers"),
        (np.array(["a", "b"]), "holds values of type <U1; real numbers are needed"),
        (np.array([1j]), "holds values of type complex128"),
        (np.array(3.0), r"holds an array of shape \(\)"),
        (np.zeros((0, 3)), r"holds an array of shape \(0, 3\)"),
        (np.array([[0.0, 1], [np.inf, 2]]), r"holds inf at index \[1, 0\]"),
    ],
)
def test_arrays_that_are_no_table(tmp_path, value, sentence):
    np.savez(tmp_path / "a.npz", value)
    with pytest.raises(UserError, match=sentence):
        read_table(tmp_path / "a.npz")


def test_which_array_is_asked_where_there_are_several(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.zeros((3, 2)), y=np.zeros(3))
    shapes = r"give --array with one of: x \(3, 2\), y \(3,\)\."
    with pytest.raises(UserError, match=f"holds several arrays; {shapes}"):
        read_table(path)
    with pytest.raises(UserError, match=f"has no array z; {shapes}"):
        read_table(path, array="z")
    np.savez(path)
    with pytest.raises(UserError, match="holds no array"):
        read_table(path)


@pytest.mark.parametrize("name", ["a.npz", "a.npy"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"\x93NUMPY cut off", b"text"])
def test_files_that_are_damaged(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=r"is no \.np[zy] file that can be read"):
        read_table(tmp_path / name)


def test_files_of_another_kind(tmp_path):
    with pytest.raises(UserError, match=r"a\.mat is no table: its name ends in none of \.npz, "):
        read_table(tmp_path / "a.mat")
    with pytest.raises(UserError, match=r"a\.csv cannot be read \(No such file"):
        read_table(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe1,2")
    with pytest.raises(UserError, match="is not text in UTF-8"):
        read_table(tmp_path / "a.csv")
    with pytest.raises(UserError, match="--array x is for .npz files alone"):
        read_table(tmp_path / "a.csv", array="x")
