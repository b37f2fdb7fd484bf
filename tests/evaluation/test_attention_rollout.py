"""Rolled-out attention is a product of matrices, in closed form where it has one; masks, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer.evaluation import attention_rollout

WEIGHTS = np.random.default_rng(0).dirichlet(np.ones(4), size=(3, 2, 5, 4))


def by_hand(weights, residual=0.5):
    """Of one example, ``[layers, heads, length, length]``, token by token."""
    layers, heads, length, _ = weights.shape
    found = np.eye(length)
    for layer in weights:
        mixed = np.zeros((length, length))
        for query in range(length):
            for key in range(length):
                mean = sum(layer[head, query, key] for head in range(heads)) / heads
                mixed[query, key] = (1 - residual) * mean + residual * (query == key)
        found = mixed @ found
    return found


@pytest.mark.parametrize("residual", [0.5, 0.2, 0.0, 1.0])
def test_rollout_is_the_product_over_layers(x64, residual):
    found = attention_rollout(WEIGHTS, residual=residual)
    for i in range(2):
        np.testing.assert_allclose(found[i], by_hand(WEIGHTS[:, i], residual), rtol=1e-10)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-10)
    np.testing.assert_array_equal(attention_rollout([*WEIGHTS], residual=residual), found)


def test_the_first_layer_comes_first(x64):
    backwards = attention_rollout(WEIGHTS[::-1])
    assert np.abs(backwards - attention_rollout(WEIGHTS)).max() > 1e-3
    # What the last token of the last layer has of token 0, by all the ways there.
    a, b = (0.5 * w.mean(1) + 0.5 * np.eye(4) for w in WEIGHTS[:2])
    expected = sum(b[:, 3, k] * a[:, k, 0] for k in range(4))
    np.testing.assert_allclose(attention_rollout(WEIGHTS[:2])[:, 3, 0], expected, rtol=1e-10)


@pytest.mark.parametrize("layers", [1, 2, 5])
def test_even_attention_leaves_what_the_residual_carried(x64, layers):
    found = attention_rollout(np.full((layers, 1, 2, 4, 4), 0.25))[0]
    kept = 0.5**layers
    expected = kept * np.eye(4) + (1 - kept) / 4
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_one_layer_without_a_residual_is_its_mean_over_heads(x64):
    found = attention_rollout(WEIGHTS[:1], residual=0.0)
    np.testing.assert_allclose(found, WEIGHTS[0].mean(1), rtol=1e-12)


def test_heads_and_names_of_tokens_are_of_no_account(x64):
    found = attention_rollout(WEIGHTS)
    np.testing.assert_allclose(attention_rollout(WEIGHTS[:, :, ::-1]), found, rtol=1e-12)
    order = np.array([2, 0, 3, 1])
    moved = attention_rollout(WEIGHTS[..., order, :][..., order])
    np.testing.assert_allclose(moved, found[:, order][..., order], rtol=1e-12)


def test_tokens_that_are_not_there_get_nothing(x64):
    """As if they were cut off, though the weights attended to them."""
    where = np.array([[True, True, True, False], [True, False, True, True]])
    found = np.asarray(attention_rollout(WEIGHTS, where=where))
    for i, present in enumerate(where):
        cut = WEIGHTS[:, i][..., present, :][..., present].mean(1, keepdims=True)
        cut /= cut.sum(-1, keepdims=True)
        np.testing.assert_allclose(found[i][np.ix_(present, present)], by_hand(cut), rtol=1e-10)
        assert not found[i][:, ~present].any() and not found[i][~present].any()
    everyone = attention_rollout(WEIGHTS, where=np.ones((2, 4), bool))
    np.testing.assert_allclose(everyone, attention_rollout(WEIGHTS), rtol=1e-12)


def test_a_token_that_attends_to_nothing_keeps_itself():
    weights = np.zeros((2, 1, 1, 2, 2), np.float32)
    weights[..., 0, :] = 0.5
    found = attention_rollout(weights, residual=0.0)[0]
    assert found[1].tolist() == [0.0, 1.0]

    def total(residual, where):
        return attention_rollout(weights, residual=residual, where=where)[0, 0, 1]

    for where in (None, np.zeros((1, 2), bool)):
        assert np.isfinite(jax.grad(total)(0.5, where))
    assert not attention_rollout(weights, where=np.zeros((1, 2), bool)).any()


def test_traced_it_is_the_same():
    weights = WEIGHTS.astype(np.float32)
    where = np.array([[True, True, True, False]] * 2)
    traced = jax.jit(lambda w, r, m: attention_rollout(w, residual=r, where=m))(weights, 0.3, where)
    expected = attention_rollout(weights, residual=0.3, where=where)
    np.testing.assert_allclose(traced, expected, rtol=1e-6)
    assert jax.jit(attention_rollout)(weights.astype(jnp.bfloat16)).dtype == jnp.float32


@pytest.mark.parametrize(
    ("weights", "options", "error", "complaint"),
    [
        (np.ones((2, 3, 4, 5)), {}, ValueError, r"\[layers, n, heads, length, length\]"),
        (np.ones((1, 2, 3, 4, 5)), {}, ValueError, r"their shape is \(1, 2, 3, 4, 5\)"),
        (np.ones((0, 1, 1, 2, 2)), {}, ValueError, "that is not empty"),
        ([], {}, ValueError, "one array .* for each layer"),
        ([np.ones((1, 1, 2, 2)), np.ones((1, 2, 2, 2))], {}, ValueError, "all of one shape"),
        (-WEIGHTS, {}, ValueError, "weights must be at least 0; the least is -"),
        (np.full((1, 1, 1, 2, 2), np.nan), {}, ValueError, "weights must be finite"),
        (np.ones((1, 1, 1, 2, 2), int), {}, TypeError, "weights must be of floating point"),
        (WEIGHTS, {"residual": 1.5}, ValueError, "residual must be a finite number of at least 0"),
        (WEIGHTS, {"residual": "half"}, TypeError, "residual must be a number"),
        (WEIGHTS, {"where": np.ones((2, 4))}, TypeError, "where must hold booleans"),
        (
            WEIGHTS,
            {"where": np.ones(4, bool)},
            ValueError,
            r"\[n, length\], \(2, 4\); it is \(4,\)",
        ),
    ],
)
def test_mistakes_are_refused(weights, options, error, complaint):
    with pytest.raises(error, match=complaint):
        attention_rollout(weights, **options)
