"""Reviews in svmlight's form: indices from 0, labels, what is missing; rows made sparse."""

import numpy as np
import pytest

from jaxfer.data import load_reviews, sparse_rows
from jaxfer.typing import UserError

FILES = {
    "books_train": "-1 0:1 2:3\n1 4:1\n",
    "books_test": "1 1:2\n-1\n",  # neither index 0 nor the last one, and a row of nothing
    "dvd_train": "0 1:1\n1 2:1\n",
    "dvd_test": "0 3:7\n0 1:1\n",
}


def write(folder, **changes):
    folder.mkdir(exist_ok=True)
    for name, text in (FILES | changes).items():
        if text is not None:
            (folder / f"{name}.svmlight").write_text(text)
    return folder


@pytest.mark.parametrize("place", ["amazon_reviews", "."])
def test_all_domains_have_the_same_columns_from_index_0(tmp_path, place):
    write(tmp_path / place)
    domains = load_reviews(tmp_path)
    assert list(domains) == ["books", "dvd"]
    books, dvd = domains.values()
    assert books.train.x.dtype == np.float32
    assert books.train.x.tolist() == [[1, 0, 3, 0, 0], [0, 0, 0, 0, 1]]
    assert books.test.x.tolist() == [[0, 2, 0, 0, 0], [0, 0, 0, 0, 0]]
    assert books.train.y.tolist() == [0, 1] and books.test.y.tolist() == [1, 0]
    assert dvd.train.y.tolist() == [0, 1] and dvd.test.y.tolist() == [0, 0]
    assert dvd.classes == ("negative", "positive") and "5 counts" in dvd.origin


def test_indices_begin_at_0_where_none_occurs(tmp_path):
    write(tmp_path, books_train="-1 1:1\n1 4:1\n")
    assert load_reviews(tmp_path)["books"].train.x.tolist() == [[0, 1, 0, 0, 0], [0, 0, 0, 0, 1]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dvd_test": None}, "holds no dvd_test.svmlight; put it beside its other half"),
        ({"dvd_test": "1 a:1\n"}, "dvd_test.svmlight cannot be read as svmlight"),
        (
            {"dvd_train": "3 1:1\n1 1:1\n"},
            "dvd_train.svmlight has labels other than .*: 1, 3; replace",
        ),
    ],
)
def test_what_is_wrong(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        load_reviews(write(tmp_path / "reviews", **changes))


def test_no_reviews(tmp_path):
    with pytest.raises(UserError, match="There are no reviews in .*; put DOMAIN_train.svmlight"):
        load_reviews(tmp_path)
    with pytest.raises(UserError, match="in JAXFER_DATA_DIR or the cache"):
        load_reviews()


def test_sparse_rows_hold_all_that_is_not_zero():
    generator = np.random.default_rng(0)
    x = generator.poisson(0.3, (20, 15)).astype(np.float32)
    x[3] = 0
    indices, values = sparse_rows(x, width=12)
    assert indices.shape == values.shape == (20, 12)
    assert indices.dtype == np.int32 and values.dtype == np.float32
    again = np.zeros((20, 16), np.float32)
    np.add.at(again, (np.arange(20)[:, None], indices), values)
    np.testing.assert_array_equal(again[:, :15], x)
    assert (again[:, 15] == 0).all() and (indices[3] == 15).all()
    fullest = (x > 0).sum(1).max()
    assert sparse_rows(x).indices.shape == (20, fullest)
    with pytest.raises(ValueError, match=f"width must be at least {fullest}.*; got 1"):
        sparse_rows(x, width=1)
    with pytest.raises(ValueError, match=r"must be \[n, features\]; got \(15,\)"):
        sparse_rows(x[0])


def test_the_real_reviews(data_dir):
    domains = load_reviews(data_dir)
    assert {"books", "dvd", "electronics"} <= set(domains)
    for name, tests in (("books", 4465), ("dvd", 3586), ("electronics", 5681)):
        assert domains[name].train.x.shape == (2000, 5000)
        assert domains[name].test.x.shape == (tests, 5000)
        assert domains[name].train.y.mean() == 0.5
    assert domains["books"].train.x[:, 0].any()
