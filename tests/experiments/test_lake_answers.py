"""Answers to runs of the one-shot protocol: each drawing alone, by one view or several."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp

from jaxfer import meta
from jaxfer.experiments.lake_answers import answer_run
from jaxfer.experiments.maml_omniglot import Judged

NOTHING = Judged({"params": {}}, {})


def embed(params, state, x, *, train, key=None):
    assert len(x) == 4 and not train  # three shown and one asked, never two
    return x.reshape(4, -1), state


NEAREST = meta.answer_by_features(embed, lambda params: partial(meta.nearest_centroid, classes=3))


@pytest.fixture
def drawings():
    draw = np.random.default_rng(0)
    shown = draw.integers(0, 256, (3, 5, 5), dtype=np.uint8)
    return shown, np.concatenate([shown[[2, 0, 0, 1]], 255 - shown[:1]])


def by_hand(shown, asked):
    """Logarithms of a softmax over negative squared distances, in float64."""
    differences = asked.astype(np.float64)[:, None] - shown.astype(np.float64)
    return log_softmax(-np.square(differences).sum((-2, -1)), axis=-1)


def test_each_drawing_is_answered_alone(drawings):
    """By a network that would see the others, if there were any."""
    shown, asked = drawings
    logits = answer_run(NEAREST, NOTHING, *map(jnp.asarray, drawings))
    assert logits.argmax(-1).tolist()[:4] == [2, 0, 0, 1]
    np.testing.assert_allclose(logits, by_hand(shown / 255, asked / 255), rtol=1e-4, atol=1e-4)


def test_several_views_answer_by_the_mean_of_their_probabilities(drawings):
    shown, asked = (part / 255 for part in drawings)
    seen = []

    def darker_below(key, x):
        """A warp without chance: the lower rows of each drawing are halved."""
        seen.append(x.shape)
        return x * jnp.array([1.0, 1.0, 1.0, 0.5, 0.5])[:, None, None]

    found = answer_run(NEAREST, NOTHING, *map(jnp.asarray, drawings), views=3, warp=darker_below)
    halved = np.array([1.0, 1.0, 1.0, 0.5, 0.5])[:, None]
    plain, warped = by_hand(shown, asked), by_hand(shown * halved, asked * halved)
    expected = logsumexp([plain, warped, warped], axis=0) - np.log(3)
    assert set(seen) == {(4, 5, 5, 1)}
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert np.abs(expected - plain).max() > 0.1


def test_the_views_differ_and_are_the_same_for_every_drawing_asked(drawings):
    shown, asked = map(jnp.asarray, drawings)

    def noise(key, x):
        return x + jax.random.normal(key, x.shape)

    one, two, three = (
        answer_run(NEAREST, NOTHING, shown, asked, views=views, warp=noise) for views in (1, 2, 3)
    )
    again = answer_run(NEAREST, NOTHING, shown, asked[::-1], views=3, warp=noise)
    np.testing.assert_allclose(three[::-1], again, rtol=1e-5, atol=1e-5)
    second, third = 2 * np.exp(two) - np.exp(one), 3 * np.exp(three) - 2 * np.exp(two)
    assert np.abs(second - third).max() > 0.01


def test_one_view_asks_for_no_warp(drawings):
    def never(key, x):
        raise AssertionError("warped")

    answer_run(NEAREST, NOTHING, *map(jnp.asarray, drawings), warp=never)
