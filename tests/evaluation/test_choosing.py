"""The pick of a validator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer.evaluation import choose, chosen


def test_the_best_that_is_let_through_or_else_source_only():
    nan = np.nan
    scores = np.float32([
        [0.1, 0.9, 0.5],
        [0.1, 0.9, 0.5],
        [nan, 0.2, 0.3],
        [0.7, 0.7, 0.1],
        [nan, nan, nan],
        [0.1, 0.9, 0.5],
        [-np.inf, -np.inf, nan],
    ])  # fmt: skip
    rejected = np.zeros((7, 3), bool)
    rejected[1, 1] = rejected[5] = rejected[6, 0] = True
    choice = jax.jit(lambda s, r: choose(s, rejected=r))(scores, rejected)
    np.testing.assert_array_equal(choice.source_only, [0, 0, 0, 0, 1, 1, 0])
    np.testing.assert_array_equal(choice.candidate, [1, 2, 2, 0, 0, 0, 1])
    np.testing.assert_allclose(choice.score, [0.9, 0.5, 0.3, 0.7, nan, nan, -np.inf])
    accuracies = np.arange(21.0).reshape(7, 3)
    found = chosen(choice, accuracies, np.arange(7) + 100)
    np.testing.assert_array_equal(found, [1, 5, 8, 9, 104, 105, 19])
    np.testing.assert_array_equal(chosen(choice, accuracies, -1.0)[4:6], -1)


def test_one_choice_whole_numbers_and_a_mask_that_is_broadcast():
    choice = choose([3, 5, 4])
    assert choice.candidate == 1 and choice.score == 5 and not choice.source_only
    assert chosen(choice, [0.1, 0.2, 0.3], 0.0) == jnp.float32(0.2)
    both = choose([[1.0, 2.0], [2.0, 1.0]], rejected=[False, True])
    np.testing.assert_array_equal(both.candidate, [0, 0])


@pytest.mark.parametrize(
    ("scores", "rejected", "error", "message"),
    [
        (np.zeros(0), None, ValueError, r"scores must be \[..., candidates\] with at least 1"),
        (1.0, None, ValueError, r"scores must be \[..., candidates\]"),
        ([True], None, TypeError, "scores must be real numbers"),
        ([1.0], [0], TypeError, "rejected must hold booleans"),
        ([1.0, 2.0], [True] * 3, ValueError, "rejected must broadcast to the shape of scores"),
    ],
)
def test_scores_that_make_no_sense(scores, rejected, error, message):
    with pytest.raises(error, match=message):
        choose(np.asarray(scores), rejected=None if rejected is None else np.asarray(rejected))


def test_values_that_do_not_belong_to_the_choice():
    choice = choose(np.zeros((2, 3)))
    with pytest.raises(
        ValueError, match=r"values must be \[..., candidates\] with the leading axes"
    ):
        chosen(choice, np.zeros(3), 0.0)
    with pytest.raises(ValueError, match="source_only must be one number or one for each choice"):
        chosen(choice, np.zeros((2, 3)), np.zeros(3))
