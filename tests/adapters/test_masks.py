"""Masks over any pytree, and putting its halves together again."""

from typing import NamedTuple

import jax
import numpy as np
import pytest

from jaxfer.adapters import by_path, merge, partition


class Layer(NamedTuple):
    kernel: float
    bias: float


NESTED = {"body": [Layer(1.0, 2.0), Layer(3.0, 4.0)], "head": (5.0, {"scale": 6.0})}


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ("head", [False] * 4 + [True] * 2),
        ("bias", [False, True, False, True, False, False]),
        (("kernel", "scale"), [True, False, True, False, False, True]),
    ],
)
@pytest.mark.parametrize("invert", [False, True])
def test_by_path_finds_keys_and_fields_at_any_depth(names, chosen, invert):
    mask = by_path(names, invert=invert)(NESTED)
    assert jax.tree.structure(mask) == jax.tree.structure(NESTED)
    assert jax.tree.leaves(mask) == [each != invert for each in chosen]


def test_by_path_wants_a_whole_key_and_lists_what_there_is():
    with pytest.raises(ValueError) as caught:
        by_path(("hea", "tail"))(NESTED)
    message = str(caught.value)
    assert "no parameter lies below hea or tail" in message
    assert "['head'][1]['scale']" in message
    assert "['body'][0].bias" in message


@pytest.mark.parametrize(
    "mask",
    [
        None,
        True,
        {"body": True, "head": False},
        {"body": [False, True], "head": (True, {"scale": False})},
        {"body": [Layer(True, False), Layer(False, np.bool_(True))], "head": False},
        by_path("kernel"),
        lambda params: {"body": False, "head": True},
    ],
)
def test_merge_is_the_inverse_of_partition(mask):
    adapted, others = partition(NESTED, mask)
    merged = merge(adapted, others)
    assert merged == NESTED
    assert jax.tree.structure(merged) == jax.tree.structure(NESTED)
    assert sorted(jax.tree.leaves(adapted) + jax.tree.leaves(others)) == [
        1.0,
        2.0,
        3.0,
        4.0,
        5.0,
        6.0,
    ]


def test_a_prefix_chooses_all_that_lies_below_it():
    adapted, others = partition(NESTED, {"body": [True, False], "head": (True, False)})
    assert adapted == {"body": [Layer(1.0, 2.0), Layer(None, None)], "head": (5.0, {"scale": None})}
    assert others == {"body": [Layer(None, None), Layer(3.0, 4.0)], "head": (None, {"scale": 6.0})}


def test_without_a_mask_everything_is_adapted():
    adapted, others = partition(NESTED, None)
    assert adapted is NESTED
    assert jax.tree.leaves(others) == []


def test_a_parameter_that_is_none_stays_none():
    params = {"kernel": 1.0, "bias": None}
    adapted, others = partition(params, {"kernel": True, "bias": True})
    assert merge(adapted, others) == params
    assert merge(*partition(params, by_path("kernel"))) == params


def test_a_bare_array_is_a_pytree_too():
    adapted, others = partition(3.0, True)
    assert (adapted, others) == (3.0, None)
    assert merge(adapted, others) == 3.0


@pytest.mark.parametrize(
    "mask",
    [{"body": True}, {"body": True, "tail": True}, {"body": [True], "head": True}, [True, False]],
)
def test_a_mask_that_is_no_prefix_is_refused(mask):
    with pytest.raises(ValueError, match="mask must be a prefix of params"):
        partition(NESTED, mask)


@pytest.mark.parametrize("mask", [False, {"body": False, "head": (False, False)}, lambda _: False])
def test_a_mask_that_chooses_nothing_is_refused(mask):
    with pytest.raises(ValueError, match="chooses no parameter; at least one must be adapted"):
        partition(NESTED, mask)


def test_an_inverted_path_that_leaves_nothing_is_refused():
    with pytest.raises(ValueError, match="chooses no parameter"):
        partition({"head": {"kernel": 1.0}}, by_path("head", invert=True))
