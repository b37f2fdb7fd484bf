"""``jaxfer.adaptation.update`` under ``jit``, with LeNet's convolutions in each of their ways."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from adversarial_problem import FIRST_MOMENT_DECAY, RATE, STRENGTH, Problem, Row

from jaxfer import adaptation
from jaxfer.adapters import constant_strength, linear_feature_map, network_feature_map
from jaxfer.models import LeNet, from_nnx
from jaxfer.models.conv import Method as Convolution
from jaxfer.typing import DomainBatch, LabelledBatch
from peers import Peer
from peers.accelerator import jax_device_bytes

device_bytes = jax_device_bytes


def start(row: Row, threads: int) -> str:
    """Wakes JAX's backend; XLA threads its products over the cores that the process sees."""
    del row, threads
    return jnp.zeros(()).device.platform


def make_method(row: Row, convolution: Convolution) -> adaptation.Method:
    """As ``jaxfer.experiments.uda_digits`` makes it, at a strength that stays."""
    encoder = from_nnx(
        lambda rngs: LeNet(
            image_size=row.image_size, features=row.features, method=convolution, rngs=rngs
        )
    )
    classifier = adaptation.Classifier(encoder, linear_feature_map(row.features, row.classes))
    adversary = network_feature_map(row.critic_inputs, 1, hidden=row.hidden)
    strength = constant_strength(STRENGTH)
    if row.method == "dann":
        return adaptation.dann(classifier, adversary=adversary, strength=strength)
    return adaptation.cdan(
        classifier,
        adversary=adversary,
        strength=strength,
        random_dimension=row.random if row.method == "cdan-random" else None,
    )


def build(problem: Problem) -> dict[str, Callable[[], Peer]]:
    """Convolutions as products of patches; on an accelerator also XLA's."""
    ways: tuple[Convolution, ...] = ("patches", "lax")
    if jax.default_backend() == "cpu":  # where XLA's lose their speed in a loop
        ways = ways[:1]
    return {way: partial(jitted, problem, way) for way in ways}


def jitted(problem: Problem, convolution: Convolution) -> Peer:
    """Steps in a loop within one call, as the experiment takes them."""
    row = problem.row
    method = make_method(row, convolution)
    optimiser = optax.adam(RATE, b1=FIRST_MOMENT_DECAY)
    params, state = method.init(jax.random.key(0))
    batch = DomainBatch(
        LabelledBatch(jnp.asarray(problem.source), jnp.asarray(problem.labels)),
        jnp.asarray(problem.target),
    )
    weights = by_name(params)
    if row.method == "cdan-random":
        # Those that the method draws, by its own default key.
        keys = jax.random.split(jax.random.key(0))
        for name, key, size in zip(
            ("random_features", "random_classes"), keys, (row.features, row.classes), strict=True
        ):
            weights[name] = np.asarray(jax.random.normal(key, (size, row.random)))

    def step(number: jax.Array, carry: Any) -> Any:
        params, state, opt_state, _ = carry
        updated = adaptation.update(
            method, optimiser, params, state, opt_state, batch,
            step=number, key=jax.random.fold_in(jax.random.key(1), number),
        )  # fmt: skip
        return updated.params, updated.state, updated.opt_state, updated.metrics["loss"]

    # Training dispatches many steps at once too; their memory is asked for once.
    @partial(jax.jit, donate_argnums=0)
    def many(carry: Any, steps: int) -> tuple[Any, jax.Array]:
        number, carry = carry[0], carry[1:]
        carry = jax.lax.fori_loop(number, number + steps, step, carry)
        return (number + steps, *carry), carry[-1]

    begin = (
        jnp.array(0), params, state, adaptation.init_optimiser(method, optimiser, params),
        jnp.array(0.0),
    )  # fmt: skip
    shared = {"weights": weights}
    return Peer(
        begin,
        lambda carry: many(carry, 1),
        jax.block_until_ready,
        first_gradient,
        {"shared": shared},
        many,
    )


def first_gradient(carry: Any) -> dict[str, np.ndarray]:
    """Of the first step, from Adam's moment."""
    (opt_state,) = carry[3]
    moment = by_name(opt_state[0].mu)
    return {name: value / (1 - FIRST_MOMENT_DECAY) for name, value in moment.items()}


def by_name(tree: Any) -> dict[str, np.ndarray]:
    """``encoder/conv0/kernel`` and so on."""
    return {
        "/".join(str(getattr(part, "key", getattr(part, "idx", part))) for part in path): np.array(
            leaf
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if leaf is not None
    }
