"""A shift in the plane, a network small enough for it, and whole trainings as one program."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxfer import adaptation
from jaxfer.adaptation import Classifier
from jaxfer.adapters import linear_feature_map, network_feature_map
from jaxfer.experiments.adaptation_methods import METHODS, Recipe
from jaxfer.typing import DomainBatch, LabelledBatch

STEPS = 20


def others(mark, names, fast):
    """Parameters of a test, all but a few of them marked as slow or thorough."""
    return [name if name in fast else pytest.param(name, marks=mark) for name in names]


def quickly(f):
    """Compiled in less time, to slower code."""
    return jax.jit(f, compiler_options={"xla_backend_optimization_level": 0})


def equal(tree, other):
    """Bit for bit."""
    return jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), tree, other))


def made(name, **options):
    """A method of the registry on a small network; with batch normalisation where it needs that."""
    network = classifier(batch_norm=name in ("tent", "adabn"))
    return METHODS[name](recipe(network, steps=STEPS, **options))


class Encoder(NamedTuple):
    """A hidden layer, features, and batch normalisation of them if asked for."""

    inputs: int = 2
    features: int = 8
    batch_norm: bool = False

    @property
    def network(self):
        return network_feature_map(self.inputs, self.features, hidden=(16,))

    def init(self, key):
        params, state = {"dense": self.network.init(key)}, {}
        if self.batch_norm:
            ones, zeros = jnp.ones(self.features), jnp.zeros(self.features)
            params["norm"] = {"scale": ones, "bias": zeros}
            state = {"mean": zeros, "variance": ones}
        return params, state

    def apply(self, params, state, x, *, train, key):
        features = self.network.apply(params["dense"], x)
        if not self.batch_norm:
            return jnp.tanh(features), state
        now = state
        if train:
            now = {"mean": features.mean(0), "variance": features.var(0)}
            state = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, state, now)
        unit = (features - now["mean"]) / jnp.sqrt(now["variance"] + 1e-5)
        return jnp.tanh(params["norm"]["scale"] * unit + params["norm"]["bias"]), state


def classifier(classes=3, **options):
    encoder = Encoder(**options)
    return Classifier(encoder, linear_feature_map(encoder.features, classes))


def recipe(network, *, classes=3, steps=30, hidden=(16,), **options):
    return Recipe(network, network.encoder.features, classes, steps, hidden=hidden, **options)


def blobs(n=300, turn=0.0, move=(0.0, 0.0), seed=0):
    """Three classes around the origin, turned by an angle and then moved."""
    draw = np.random.default_rng(seed)
    y = np.arange(n) % 3
    angle = 2 * np.pi * y / 3 + turn
    x = 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.4 * draw.normal(size=(n, 2))
    return (x + np.asarray(move)).astype(np.float32), y


def batch(n=12, m=8, labelled=None):
    x, y = blobs(n)
    z, t = blobs(m, turn=0.5, seed=1)
    few = None if labelled is None else LabelledBatch(z[:labelled] + 0.1, t[:labelled])
    return jax.tree.map(jnp.asarray, DomainBatch(LabelledBatch(x, y), z, few, np.arange(m)))


def run(method, source, target, *, steps, size=32, rate=0.01, optimiser=None, start=None):
    """``train(seed) -> (params, state, metrics [steps])``: draws batches, takes steps."""
    (x, y), z = source, target
    optimiser = optax.adam(rate) if optimiser is None else optimiser

    def train(seed):
        key = jax.random.key(seed)
        params, state = method.init(key, start)
        opt_state = adaptation.init_optimiser(method, optimiser, params)

        def one(carry, step):
            keys = jax.random.split(jax.random.fold_in(key, step), 3)
            i, j = (
                jax.random.randint(k, (size,), 0, len(side))
                for k, side in zip(keys, (x, z), strict=False)
            )
            drawn = DomainBatch(LabelledBatch(x[i], y[i]), z[j], None, j)
            updated = adaptation.update(method, optimiser, *carry, drawn, step=step, key=keys[2])
            return (updated.params, updated.state, updated.opt_state), updated.metrics

        carry, metrics = jax.lax.scan(one, (params, state, opt_state), jnp.arange(steps))
        return carry[0], carry[1], metrics

    return train
