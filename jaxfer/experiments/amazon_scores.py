"""What is asked of the networks of all seeds and strengths at once, of a pair of domains."""

from functools import partial

import jax
import jax.numpy as jnp

from jaxfer import evaluation
from jaxfer.experiments import spanned_dann as training
from jaxfer.experiments.spanned_dann import Nets, Side
from jaxfer.transferability import proxy_a_distance
from jaxfer.typing import Key


@jax.jit
def evaluate(nets: Nets, products: jax.Array, starts: jax.Array, labels: jax.Array) -> jax.Array:
    """Accuracy ``[seeds, strengths]``."""
    logits = training.predict(nets, products, starts).logits
    return (logits.argmax(-1) == labels[None, :, None]).mean(1)


def collapsed(logits: jax.Array, target: Side) -> jax.Array:
    """Which networks ``[seeds, strengths]`` have, by what they say of the held-out target."""
    held_out = jnp.take_along_axis(logits, target.held_out[..., None, None], 1)

    def rejected(own: jax.Array, source_only: jax.Array) -> jax.Array:
        return evaluation.reject_collapsed(own, source_only)[0]

    over_strengths = jax.vmap(rejected, (1, None))
    return jax.vmap(over_strengths)(held_out, held_out[:, :, 0])


@partial(jax.jit, static_argnames=("sources", "seeds"))
def proxy_a_distances(features: jax.Array, sources: int, seeds: tuple[int, ...]) -> jax.Array:
    """Of source and target in each network's hidden layer, ``[seeds, strengths]``."""

    def of_one(features: jax.Array, key: Key) -> jax.Array:
        return proxy_a_distance(features[:sources], features[sources:], key=key)[0]

    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    return jax.lax.map(lambda one: jax.vmap(of_one, (1, None))(*one), (features, keys))


def reverse_scores(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Accuracy ``[seeds, strengths]`` of the reverse classifiers; its ties go to the lower risk.

    ``logits`` are ``[seeds, k, strengths, classes]`` and ``labels`` ``[seeds, k]``.
    """
    truth = labels[:, :, None]
    logs = jax.nn.log_softmax(logits)
    risk = -jnp.take_along_axis(logs, truth[..., None], -1)[..., 0].mean(1)
    return (logits.argmax(-1) == truth).mean(1) - 1e-4 * jnp.minimum(risk, 5.0)
