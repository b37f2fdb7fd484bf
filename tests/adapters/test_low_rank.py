"""LoRA and IA3 on any pytree: what they compute, and that they begin as nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer.adapters import (
    LowRank,
    by_pattern,
    init_low_rank,
    init_rescaling,
    merge_low_rank,
    rescale,
    unmerge_low_rank,
)


def params():
    draw = np.random.default_rng(0)
    return {
        "dense": {"kernel": draw.normal(size=(6, 5)), "bias": draw.normal(size=5)},
        "conv": {"kernel": draw.normal(size=(3, 3, 2, 4))},
    }


def random_factors(weights, rank=2):
    factors = init_low_rank(jax.random.key(0), weights, by_pattern("*/kernel"), rank=rank)
    keys = iter(jax.random.split(jax.random.key(1), 9))
    return jax.tree.map(lambda leaf: jax.random.normal(next(keys), leaf.shape), factors)


def test_it_begins_as_nothing_within_pefts_bound(x64):
    weights = params()
    factors = init_low_rank(jax.random.key(0), weights, by_pattern("*/kernel"), rank=2)
    assert factors["dense"]["bias"] is None
    down, up = factors["conv"]["kernel"]
    assert down.shape == (3, 3, 2, 2) and up.shape == (2, 4) and not up.any()
    assert 0.5 * 18**-0.5 < np.abs(down).max() < 18**-0.5
    merged = merge_low_rank(weights, factors, alpha=16.0)
    assert all(map(np.array_equal, *map(jax.tree.leaves, (merged, weights))))


def test_the_merge_is_numpys_and_is_taken_back(x64):
    weights = params()
    factors = random_factors(weights)
    merged = merge_low_rank(weights, factors, alpha=6.0)
    for layer in ("dense", "conv"):
        down, up = map(np.asarray, factors[layer]["kernel"])
        expected = weights[layer]["kernel"] + 6 / 2 * np.einsum("...r,ro->...o", down, up)
        np.testing.assert_allclose(merged[layer]["kernel"], expected, rtol=1e-12)
    assert np.array_equal(merged["dense"]["bias"], weights["dense"]["bias"])
    back = unmerge_low_rank(merged, factors, alpha=6.0)
    for before, after in zip(*map(jax.tree.leaves, (weights, back)), strict=True):
        np.testing.assert_allclose(after, before, atol=1e-14)


def test_a_convolution_by_factors_is_that_by_the_merged_kernel(x64):
    weights = params()["conv"]
    factors = random_factors({"conv": weights})["conv"]
    x = np.random.default_rng(1).normal(size=(2, 5, 5, 2))

    def convolve(x, kernel):
        dimensions = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=dimensions)

    whole = convolve(x, merge_low_rank(weights, factors)["kernel"])
    down, up = factors["kernel"]
    thin = convolve(x, weights["kernel"]) + convolve(x, down) @ up
    np.testing.assert_allclose(whole, thin, rtol=1e-10, atol=1e-12)


def test_rescaling_weights_is_rescaling_activations(x64):
    weights = params()["dense"]
    x = np.random.default_rng(1).normal(size=(3, 6))
    mask = by_pattern("kernel")
    for side, size in (("outputs", 5), ("inputs", 6)):
        factors = init_rescaling(weights, mask, side=side)
        assert factors["kernel"].tolist() == size * [1] and factors["bias"] is None
        ell = np.arange(1.0, size + 1)
        scaled = rescale(weights, {"kernel": jnp.array(ell), "bias": None}, side=side)
        y = (x * ell) @ weights["kernel"] if side == "inputs" else x @ weights["kernel"] * ell
        np.testing.assert_allclose(x @ scaled["kernel"], y, rtol=1e-12)
        assert np.array_equal(scaled["bias"], weights["bias"])


def test_mistakes_are_refused():
    weights, key = params(), jax.random.key(0)
    with pytest.raises(ValueError, match="rank must be at most 5, the smaller side"):
        init_low_rank(key, weights, by_pattern("dense/kernel"), rank=6)
    with pytest.raises(ValueError, match="at least two axes; one that mask chooses is"):
        init_low_rank(key, weights, by_pattern("dense/bias"), rank=1)
    with pytest.raises(TypeError, match="rank must be an integer"):
        init_low_rank(key, weights, None, rank=1.0)
    with pytest.raises(ValueError, match="do not fit a weight"):
        merge_low_rank(np.ones((2, 3)), LowRank(jnp.ones((3, 1)), jnp.ones((1, 3))))
    with pytest.raises(ValueError, match="alpha must be a finite number of at least 0"):
        merge_low_rank(weights, random_factors(weights), alpha=-1.0)
    with pytest.raises(ValueError, match="has no axis of inputs"):
        init_rescaling(weights, by_pattern("dense/bias"), side="inputs")
    with pytest.raises(ValueError, match="side must be 'inputs' or 'outputs'"):
        rescale(weights, weights, side="left")
    with pytest.raises(ValueError, match="do not fit the outputs"):
        rescale(np.ones((2, 3)), jnp.ones(2))
