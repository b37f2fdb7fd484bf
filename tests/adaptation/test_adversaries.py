"""Adversarial methods: the encoder's gradient against plain formulas without any reversal."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxfer import adaptation
from jaxfer.adaptation.toy import toy_batch, toy_classifier
from jaxfer.adapters import constant_strength, network_feature_map, random_multilinear_map
from jaxfer.experiments.adaptation_methods import METHODS
from jaxfer.transferability import proxy_a_distance

from .problems import blobs, classifier, others, recipe, run

STRENGTH = constant_strength(0.3)
NETWORK = toy_classifier()


def linear(params, x):
    return x @ params["weight"] + params["bias"]


def scores(adversary, f):
    hidden = jnp.maximum(linear(adversary[0], f), 0)
    return linear(adversary[1], hidden)


def critics(params, f, g):
    return scores(params["adversary"], f)[:, 0], scores(params["adversary"], g)[:, 0]


def binary(u, v):
    return (jnp.log1p(jnp.exp(-u)).mean() + jnp.log1p(jnp.exp(v)).mean()) / 2


def dann(params, f, g, logits):
    return binary(*critics(params, f, g))


def cdan(params, f, g, logits):
    both = []
    for side, z in zip((f, g), logits, strict=True):
        p = jax.lax.stop_gradient(jnp.exp(z) / jnp.exp(z).sum(1, keepdims=True))
        both.append(jnp.concatenate([side[:, k : k + 1] * p for k in range(3)], axis=1))
    return binary(*critics(params, *both))


def sure_first(params, f, g, logits):
    """CDAN+E: examples that are sure count for more."""
    both, weights = [], []
    for side, z in zip((f, g), logits, strict=True):
        p = jax.nn.softmax(z)
        both.append((side[:, :, None] * p[:, None, :]).reshape(len(side), -1))
        weight = 1 + jnp.exp(jnp.sum(p * jnp.log(p), axis=1))
        weights.append(weight / weight.sum())
    u, v = critics(params, *both)
    first, second = jnp.log1p(jnp.exp(-u)), jnp.log1p(jnp.exp(v))
    return (weights[0] @ first + weights[1] @ second) / 2


def at_random(params, f, g, logits):
    """CDAN of some of the product's directions."""
    both = (
        random_multilinear_map(side, jax.nn.softmax(z), key=jax.random.key(4), dimension=7)
        for side, z in zip((f, g), logits, strict=True)
    )
    return binary(*critics(params, *both))


def mdd(params, f, g, logits):
    (p, q) = (jax.nn.softmax(scores(params["adversary"], side)) for side in (f, g))
    p, q = (
        jnp.take_along_axis(x, z.argmax(1)[:, None], 1) for x, z in zip((p, q), logits, strict=True)
    )
    return -(4 * jnp.log(p).mean() + jnp.log(1 - q).mean())


def wdgrl(params, f, g, logits):
    u, v = critics({"adversary": params["critic"]}, f, g)
    return v.mean() - u.mean()


def osbp(params, f, g, logits):
    p = jax.nn.softmax(linear(params["head"], g))[:, -1]
    return -(jnp.log(p) + jnp.log(1 - p)).mean() / 2


def adversary(inputs, outputs=1):
    return network_feature_map(inputs, outputs, hidden=(5,))


CASES = {
    "dann": (adaptation.dann(NETWORK, adversary=adversary(3), strength=STRENGTH), dann),
    "cdan": (adaptation.cdan(NETWORK, adversary=adversary(6), strength=STRENGTH), cdan),
    "cdan+e": (
        adaptation.cdan(NETWORK, adversary=adversary(6), strength=STRENGTH, entropy_weights=True),
        sure_first,
    ),
    "cdan at random": (
        adaptation.cdan(
            NETWORK,
            adversary=adversary(7),
            strength=STRENGTH,
            random_dimension=7,
            random_key=jax.random.key(4),
        ),
        at_random,
    ),
    # With nothing known of the target's classes yet, and without the penalty: DANN.
    "pada": (
        adaptation.pada(
            NETWORK, adversary=adversary(3), classes=2, strength=STRENGTH, momentum=1.0
        ),
        dann,
    ),
    "bsp": (
        adaptation.bsp(NETWORK, adversary=adversary(3), strength=STRENGTH, penalty=0.0),
        dann,
    ),
    "mdd": (adaptation.mdd(NETWORK, adversary=adversary(3, 2), strength=STRENGTH), mdd),
    "wdgrl": (
        adaptation.wdgrl(NETWORK, critic=adversary(3), strength=STRENGTH, penalty=0.0),
        wdgrl,
    ),
    "osbp": (adaptation.osbp(toy_classifier(classes=3), strength=STRENGTH), osbp),
}


@pytest.mark.parametrize("name", others(pytest.mark.slow, CASES, {"dann"}))
def test_the_encoder_gets_the_adversarys_gradient_reversed(name, x64):
    """Times the strength, on top of that of the cross-entropy; the adversary gets its own."""
    method, reference = CASES[name]
    params, state = jax.tree.map(lambda x: x.astype(float), method.init(jax.random.key(0)))
    batch = toy_batch(8)

    def supervised(params):
        logits = linear(params["head"], linear(params["encoder"], batch.source.x))
        shares = jnp.exp(logits) / jnp.exp(logits).sum(1, keepdims=True)
        return -jnp.log(shares[jnp.arange(8), batch.source.y]).mean()

    def adversarial(params):
        f, g = (linear(params["encoder"], x) for x in (batch.source.x, batch.target))
        logits = [linear(params["head"], side) for side in (f, g)]
        return reference(params, f, g, jax.lax.stop_gradient(logits))

    def objective(params, player):
        options = {"step": jnp.array(0), "key": jax.random.key(1)}
        seen = batch
        if player.sees is not None:
            seen, _ = player.sees(params, state, batch, **options)
        return player.loss(params, state, seen, **options)[0]

    @jax.jit
    def gradients(params):
        first, last = (
            jax.grad(objective)(params, p) for p in (method.players[0], method.players[-1])
        )
        return first, last, jax.grad(supervised)(params), jax.grad(adversarial)(params)

    first, last, plain, opposed = gradients(params)
    strength = float(STRENGTH(0))
    for entry in ("weight", "bias"):
        reversed_part = last["encoder"][entry] - plain["encoder"][entry]
        expected = -strength * opposed["encoder"][entry]
        np.testing.assert_allclose(reversed_part, expected, rtol=1e-6, atol=1e-9)
    assert np.abs(opposed["encoder"]["weight"]).max() > 1e-3
    opponent = {"wdgrl": "critic", "osbp": "head"}.get(name, "adversary")
    own = opposed[opponent]
    if name == "osbp":  # whose head is the adversary, and learns the source too
        own = jax.tree.map(jnp.add, own, plain["head"])
    for mine, theirs in zip(jax.tree.leaves(first[opponent]), jax.tree.leaves(own), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-9)


def test_addas_encoder_gets_the_gradient_of_exchanged_domains(x64):
    """Its opponent stays as it is meanwhile, and the source's encoder."""
    method = adaptation.adda(NETWORK, adversary=adversary(3))
    params, state = jax.tree.map(lambda x: x.astype(float), method.init(jax.random.key(0)))
    params["encoder"] = jax.tree.map(lambda x: x + 0.1, params["encoder"])
    batch = toy_batch(8)

    def objective(params):
        options = {"step": jnp.array(0), "key": jax.random.key(1)}
        return method.players[-1].loss(params, state, batch, **options)[0]

    def taken_for_the_source(encoder):
        f = linear(params["source_encoder"], batch.source.x)
        g = linear(encoder, batch.target)
        u, v = critics(params, f, g)
        return binary(v, u)

    found = jax.grad(objective)(params)
    expected = jax.grad(taken_for_the_source)(params["encoder"])
    for entry in ("weight", "bias"):
        np.testing.assert_allclose(found["encoder"][entry], expected[entry], rtol=1e-6, atol=1e-9)
        assert (found["source_encoder"][entry] == 0).all()
    assert np.abs(expected["weight"]).max() > 1e-3
    assert method.players[-1].trains(params)["adversary"] is False


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adda", "dann", "cdan", "cdan+e", "dann+bsp", "pada", "wdgrl"])
def test_the_domains_are_harder_to_tell_apart(name):
    """For a linear classifier of them that is fitted afresh; and the target's classes easier.

    The critics have a hidden layer, and learn ten times as fast as the encoder that they pull. A
    linear critic of ADDA's turns in circles instead: the features run from it to the other side.
    """
    sides = blobs(300), blobs(300, move=(1.6, 0.8), seed=1)
    (x, y), (z, t) = jax.tree.map(jnp.asarray, sides)
    network, pretrained = classifier(), adaptation.source_only(classifier())
    if name == "adda":
        method = adaptation.adda(network, adversary=network_feature_map(8, 1, hidden=(16,)))
    else:
        method = METHODS[name](recipe(network, steps=600))
    optimiser = optax.multi_transform(
        {"slow": optax.adam(0.001, b1=0.5), "fast": optax.adam(0.01, b1=0.5)},
        lambda params: jax.tree.map_with_path(
            lambda path, _: "slow" if path[0].key == "encoder" else "fast", params
        ),
    )

    @jax.jit
    @jax.vmap
    def trained(seed):
        start = run(pretrained, (x, y), z, steps=300)(seed)[:2]
        ours = run(method, (x, y), z, steps=600, size=64, optimiser=optimiser, start=start)
        params, state, _ = ours(seed)
        found = []
        for net, right in (
            (start[0], pretrained.predict(*start, z)),
            (params, method.predict(params, state, z)),
        ):
            f, g = (
                network.encoder.apply(encoder, {}, side, train=False, key=None)[0]
                for encoder, side in (
                    (net.get("source_encoder", net["encoder"]), x), (net["encoder"], z),
                )
            )  # fmt: skip
            distance, _ = proxy_a_distance(f, g, key=jax.random.key(0))
            found.append((0.5 + distance / 4, (right.logits.argmax(-1) == t).mean()))
        return found

    before, after = np.asarray(trained(jnp.arange(3))).mean(-1)
    assert after[0] < before[0] - 0.05, (before, after)
    assert after[1] > max(before[1] + 0.1, 0.95), (before, after)
