"""Sentences from templates: two domains that share some of their words."""

import numpy as np
import pytest

from jaxfer.data import split_words, write_reviews
from jaxfer.data.template_reviews import _GENERAL, _SUBJECTS


def words(texts):
    return {word for text in texts for word in split_words(text)}


def test_two_domains_of_both_kinds():
    domains = write_reviews(count=100)
    for name, domain in domains.items():
        assert [len(part.y) for part in (domain.train, domain.test)] == [80, 20]
        assert np.bincount(domain.test.y).tolist() == [10, 10]
        assert domain.classes == ("negative", "positive")
        assert f"about {name}" in domain.origin and "NOT reviews of anybody" in domain.origin
        texts = [*domain.train.x, *domain.test.x]
        assert all(text.endswith(".") and text == text.lower() for text in texts)


def test_words_of_one_subject_are_not_the_others():
    films, phones = (words(domain.train.x) for domain in write_reviews().values())
    shared = films & phones
    for name, own, other in (("films", films, phones), ("phones", phones, films)):
        subject = _SUBJECTS[name]
        for group in (subject.nouns, subject.negative, subject.positive):
            assert set(group) <= own and not set(group) & other
    assert {word for kind in _GENERAL for word in kind if " " not in word} <= shared


def test_a_word_stands_for_its_label_but_after_a_not():
    domain = write_reviews()["phones"]
    for text, label in zip(domain.train.x, domain.train.y, strict=True):
        said = split_words(text)
        for kind, group in enumerate((_SUBJECTS["phones"].negative, _SUBJECTS["phones"].positive)):
            for place, word in enumerate(said):
                if word in group:
                    assert (kind == label) != (said[place - 1] == "not"), text


def test_seeds():
    one, again, other = (write_reviews(count=20, seed=seed)["films"] for seed in (1, 1, 2))
    assert one.checksum == again.checksum != other.checksum


def test_too_few():
    with pytest.raises(ValueError, match="count must be at least 4; got 3"):
        write_reviews(count=3)
