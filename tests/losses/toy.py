"""Two domains of two Gaussian classes, and a linear feature that an adversary has to turn.

The second coordinate tells the classes in both domains. The first tells them too, but is shifted in
the target: whoever uses it is wrong there, and tells the domains apart.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxfer.adapters import dann_strength, reverse_gradient


def domains(n=200, shift=4.0, seed=0):
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


def trainer(adversarial, outputs, *, classes=2, both_heads=False, steps=400):
    """Trains a source classifier and an adversary on one feature: ``train(strength)``.

    ``adversarial(params, source_feature, target_feature, key)`` is what the adversary minimises;
    with ``both_heads`` it is a classifier of the source too. The feature follows its gradient
    slowly, so that its opponents can keep up with it.
    """
    x, y, z, _ = domains()
    schedule = dann_strength(steps)
    rule = optax.multi_transform(
        {"feature": optax.sgd(0.05), "opponents": optax.adam(0.05)},
        {"feature": "feature", "head": "opponents", "adversary": "opponents"},
    )

    def loss(params, step, key, strength):
        params = unit(params)
        f, g = x @ params["feature"], z @ params["feature"]
        supervised = cross_entropy(apply(params["head"], f), y)
        if both_heads:
            supervised += cross_entropy(apply(params["adversary"], f), y)
        reversed_features = reverse_gradient((f, g), strength * schedule(step))
        return supervised + adversarial(params, *reversed_features, key)

    keys = jax.random.split(jax.random.key(1))
    begin = {
        "feature": jnp.array([0.7, 0.7]),
        "head": curved(keys[0], classes),
        "adversary": curved(keys[1], outputs),
    }

    @jax.jit
    def train(strength):
        def one(carry, step):
            params, state = carry
            key = jax.random.fold_in(jax.random.key(0), step)
            gradient = jax.grad(loss)(params, step, key, strength)
            updates, state = rule.update(gradient, state)
            return (optax.apply_updates(params, updates), state), None

        return unit(jax.lax.scan(one, (begin, rule.init(begin)), jnp.arange(steps))[0][0])

    return train


def judge(params):
    """Accuracy of the domains by the feature, and of the target's classes by the classifier."""
    x, _, z, t = domains()
    f, g = x @ params["feature"], z @ params["feature"]
    found = jnp.argmax(apply(params["head"], g), axis=1)
    return domain_accuracy(f, g), float(np.mean(found == t))


def curved(key, outputs):
    return {"w": 0.5 * jax.random.normal(key, (2, outputs)), "b": jnp.zeros(outputs)}


def apply(layer, feature):
    """Of the feature and of a bend of it: in a line, two classifiers could differ on one side alone."""
    both = jnp.stack([feature, 0.5 * feature * jnp.tanh(feature)], axis=1)
    return both @ layer["w"] + layer["b"]


def cross_entropy(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
