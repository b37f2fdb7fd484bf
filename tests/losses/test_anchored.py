"""L2-SP, DELTA and Fisher information: by loops in float64, and by what they are made for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxfer import losses
from jaxfer.losses import delta, delta_channel_weights, fisher_diagonal, l2_sp


def params(seed=0):
    draw = np.random.default_rng(seed)
    return {"body": [draw.normal(size=(3, 2)), draw.normal(size=2)], "head": draw.normal(size=4)}


def test_l2_sp_is_the_sum_over_its_parts(x64):
    now, start = params(), params(1)
    body = sum(((a - b) ** 2).sum() for a, b in zip(now["body"], start["body"], strict=True))
    expected = 0.5 * (0.3 * body + 0.01 * (now["head"] ** 2).sum())
    anchor, weights = {"body": start["body"], "head": None}, {"body": 0.3, "head": 0.01}
    np.testing.assert_allclose(l2_sp(now, anchor, weights=weights), expected, rtol=1e-12)
    gradient, by_start = jax.grad(
        lambda p, s: l2_sp(p, {**s, "head": None}, weights=weights), (0, 1)
    )(now, {"body": start["body"]})
    np.testing.assert_allclose(gradient["body"][0], 0.3 * (now["body"][0] - start["body"][0]))
    np.testing.assert_allclose(gradient["head"], 0.01 * now["head"])
    assert not any(leaf.any() for leaf in jax.tree.leaves(by_start))
    assert l2_sp(now, now) == 0 and l2_sp(now, None) > 0
    # With a weight for each parameter, as Fisher information gives.
    each = jax.tree.map(np.abs, params(2))
    found = l2_sp(now, start, weights=each)
    parts = jax.tree.map(lambda w, a, b: (w * (a - b) ** 2).sum(), each, now, start)
    np.testing.assert_allclose(found, 0.5 * sum(jax.tree.leaves(parts)), rtol=1e-12)
    assert l2_sp({"a": None, "b": jnp.ones(2)}, {"a": None, "b": jnp.zeros(2)}) == 1


def test_l2_sp_refuses_what_does_not_fit():
    now, start = params(), params(1)
    with pytest.raises(ValueError, match="start must be a prefix of params"):
        l2_sp(now, {"body": start["body"]})
    with pytest.raises(ValueError, match="start.* must be of the shape of params.*head"):
        l2_sp(now, {**start, "head": np.ones(3)})
    with pytest.raises(ValueError, match="weights.*head.* must not be negative"):
        l2_sp(now, start, weights={"body": 1.0, "head": -1.0})
    with pytest.raises(TypeError, match="params must be of floating point; params.* is int"):
        l2_sp({"a": np.ones(2, int)}, None)


def test_delta_is_a_sum_over_maps(x64):
    draw = np.random.default_rng(0)
    features, start = draw.normal(size=(2, 5, 4, 4, 3))
    weights = special.softmax(draw.normal(size=3))
    expected = [
        sum(0.5 * weights[j] * ((f - s)[..., j] ** 2).sum() for j in range(3))
        for f, s in zip(features, start, strict=True)
    ]
    found = delta(features, start, channel_weights=weights)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    moved = np.moveaxis(features, -1, 1), np.moveaxis(start, -1, 1)
    np.testing.assert_allclose(delta(*moved, channel_weights=weights, axis=1), expected, rtol=1e-12)
    np.testing.assert_allclose(
        delta(features, start), delta(features, start, channel_weights=np.full(3, 1 / 3))
    )
    gradients = jax.grad(lambda *f: delta(*f, channel_weights=weights).sum(), (0, 1))(
        features, start
    )
    np.testing.assert_allclose(gradients[0], weights * (features - start), rtol=1e-12)
    assert not gradients[1].any()
    with pytest.raises(ValueError, match="one number for each channel"):
        delta(features, start, channel_weights=np.ones(4))
    with pytest.raises(ValueError, match="axis must not be that of the batch"):
        delta(features, start, axis=0)
    with pytest.raises(ValueError, match="of one shape"):
        delta(features, start[:2])


def test_delta_attends_to_what_a_loss_needs(x64):
    rises = np.array([0.1, 2.0, 0.0])
    found = delta_channel_weights(1.0 + rises, jnp.array(1.0), temperature=0.5)
    np.testing.assert_allclose(found, special.softmax(2 * rises), rtol=1e-12)


def logits_fn(params, x):
    return jnp.tanh(x @ params["w"]) @ params["v"]


def fisher_problem(n=7):
    draw = np.random.default_rng(0)
    weights = {"w": draw.normal(size=(3, 4)), "v": draw.normal(size=(4, 3)), "none": None}
    return weights, draw.normal(size=(n, 3)), draw.integers(0, 3, n)


def test_fisher_information_is_that_of_single_examples(x64):
    weights, x, labels = fisher_problem()

    def log_probability(w, v, example, label):
        return jax.nn.log_softmax(logits_fn({"w": w, "v": v}, example))[label]

    gradient = jax.jit(jax.grad(log_probability, (0, 1)))
    exact = [np.zeros((3, 4)), np.zeros((4, 3))]
    empirical = [np.zeros((3, 4)), np.zeros((4, 3))]
    for example, label in zip(x, labels, strict=True):
        p = special.softmax(np.tanh(example @ weights["w"]) @ weights["v"])
        for k in range(3):
            found = gradient(weights["w"], weights["v"], example, k)
            for side in (0, 1):
                exact[side] += p[k] * found[side] ** 2 / len(x)
                empirical[side] += (k == label) * found[side] ** 2 / len(x)
    for options, expected in (
        ({"estimator": "exact"}, exact),
        ({"estimator": "empirical", "labels": labels}, empirical),
    ):
        found = fisher_diagonal(logits_fn, weights, x, chunk=3, **options)
        np.testing.assert_allclose(found["w"], expected[0], rtol=1e-10)
        np.testing.assert_allclose(found["v"], expected[1], rtol=1e-10)
        assert found["none"] is None
    many = np.tile(x, (400, 1))
    sampled = fisher_diagonal(
        logits_fn, weights, many, estimator="sampled", key=jax.random.key(0), chunk=700
    )
    np.testing.assert_allclose(sampled["v"], exact[1], rtol=0.15, atol=0.01)


def test_fisher_information_refuses_what_it_cannot_use():
    weights, x, labels = fisher_problem()
    with pytest.raises(ValueError, match="estimator must be 'exact', 'sampled' or 'empirical'"):
        fisher_diagonal(logits_fn, weights, x, estimator="true")
    with pytest.raises(ValueError, match="estimator='empirical' needs labels"):
        fisher_diagonal(logits_fn, weights, x, estimator="empirical")
    with pytest.raises(ValueError, match="estimator='exact' makes no use of labels"):
        fisher_diagonal(logits_fn, weights, x, estimator="exact", labels=labels)
    with pytest.raises(ValueError, match="estimator='sampled' needs key"):
        fisher_diagonal(logits_fn, weights, x, estimator="sampled")
    with pytest.raises(ValueError, match="x must hold arrays"):
        fisher_diagonal(logits_fn, weights, x[:0], estimator="exact")


def test_shrinkage_takes_the_smallest_singular_values(x64):
    f = np.random.default_rng(0).normal(size=(9, 4))
    s = np.linalg.svd(f, compute_uv=False)
    value, gradient = jax.value_and_grad(
        lambda f: losses.batch_spectral_shrinkage(f, singular_values=2)
    )(f)
    np.testing.assert_allclose(value, (s[2:] ** 2).sum(), rtol=1e-12)
    step, direction = 1e-6, np.random.default_rng(1).normal(size=f.shape)
    ends = [
        (np.linalg.svd(f + t * direction, compute_uv=False)[2:] ** 2).sum() for t in (step, -step)
    ]
    np.testing.assert_allclose(
        np.vdot(gradient, direction), (ends[0] - ends[1]) / 2 / step, rtol=1e-6
    )
    whole = losses.batch_spectral_shrinkage(f, singular_values=4)
    np.testing.assert_allclose(whole, (f**2).sum(), rtol=1e-12)
    equal = jax.grad(losses.batch_spectral_shrinkage)(np.ones((5, 3)))
    assert np.isfinite(equal).all()
    with pytest.raises(ValueError, match="singular_values must be at most 4"):
        losses.batch_spectral_shrinkage(f, singular_values=5)
