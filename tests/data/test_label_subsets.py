"""Some of the classes: partial targets, and both sides of an open set."""

import numpy as np
import pytest

from jaxfer.data import keep_classes, keep_known, make_domain, merge_unknown
from jaxfer.typing import LabelledBatch

LABELS = np.array([3, 0, 1, 2, 1, 3])


@pytest.fixture
def domain():
    train = LabelledBatch(np.arange(6), LABELS)
    test = LabelledBatch(np.arange(6, 10), np.array([0, 1, 2, 3]))
    return make_domain("pets", train, test, classes=("cat", "dog", "owl", "rat"), origin="Ten.")


def test_a_partial_target_keeps_its_labels(domain):
    part = keep_classes(domain, ["rat", "dog"])
    assert part.classes == domain.classes
    assert part.train.x.tolist() == [0, 2, 4, 5] and part.train.y.tolist() == [3, 1, 1, 3]
    assert part.test.x.tolist() == [7, 9]
    assert part.origin == "Ten, the classes rat, dog alone." and part.checksum != domain.checksum


def test_both_sides_of_an_open_set_number_alike(domain):
    known = ("owl", "cat")
    source, target = keep_known(domain, known), merge_unknown(domain, known)
    assert source.classes == target.classes == ("owl", "cat", "unknown")
    assert source.train.x.tolist() == [1, 3] and source.train.y.tolist() == [1, 0]
    assert target.train.x.tolist() == list(range(6))
    assert target.train.y.tolist() == [2, 1, 2, 0, 2, 2] and target.test.y.dtype == np.int32


@pytest.mark.parametrize("function", [keep_classes, keep_known, merge_unknown])
@pytest.mark.parametrize("names", [["cow"], [], ["cat", "cat"]])
def test_classes_that_there_are_not(domain, function, names):
    with pytest.raises(ValueError, match="one or more of cat, dog, owl, rat, each once; got"):
        function(domain, names)


def test_a_domain_without_labels(domain):
    bare = domain._replace(train=domain.train._replace(y=None))
    with pytest.raises(ValueError, match="pets has no labels to choose by"):
        keep_classes(bare, ["cat"])
