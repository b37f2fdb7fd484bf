"""Soft neighbourhood density against NumPy with the whole matrix, and by counting neighbours."""

import jax
import numpy as np
import pytest
from scipy.stats import entropy

from jaxfer.evaluation import neighbourhood_density, soft_neighbourhood_density

from . import examples

LOGITS, _ = examples.labelled()


def reference(logits, temperature=0.05):
    features = examples.softmax(logits)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    similarity = features @ features.T / temperature
    np.fill_diagonal(similarity, -np.inf)
    return np.mean(entropy(examples.softmax(similarity), axis=1))


@pytest.mark.parametrize(("temperature", "block"), [(0.05, 256), (0.3, 5)])
def test_it_is_the_entropy_of_the_whole_matrix(temperature, block, x64, monkeypatch):
    monkeypatch.setattr(neighbourhood_density, "_BLOCK", block)  # 5 leaves a rest of 2
    jax.clear_caches()
    found = soft_neighbourhood_density(LOGITS, temperature=temperature)
    np.testing.assert_allclose(found, reference(LOGITS, temperature), rtol=1e-10)
    where = np.arange(examples.N) % 4 != 1
    found = soft_neighbourhood_density(LOGITS, temperature=temperature, where=where)
    np.testing.assert_allclose(found, reference(LOGITS[where], temperature), rtol=1e-10)


def test_it_counts_the_neighbours():
    sure = 30 * np.eye(4, dtype=np.float32)[np.arange(12) % 4]
    np.testing.assert_allclose(soft_neighbourhood_density(sure), np.log(2), rtol=1e-5)
    np.testing.assert_allclose(
        soft_neighbourhood_density(sure[::4].repeat(4, 0)), np.log(11), rtol=1e-5
    )


def test_runs_side_by_side_one_of_them_broken_one_of_them_empty():
    logits = np.stack([LOGITS, 2 * LOGITS, LOGITS, LOGITS]).astype(np.float32)
    logits[2, 5] = np.nan
    where = np.ones((4, examples.N), bool)
    where[3, 1:] = False
    found = jax.jit(jax.vmap(lambda z, w: soft_neighbourhood_density(z, where=w)))(logits, where)
    np.testing.assert_allclose(found[:2], [reference(LOGITS), reference(2 * LOGITS)], rtol=1e-4)
    assert np.isnan(found[2]) and found[3] == 0


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"logits": LOGITS[:1]}, ValueError, "of at least 2 examples"),
        ({"logits": LOGITS[0]}, ValueError, r"logits must be an array \[n, classes\]"),
        ({"logits": LOGITS.astype(int)}, TypeError, "logits must be of floating point"),
        ({"logits": LOGITS * np.nan}, ValueError, "logits must be finite"),
        ({"temperature": 0.0}, ValueError, "temperature must be a finite number above 0"),
        ({"where": np.ones(examples.N)}, TypeError, "where must hold booleans"),
        ({"where": np.ones(3, bool)}, ValueError, "where must hold one boolean for each row"),
        ({"where": np.arange(examples.N) < 1}, ValueError, "where must leave at least 2"),
    ],
)
def test_what_makes_no_sense(change, error, message):
    with pytest.raises(error, match=message):
        soft_neighbourhood_density(**({"logits": LOGITS} | change))
