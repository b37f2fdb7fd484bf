"""What all networks of a pair are asked at once."""

import jax.numpy as jnp
import numpy as np

from jaxfer.experiments import amazon_scores
from jaxfer.experiments.spanned_dann import Side


def test_the_reverse_score_is_accuracy_and_breaks_ties_by_risk():
    logits = np.zeros((1, 4, 3, 2), np.float32)
    logits[0, :, 0] = [[1, 0], [1, 0], [0, 1], [1, 0]]  # three right, little sure
    logits[0, :, 1] = [[3, 0], [3, 0], [0, 3], [0.1, 0]]  # three right, surer
    logits[0, :, 2] = [[9, 0], [0, 9], [9, 0], [0, 9]]
    [scores] = amazon_scores.reverse_scores(jnp.asarray(logits), jnp.array([[0, 0, 1, 1]]))
    assert scores[1] > scores[0] > scores[2]
    np.testing.assert_allclose(scores, [0.75, 0.75, 0.5], atol=1e-3)


def test_a_collapsed_network_is_seen_on_the_held_out_target():
    draw = np.random.default_rng(0)
    nn = draw.normal(size=(1, 40, 1, 2)).astype(np.float32)
    ones = np.broadcast_to(np.array([0.0, 5.0], np.float32), nn.shape)
    target = Side(jnp.arange(20)[None], jnp.arange(20, 40)[None])
    found = amazon_scores.collapsed(jnp.asarray(np.concatenate([nn, ones], 2)), target)
    assert found.tolist() == [[False, True]]
