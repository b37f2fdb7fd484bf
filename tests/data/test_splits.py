import numpy as np
import pytest

from jaxfer.data import (
    CharacterSet,
    alphabet_split,
    background_split,
    draw_glyphs,
    random_class_split,
)
from jaxfer.typing import UserError


@pytest.fixture(scope="module")
def characters() -> CharacterSet:
    return draw_glyphs(alphabets=10, characters=3, drawings=1, image_size=8)


def test_mamls_sizes_cover_omniglot():
    split = random_class_split(1623, seed=0)
    assert [len(part) for part in split] == [1100, 100, 423]
    assert sorted(np.concatenate(split)) == list(range(1623))
    assert all(part.dtype == np.int32 and (np.diff(part) > 0).all() for part in split)


def test_a_seed_is_a_split():
    one, same, other = (random_class_split(1623, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.train, same.train)
    assert (one.test != other.test).any()


@pytest.mark.parametrize("num_classes", [3, 5, 20, 400, 3000])
def test_other_sets_are_split_in_proportion(num_classes):
    split = random_class_split(num_classes, seed=0)
    assert sorted(np.concatenate(split)) == list(range(num_classes))
    for part, size in zip(split, (1100, 100, 423), strict=True):
        assert len(part) >= 1
        assert abs(len(part) - num_classes * size / 1623) <= 1.5


@pytest.mark.parametrize(
    "arguments",
    [
        dict(num_classes=2),
        dict(num_classes=9, sizes=(1, 0, 1)),
        dict(num_classes=4, sizes=(1, 9, 9)),
    ],
)
def test_what_cannot_be_split_in_three(arguments):
    with pytest.raises(ValueError, match="three|leave none"):
        random_class_split(**arguments, seed=0)


def test_alphabets_are_not_shared(characters):
    split = alphabet_split(characters, validation_alphabets=2, seed=0)
    alphabets = [{characters.alphabets[i] for i in part} for part in split]
    assert [len(part) for part in alphabets] == [4, 2, 4]
    assert len(set.union(*alphabets)) == 10
    assert sorted(np.concatenate(split)) == list(range(30))
    np.testing.assert_array_equal(split.test, np.flatnonzero(~characters.background))


def test_the_seed_chooses_the_validation_alphabets(characters):
    chosen = {tuple(alphabet_split(characters, seed=seed).validation) for seed in range(20)}
    assert len(chosen) > 1


@pytest.mark.parametrize("validation_alphabets", [0, 6])
def test_too_few_alphabets(characters, validation_alphabets):
    with pytest.raises(UserError, match="needs 1 to 5 of the 6 background alphabets"):
        alphabet_split(characters, validation_alphabets=validation_alphabets, seed=0)


def test_no_evaluation_alphabet(characters):
    background = np.ones(30, bool)
    with pytest.raises(UserError, match="give other characters or split at random"):
        alphabet_split(characters._replace(background=background), seed=0)


def test_a_background_split_trains_on_any_alphabet_of_the_background(characters):
    split = background_split(characters, validation_classes=7, seed=0)
    assert [len(part) for part in split[:2]] == [characters.background.sum() - 7, 7]
    assert characters.background[np.concatenate(split[:2])].all()
    assert sorted(np.concatenate(split)) == list(range(30))
    np.testing.assert_array_equal(split.test, np.flatnonzero(~characters.background))
    other = background_split(characters, validation_classes=7, seed=1)
    assert split.validation.tolist() != other.validation.tolist()
    with pytest.raises(UserError, match="needs 1 to .* of its .* characters for validation"):
        background_split(characters, validation_classes=30, seed=0)
    with pytest.raises(UserError, match="and evaluation characters beside them; got 1 and 0"):
        background_split(
            characters._replace(background=np.ones(30, bool)), validation_classes=1, seed=0
        )
