"""jaxfer, as ``jaxfer.experiments.uda_amazon`` runs it: all networks of a pair as one program."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from amazon_problem import Problem, Row, results

from jaxfer.experiments import spanned_dann as training
from jaxfer.experiments.uda_amazon import reverse_scores
from peers import Peer
from peers.accelerator import jax_device_bytes

device_bytes = jax_device_bytes


def start(row: Row, threads: int) -> str:
    """Wakes JAX's backend; XLA threads its products over the cores that the process sees."""
    del row, threads
    return jnp.zeros(()).device.platform


def build(problem: Problem) -> dict[str, Callable[[], Peer]]:
    """One way of writing it."""

    def spanned() -> Peer:
        row = problem.row
        seeds = tuple(range(row.seeds))
        sides = [
            training.Side(jnp.asarray(train), jnp.asarray(held_out))
            for train, held_out in zip(problem.train, problem.held_out, strict=True)
        ]
        strengths = jnp.asarray(row.lambdas)
        ys = jnp.asarray(problem.labels)
        truth = jnp.broadcast_to(
            jnp.pad(ys, (0, row.examples))[:, None], (row.seeds, 2 * row.examples, row.strengths)
        )

        def keys(number: int) -> jax.Array:
            return jax.random.split(jax.random.key(number), row.seeds)

        def fit(nets: training.Nets, span: training.Span, reverse: bool, labels: jax.Array) -> Any:
            fitting = training.begin(nets)
            for number in range(row.passes):
                fitting, _ = training.advance(
                    fitting, span, strengths, *(sides[::-1] if reverse else sides), labels,
                    keys=keys(number + reverse * row.passes), at=number, rate=row.rate,
                    steps=row.steps, batch=row.batch,
                )  # fmt: skip
            return fitting

        def step(_: Any) -> tuple[Any, jax.Array]:
            span = training.Span(
                *training.inner_products(problem.x, problem.x, problem.weights)
            )  # fmt: skip
            nets = training.start(span, seeds, row.strengths)
            forward = fit(nets, span, False, truth)
            labels = jnp.argmax(training.predict(forward.best, *span).logits, -1)
            back = fit(forward.best, span, True, labels)
            logits = training.predict_at(back.best, span, sides[0].held_out).logits
            reverse_scores(logits, ys[sides[0].held_out]).block_until_ready()
            return (forward.risk, back.risk), jnp.mean(forward.risk)

        shape = jax.ShapeDtypeStruct((row.seeds, 1, row.hidden), jnp.float32)
        none = training.Span(jnp.zeros((1, 1)), jnp.zeros(shape.shape))
        first = jax.tree.map(lambda leaf: np.asarray(leaf[:, 0]), training.start(none, seeds, 1))
        orders = [
            jax.vmap(
                lambda key, a, b: training.draw_order(
                    key, a, b, steps=row.steps, batch=row.batch
                )
            )(keys(number), *[side.train for side in (sides if number < row.passes
                                                      else sides[::-1])])
            for number in range(2 * row.passes)
        ]  # fmt: skip
        shared = {
            "params": {
                "bias": first.params["encoder"]["bias"],
                "head": first.params["head"]["weight"],
                "head_bias": first.params["head"]["bias"],
                "critic": first.params["adversary"]["weight"],
                "critic_bias": first.params["adversary"]["bias"],
            },
            "orders": np.stack([np.asarray(order) for order in orders]),
        }
        return Peer(None, step, jax.block_until_ready, lambda s: results(*s), {"shared": shared})

    return {"spanned": spanned}
