"""Domains: what is checked when they are put together, and how examples are dealt."""

import numpy as np
import pytest

from jaxfer.data import make_domain, train_test_indices
from jaxfer.typing import LabelledBatch, UserError


def batch(n, y="labels", width=3):
    return LabelledBatch(np.arange(n * width).reshape(n, width), np.arange(n) if y else None)


def make(train, test, classes="abcd"):
    return make_domain("toy", train, test, classes=classes, origin="Numbers.")


def test_a_domain_has_int32_labels_or_none():
    domain = make(batch(3), batch(2))
    assert domain.train.y.dtype == np.int32 and domain.classes == ("a", "b", "c", "d")
    bare = make(batch(3, y=None), batch(2, y=None))
    assert bare.train.y is None and bare.test.y is None


def test_the_checksum_is_of_examples_labels_and_their_shape():
    sums = {
        make(*parts).checksum
        for parts in (
            (batch(3), batch(2)),
            (batch(2), batch(3)),
            (batch(3, y=None), batch(2)),
            (batch(3)._replace(y=np.array([1, 0, 2])), batch(2)),
            (LabelledBatch(np.arange(9.0).reshape(3, 3), np.arange(3)), batch(2)),
        )
    }
    assert len(sums) == 5
    assert make(batch(3), batch(2)) .checksum == make(batch(3), batch(2)).checksum  # fmt: skip
    texts = [LabelledBatch(np.array(words, object), None) for words in (["a b"], ["a", "b"])]
    assert make(texts[0], texts[1]).checksum != make(texts[1], texts[0]).checksum


@pytest.mark.parametrize(
    ("train", "kind", "message"),
    [
        (batch(5), UserError, "toy, train: label 4 is outside of 0 to 3, its 4 classes"),
        (LabelledBatch(np.zeros((1, 3)), np.array([-1])), UserError, "label -1 is outside"),
        (batch(0), UserError, "toy, train: holds no example"),
        (LabelledBatch(np.zeros((2, 3)), np.zeros(2)), ValueError, "must be integers"),
        (LabelledBatch(np.zeros((2, 3)), np.zeros(1, int)), ValueError, r"of shape \(2,\)"),
        (batch(2, width=4), ValueError, r"must have one shape; got \(4,\) and \(3,\)"),
    ],
)
def test_what_does_not_fit(train, kind, message):
    with pytest.raises(kind, match=message):
        make(train, batch(2))


def test_every_class_is_dealt_alike_and_no_example_twice():
    labels = np.repeat([0, 1, 2, 3], [100, 20, 2, 1])
    train, test = train_test_indices(labels, test_share=0.25, seed=0)
    assert np.bincount(labels[test], minlength=4).tolist() == [25, 5, 1, 0]
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(123))
    again = train_test_indices(labels, test_share=0.25, seed=0)
    np.testing.assert_array_equal(again[1], test)
    assert (train_test_indices(labels, test_share=0.25, seed=1)[1] != test).any()


def test_dealing_without_labels_and_with_one_example_a_class():
    train, test = train_test_indices(10, test_share=0.3, seed=0)
    assert len(test) == 3 and len(train) == 7
    train, test = train_test_indices(np.arange(3), test_share=0.3, seed=0)
    assert len(test) == 1 and len(train) == 2


@pytest.mark.parametrize(("n", "share", "kind"), [(1, 0.2, UserError), (5, 0.0, ValueError)])
def test_what_cannot_be_dealt(n, share, kind):
    with pytest.raises(kind, match="at least 2|between 0 and 1"):
        train_test_indices(n, test_share=share, seed=0)
