"""Two domains of two Gaussian classes, and a linear feature that an adversary has to turn.

The second coordinate tells the classes in both domains. The first tells them too, but is shifted in
the target: whoever uses it is wrong there, and tells the domains apart.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxfer.adapters import dann_strength, reverse_gradient


def domains(n=200, shift=3.0, seed=0):
    draw = np.random.default_rng(seed)
    sides = []
    for offset in (0.0, shift):
        y = draw.integers(0, 2, n)
        x = draw.normal(size=(n, 2)) + np.array([1.2, 1.5]) * (2 * y[:, None] - 1)
        sides += [(x + np.array([offset, 0.0])).astype(np.float32), y]
    return sides


def domain_accuracy(first, second):
    """That of the best threshold of one feature, between 1/2 and 1."""
    values = np.concatenate([first, second])
    is_second = np.repeat([0.0, 1.0], [len(first), len(second)])[np.argsort(values)]
    below = np.concatenate([[0], np.cumsum(is_second)]) / len(second)
    others = np.concatenate([[0], np.cumsum(1 - is_second)]) / len(first)
    return 0.5 + 0.5 * np.abs(below - others).max()


def unit(params):
    """The direction of the feature alone counts: its length could shrink without an end."""
    w = params["feature"]
    return params | {"feature": w / jnp.linalg.norm(w)}


def train(adversarial, outputs, strength, *, classes=2, both_heads=False, steps=400, rate=0.03):
    """A source classifier and an adversary on one feature, by Adam, all in the same step.

    ``adversarial(params, source_feature, target_feature, key)`` is what the adversary minimises;
    with ``both_heads`` it is a classifier of the source too.
    """
    x, y, z, _ = domains()
    rule, schedule = optax.adam(rate), dann_strength(steps, end=strength)

    def loss(params, step, key):
        params = unit(params)
        f, g = x @ params["feature"], z @ params["feature"]
        supervised = cross_entropy(apply(params["head"], f), y)
        if both_heads:
            supervised += cross_entropy(apply(params["adversary"], f), y)
        return supervised + adversarial(params, *reverse_gradient((f, g), schedule(step)), key)

    @jax.jit
    def run(params):
        def one(carry, step):
            params, state = carry
            gradient = jax.grad(loss)(params, step, jax.random.fold_in(jax.random.key(0), step))
            updates, state = rule.update(gradient, state)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(one, (params, rule.init(params)), jnp.arange(steps))[0][0]

    keys = jax.random.split(jax.random.key(1))
    begin = {
        "feature": jnp.array([0.7, 0.7]),
        "head": affine(keys[0], classes),
        "adversary": affine(keys[1], outputs),
    }
    return unit(run(begin))


def judge(params):
    """Accuracy of the domains by the feature, and of the target's classes by the classifier."""
    x, _, z, t = domains()
    f, g = x @ params["feature"], z @ params["feature"]
    found = jnp.argmax(apply(params["head"], g), axis=1)
    return domain_accuracy(f, g), float(np.mean(found == t))


def affine(key, outputs):
    return {"w": jax.random.normal(key, (1, outputs)), "b": jnp.zeros(outputs)}


def apply(layer, feature):
    return feature[:, None] @ layer["w"] + layer["b"]


def cross_entropy(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
