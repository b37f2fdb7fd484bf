"""The floor under jaxfer's step: its matrix products alone, on operands that stay where they are.

The products are read off the step's own jaxpr, and timed on the same devices with the same threads.
Forward, backward and the backward of both need each of them; what else the step does (patches,
normalisation, Adam) is what it takes longer.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from problem import Problem

from peers import Peer
from peers.accelerator import jax_device_bytes
from peers.jaxfer_maml import outer_step, start

__all__ = ["build", "device_bytes", "start"]

device_bytes = jax_device_bytes


class Product(NamedTuple):
    """A ``dot_general``: shapes of its operands and which of their axes are contracted, batched."""

    left: tuple[int, ...]
    right: tuple[int, ...]
    dimensions: Any

    @property
    def size(self) -> tuple[int, int, int, int]:
        """``(batch, m, k, n)`` of ``[m, k] @ [k, n]``."""
        (contracted, _), (batch, _) = self.dimensions
        k = math.prod(self.left[axis] for axis in contracted)
        b = math.prod(self.left[axis] for axis in batch)
        return b, math.prod(self.left) // (b * k), k, math.prod(self.right) // (b * k)


def products(jaxpr: Any, times: int = 1) -> Iterator[tuple[Product, int]]:
    """Every matrix product of a jaxpr, loops multiplied out, with how often it is computed."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            left, right = (operand.aval.shape for operand in equation.invars)
            yield Product(left, right, equation.params["dimension_numbers"]), times
        length = equation.params["length"] if equation.primitive.name == "scan" else 1
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from products(inner, times * length)


def build(problem: Problem) -> dict[str, Callable[[], Peer]]:
    """Compiles the products."""

    def bare() -> Peer:
        outer = outer_step(problem.row, problem.weights)
        mapped, state = outer.mapped()
        counts: Counter[Product] = Counter()
        for product, count in products(jax.make_jaxpr(mapped)(state, outer.arrays).jaxpr):
            counts[product] += count

        def multiply(seed: jax.Array) -> jax.Array:
            total = jnp.zeros(())
            for product, count in counts.items():
                left = jax.random.normal(jax.random.key(seed), product.left)
                right = jax.random.normal(jax.random.key(seed + 1), product.right)
                total += repeated(left, right, product.dimensions, count)
            return total

        seeds = jnp.arange(len(outer.devices))
        everywhere = jax.pmap(multiply, devices=list(outer.devices)).lower(seeds).compile()
        return Peer(
            None,
            lambda state: (state, everywhere(seeds)[0]),
            jax.block_until_ready,
            lambda state: {},
            {"products": table(counts, problem.row.tasks // len(outer.devices))},
        )

    return {"dot_general": bare}


def repeated(left: jax.Array, right: jax.Array, dimensions: Any, count: int) -> jax.Array:
    """So many products one after the other: each puts its first entry into the next one's operand.

    XLA takes a product that stays the same out of the loop, optimisation barriers or not.
    """

    def once(_: jax.Array, left: jax.Array) -> jax.Array:
        entry = jnp.tanh(lax.dot_general(left, right, dimensions).ravel()[0])
        return lax.dynamic_update_slice(left, entry.reshape([1] * left.ndim), [0] * left.ndim)

    return lax.fori_loop(0, count, once, left).ravel()[0]


def table(counts: Counter[Product], tasks: int) -> list[dict[str, float]]:
    """``batch, m, k, n``, how often a task needs it, and a task's arithmetic; largest first."""
    sizes: Counter[tuple[int, int, int, int]] = Counter()
    for product, count in counts.items():
        batch, m, k, n = product.size
        sizes[batch, min(m, n), k, max(m, n)] += count  # transposed, it is the same product
    rows = [
        {"batch": batch, "m": m, "k": k, "n": n, "per_task": batch * count / tasks,
         "megaflop": 2e-6 * batch * m * k * n * count / tasks}
        for (batch, m, k, n), count in sizes.items()
    ]  # fmt: skip
    return sorted(rows, key=lambda row: -row["megaflop"])
