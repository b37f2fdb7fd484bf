"""jaxfer's networks and partition of parameters, steps in a loop within one call."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from finetune_problem import FIRST_MOMENT_DECAY, RATE, Problem, Row
from flax import nnx

from jaxfer.adapters import by_pattern, merge, partition, path_name
from jaxfer.models import (
    BertConfig,
    ImageClassifier,
    Network,
    ResNet,
    ResNetConfig,
    TextClassifier,
    add_low_rank,
    from_nnx,
)
from jaxfer.typing import PyTree, Tokens
from peers import Peer
from peers.accelerator import jax_device_bytes

device_bytes = jax_device_bytes
TRAINED = {"full": ("*",), "lora": ("*/low_rank/*", "head/*"), "probe": ("head/*",)}


def start(row: Row, threads: int) -> str:
    """Wakes JAX's backend; XLA threads its products over the cores that the process sees."""
    del row, threads
    return jnp.zeros(()).device.platform


def make_network(row: Row) -> Network:
    """As ``finetune_text`` and ``finetune_images`` make it, without dropout."""

    def build(rngs: nnx.Rngs) -> nnx.Module:
        if row.network == "resnet18":
            config = ResNetConfig((row.blocks,) * 4, row.widths)
            encoder = ResNet(config, rngs=rngs)
            return ImageClassifier(
                encoder, features=config.features, classes=row.classes, rngs=rngs
            )  # fmt: skip
        sizes = BertConfig(
            vocabulary=row.vocabulary, width=row.width, layers=row.layers, heads=row.heads,
            hidden=row.hidden, dropout=0.0,
        )  # fmt: skip
        module = TextClassifier(sizes, classes=row.classes, dropout=0.0, rngs=rngs)
        if row.tuning == "lora":
            add_low_rank(
                module, "*/attention/query", "*/attention/value", rank=row.rank, alpha=row.rank,
                rngs=rngs,
            )  # fmt: skip
        return module

    return from_nnx(build, frozen=() if row.tuning == "full" else ("encoder",))


def build(problem: Problem) -> dict[str, Callable[[], Peer]]:
    """One way."""
    return {"partition": partial(jitted, problem)}


def jitted(problem: Problem) -> Peer:
    """AdamW on what trains."""
    network = make_network(problem.row)
    params, state = network.init(jax.random.key(0))
    if problem.row.tuning == "lora":  # not from 0, where one of the factors has no gradient
        params = jax.tree_util.tree_map_with_path(
            lambda path, leaf: leaf + 0.01 if path_name(path).endswith("low_rank/up") else leaf,
            params,
        )
    trained, frozen = partition(params, by_pattern(*TRAINED[problem.row.tuning]))
    optimiser = optax.adamw(RATE, b1=FIRST_MOMENT_DECAY)
    labels = jnp.asarray(problem.labels)
    x: PyTree = jnp.asarray(problem.x)
    if problem.mask is not None:
        x = Tokens(x, jnp.asarray(problem.mask))

    def step(_: Any, carry: Any, frozen: PyTree, x: PyTree) -> Any:
        trained, state, opt_state, _ = carry

        def loss_fn(trained: PyTree) -> tuple[jax.Array, PyTree]:
            output, new = network.apply(merge(trained, frozen), state, x, train=True)
            each = optax.softmax_cross_entropy_with_integer_labels(output.logits, labels)
            return jnp.mean(each), new

        (loss, state), gradient = jax.value_and_grad(loss_fn, has_aux=True)(trained)
        updates, opt_state = optimiser.update(gradient, opt_state, trained)
        return optax.apply_updates(trained, updates), state, opt_state, loss

    # Training dispatches many steps at once too; their memory is asked for once.
    @partial(jax.jit, donate_argnums=0)
    def many(carry: Any, frozen: PyTree, x: PyTree, steps: int) -> tuple[Any, jax.Array]:
        carry = jax.lax.fori_loop(
            0, steps, lambda number, carry: step(number, carry, frozen, x), carry
        )
        return carry, carry[-1]

    weights = by_name(params)
    begin = (trained, state, optimiser.init(trained), jnp.array(0.0))
    shared = {"weights": weights, "trained": tuple(by_name(trained))}
    return Peer(
        begin,
        lambda carry: many(carry, frozen, x, 1),
        jax.block_until_ready,
        first_gradient,
        {"shared": shared},
        lambda carry, steps: many(carry, frozen, x, steps),
    )


def first_gradient(carry: Any) -> dict[str, np.ndarray]:
    """Of the first step, from Adam's moment."""
    moment = by_name(carry[2][0].mu)
    return {name: value / (1 - FIRST_MOMENT_DECAY) for name, value in moment.items()}


def by_name(tree: PyTree) -> dict[str, np.ndarray]:
    """``encoder/block0/up/kernel`` and so on."""
    return {
        path_name(path): np.array(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }  # fmt: skip
