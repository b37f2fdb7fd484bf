"""Every adversarial loss with a reversed gradient: what reaches the features, and what it does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer.adapters import (
    multilinear_map,
    random_multilinear_map,
    reverse_gradient,
)
from jaxfer.losses import (
    classifier_discrepancy,
    domain_adversarial,
    entropy_conditioning,
    gradient_penalty,
    margin_disparity,
    open_set_boundary,
    wasserstein_critic,
)

from ..divergences import checks
from . import toy

KEY = jax.random.key(0)


def drawn(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def dann(adversary, f, g, logits, other):
    return domain_adversarial(jnp.tanh(f @ adversary[:, 0]), jnp.tanh(g @ adversary[:, 1]))


def cdan(adversary, f, g, logits, other):
    p, q = jax.nn.softmax(logits), jax.nn.softmax(other)
    w = adversary.reshape(-1)[:12]
    return domain_adversarial(
        multilinear_map(f, p) @ w,
        multilinear_map(g, q) @ w,
        source_weights=entropy_conditioning(logits),
        target_weights=entropy_conditioning(other),
    )


def random_cdan(adversary, f, g, logits, other):
    p, q = jax.nn.softmax(logits), jax.nn.softmax(other)
    mapped = [
        random_multilinear_map(x, r, key=KEY, dimension=12) @ adversary.reshape(-1)[:12]
        for x, r in ((f, p), (g, q))
    ]
    return domain_adversarial(*mapped)


def mdd(adversary, f, g, logits, other):
    return -margin_disparity(logits, f @ adversary, other, g @ adversary)


def mcd(adversary, f, g, logits, other):
    return -classifier_discrepancy(other, g @ adversary).mean()


def wdgrl(adversary, f, g, logits, other):
    critic = lambda h: jnp.tanh(h @ adversary).sum(1)  # noqa: E731
    fixed = jax.lax.stop_gradient((f, g))
    return -wasserstein_critic(critic(f), critic(g)) + gradient_penalty(critic, *fixed, key=KEY)


def osbp(adversary, f, g, logits, other):
    return open_set_boundary(g @ adversary).mean()


@pytest.mark.parametrize("loss", [dann, cdan, random_cdan, mdd, mcd, wdgrl, osbp])
def test_the_features_get_the_reversed_gradient_times_the_strength(loss, x64):
    """And the adversary its own, whatever the strength."""
    f, g = drawn(6, 4), drawn(8, 4, seed=1) + 0.5
    logits, other = drawn(6, 3, seed=2), drawn(8, 3, seed=3)
    strengths = np.array([0.0, 0.3, 1.0])

    @checks.quickly
    def gradients(adversary, f, g):
        def plain(adversary, f, g):
            return loss(adversary, f, g, logits, other)

        def against(strength):
            def turned(adversary, f, g):
                return plain(adversary, *reverse_gradient((f, g), strength))

            return jax.value_and_grad(turned, argnums=(0, 1, 2))(adversary, f, g)

        both = jax.value_and_grad(plain, argnums=(0, 1, 2))(adversary, f, g)
        return both, jax.vmap(against)(strengths)

    (value, plain), (values, found) = gradients(drawn(4, 3, seed=4), f, g)
    np.testing.assert_allclose(values, np.full(3, value), rtol=1e-14)
    for index, strength in enumerate(strengths):
        np.testing.assert_allclose(found[0][index], plain[0], rtol=1e-12, atol=1e-15)
        for mine, theirs in zip(found[1:], plain[1:], strict=True):
            np.testing.assert_allclose(mine[index], -strength * theirs, rtol=1e-12, atol=1e-15)
    assert np.abs(plain[0]).max() > 1e-3  # the adversary learns
    assert np.abs(plain[2]).max() > 1e-3  # and the features of the target could
    source_too = loss not in (mcd, osbp)
    assert (np.abs(plain[1]).max() > 1e-3) == source_too


def domain_critic(params, f, g, key):
    return domain_adversarial(*(toy.apply(params["adversary"], x)[:, 0] for x in (f, g)))


def conditional_critic(params, f, g, key):
    """Of the feature times each class's probability."""
    scores, weights = [], []
    for x in (f, g):
        logits = jax.lax.stop_gradient(toy.apply(params["head"], x))
        p = jax.nn.softmax(logits)
        mapped = multilinear_map(jnp.stack([x, jnp.ones_like(x)], axis=1), p)
        scores.append(mapped @ params["adversary"]["w"].reshape(-1))
        weights.append(entropy_conditioning(logits))
    return domain_adversarial(*scores, source_weights=weights[0], target_weights=weights[1])


def margin_adversary(params, f, g, key):
    logits = [toy.apply(params[name], x) for x in (f, g) for name in ("head", "adversary")]
    return -margin_disparity(*logits, margin=2.0)


def lipschitz_critic(params, f, g, key):
    critic = lambda h: toy.apply(params["adversary"], h[:, 0])[:, 0]  # noqa: E731
    fixed = [jax.lax.stop_gradient(x)[:, None] for x in (f, g)]
    difference = wasserstein_critic(critic(f[:, None]), critic(g[:, None]))
    return -difference + gradient_penalty(critic, *fixed, key=key)


def second_classifier(params, f, g, key):
    """MCD: both heads fit the source, and differ on the target as far as they can."""
    heads = params["head"], params["adversary"]
    return -classifier_discrepancy(*(toy.apply(head, g) for head in heads)).mean()


def unknown_boundary(params, f, g, key):
    """OSBP: the classifier's third class is the unknown one."""
    return open_set_boundary(toy.apply(params["head"], g)).mean()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("adversarial", "outputs", "strength", "options"),
    [
        pytest.param(domain_critic, 1, 1.0, {}, id="dann"),
        pytest.param(conditional_critic, 2, 1.0, {}, id="cdan"),
        pytest.param(margin_adversary, 2, 1.0, {}, id="mdd"),
        pytest.param(lipschitz_critic, 1, 0.1, {}, id="wdgrl"),
        pytest.param(second_classifier, 2, 1.0, {"both_heads": True}, id="mcd"),
        pytest.param(unknown_boundary, 1, 1.0, {"classes": 3}, id="osbp"),
    ],
)
def test_the_domains_are_harder_to_tell_apart(adversarial, outputs, strength, options):
    """And the target's classes easier, for the feature that shifts is the one that is left."""
    train = toy.trainer(adversarial, outputs, **options)
    before, after = toy.judge(train(0.0)), toy.judge(train(strength))
    assert after[0] < before[0] - 0.04 and after[1] > before[1] + 0.15
