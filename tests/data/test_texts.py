"""Raw reviews and sentences, and words as numbers."""

import gzip
import json

import numpy as np
import pytest

from jaxfer.data import (
    Vocabulary,
    build_vocabulary,
    encode_texts,
    load_review_texts,
    load_sentences,
    split_words,
    token_pair,
)
from jaxfer.typing import UserError


def write_reviews(folder, lines):
    folder.mkdir(exist_ok=True)
    with gzip.open(folder / "reviews.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def reviews(n, domain="books", **more):
    return [
        json.dumps({"domain": domain, "label": i % 2, "text": f"{domain} {i}", **more})
        for i in range(n)
    ]


def test_reviews_by_domain_with_their_titles(tmp_path):
    write_reviews(
        tmp_path / "amazon_reviews_text", reviews(20, title="Oh\u2028no") + reviews(10, "dvd")
    )
    domains = load_review_texts(tmp_path, seed=1)
    assert list(domains) == ["books", "dvd"]
    books, dvd = domains.values()
    assert len(books.train.x) == 16 and np.bincount(books.test.y).tolist() == [2, 2]
    assert all(text.startswith("Oh\u2028no\nbooks ") for text in books.train.x)
    everything = sorted([*dvd.train.x, *dvd.test.x])
    assert everything == [f"dvd {i}" for i in range(10)]
    for text, label in zip(dvd.train.x, dvd.train.y, strict=True):
        assert int(text.split()[1]) % 2 == label
    assert load_review_texts(tmp_path, seed=1)["dvd"].checksum == dvd.checksum
    assert load_review_texts(tmp_path, seed=2)["dvd"].checksum != dvd.checksum


@pytest.mark.parametrize(
    "line",
    ["no", '{"domain": "a", "label": 2, "text": ""}', '{"domain": "a", "label": 1}', "[1]"],
)
def test_a_line_that_is_no_review(tmp_path, line):
    write_reviews(tmp_path, [*reviews(4), line])
    with pytest.raises(UserError, match="reviews.jsonl.gz, line 5: is no review with domain"):
        load_review_texts(tmp_path)


def test_reviews_that_are_not_there(tmp_path):
    with pytest.raises(UserError, match=r"There is no reviews.jsonl.gz in .*; put it"):
        load_review_texts(tmp_path)
    (tmp_path / "reviews.jsonl.gz").write_bytes(gzip.compress(b"x" * 1000)[:20])
    with pytest.raises(UserError, match="truncated or damaged"):
        load_review_texts(tmp_path)


def test_sentences_end_at_a_newline_alone_and_labels_after_the_last_tab(tmp_path):
    text = "One\x85two\u2028three\t1\nA\ttab\t0\nGood.\t1\n\nBad. \t0\n"
    (tmp_path / "imdb_labelled.txt").write_bytes(text.encode())
    (tmp_path / "yelp_labelled.txt").write_text("a\t1\nb\t0\nc\t1\nd\t0")
    domains = load_sentences(tmp_path, test_share=0.5)
    assert list(domains) == ["imdb", "yelp"]
    imdb = domains["imdb"]
    pairs = {*zip(imdb.train.x, imdb.train.y, strict=True)} | {
        *zip(imdb.test.x, imdb.test.y, strict=True)
    }
    assert pairs == {("One\x85two\u2028three", 1), ("A\ttab", 0), ("Good.", 1), ("Bad. ", 0)}


def test_sentences_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="There are no sentences in"):
        load_sentences(tmp_path)
    path = tmp_path / "imdb_labelled.txt"
    for bad in ("Good.\t2\n", "Good. 1\n"):
        path.write_text("Fine.\t1\n" + bad)
        with pytest.raises(UserError, match="imdb_labelled.txt, line 2: does not end in a tab"):
            load_sentences(tmp_path)
    path.write_bytes(b"\xff\t1\n")
    with pytest.raises(UserError, match="cannot be read as text in UTF-8"):
        load_sentences(tmp_path)
    path.write_text("Fine.\t1\n")
    with pytest.raises(UserError, match=r"^Sentences of imdb in .*: there is 1; give at least 2"):
        load_sentences(tmp_path)


def test_words():
    assert split_words("Don't_stop—ÉTÉ 3.5 stars ’quoted’ O’Neil's?!") == [
        "don't", "stop", "été", "3", "5", "stars", "quoted", "o'neil's", "?", "!",
    ]  # fmt: skip
    assert split_words(" \n...") == []


def test_a_vocabulary_is_of_the_most_frequent_words():
    texts = ["the cat", "the dog", "the cat!", "a dog"]
    assert build_vocabulary(texts, min_count=2).words == ("the", "cat", "dog")
    assert build_vocabulary(texts, min_count=1, size=4).words == ("the", "cat")
    vocabulary = build_vocabulary(texts, min_count=1)
    assert vocabulary.size == len(vocabulary.words) + 2 == 7
    with pytest.raises(UserError, match="No word occurs 9 times"):
        build_vocabulary(texts, min_count=9)
    with pytest.raises(ValueError, match="size must be at least 3; got 2"):
        build_vocabulary(texts, size=2)


def test_texts_are_cut_and_padded():
    tokens = encode_texts(["x the the x the", "", "the"], Vocabulary(("the", "a")), length=3)
    assert tokens.tolist() == [[1, 2, 2], [0, 0, 0], [2, 0, 0]] and tokens.dtype == np.int32
    with pytest.raises(ValueError, match="length must be at least 1; got 0"):
        encode_texts(["a"], Vocabulary(("a",)), length=0)


def test_words_of_the_tests_stay_unknown(tmp_path):
    write_reviews(tmp_path, reviews(20) + reviews(20, "dvd"))
    domains = load_review_texts(tmp_path)
    source, target, vocabulary = token_pair(*domains.values(), length=2, min_count=1)
    assert {"books", "dvd"} <= set(vocabulary.words)
    numbers = {text.split()[1] for domain in domains.values() for text in domain.train.x}
    assert set(vocabulary.words) == numbers | {"books", "dvd"}
    for tokens, domain in ((source, domains["books"]), (target, domains["dvd"])):
        assert tokens.train.x.shape == (16, 2) and tokens.train.x.min() >= 2
        np.testing.assert_array_equal(tokens.test.y, domain.test.y)
        for row, text in zip(tokens.test.x, domain.test.x, strict=True):
            assert (row[1] == 1) == (text.split()[1] not in numbers)


def test_the_real_texts(data_dir):
    domains = load_review_texts(data_dir) | load_sentences(data_dir)
    sizes = {name: (len(d.train.x), len(d.test.x)) for name, d in domains.items()}
    assert sizes == dict.fromkeys(("books", "dvd", "electronics"), (1600, 400)) | dict.fromkeys(
        ("amazon", "imdb", "yelp"), (800, 200)
    )
    assert all(d.train.y.mean() == d.test.y.mean() == 0.5 for d in domains.values())
