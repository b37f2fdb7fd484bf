"""What a learner is, and how its meta-gradient is taken over many tasks."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import jaxpr_as_fun

from jaxfer.meta.adapt import Adapted
from jaxfer.typing import Key, PyTree, Task


class MetaGradient(NamedTuple):
    """What one task contributes to an outer step.

    Attributes:
      grads: of the structure of the meta-parameters, for an optimiser to descend.
      state: the network's state after the task.
      metrics: what the loss reported on the query batch, and ``loss`` itself.

    >>> MetaGradient(grads={}, state={}, metrics={"loss": jnp.array(1.0)}).state
    {}
    """

    grads: PyTree
    state: PyTree
    metrics: Any


class Learner(NamedTuple):
    """A way to learn to adapt, as pure functions.

    Attributes:
      init: ``init(params) -> meta``, the meta-parameters: ``params`` and whatever else is learned.
      adapt: ``adapt(meta, state, support, key) -> Adapted``, what is done with a new task.
      gradient: ``gradient(meta, state, task, key, step) -> MetaGradient``, for one task; ``step``
        is the (traced) number of the outer step, for schedules.

    >>> Learner(init=lambda params: params, adapt=None, gradient=None).init({"w": 1.0})
    {'w': 1.0}
    """

    init: Callable[[PyTree], PyTree]
    adapt: Callable[[PyTree, PyTree, PyTree, Key | None], Adapted]
    gradient: "GradientFn"


class GradientFn(Protocol):
    """``gradient(meta, state, task, key, step) -> MetaGradient``."""

    def __call__(
        self, meta: PyTree, state: PyTree, task: Task, key: Key | None, step: jax.Array | int
    ) -> MetaGradient: ...


def mean_over_tasks(fn: Callable[..., PyTree], tasks: PyTree, *, chunk: int = 1) -> PyTree:
    r"""The mean of a function over tasks, in the memory of ``chunk`` of them.

    .. math:: \frac{1}{T} \sum_{i=1}^T f(\mathrm{task}_i)

    Coupled only through its mean, a meta-gradient need not hold all tasks at once: chunks of tasks
    are vmapped, and a scan adds them up. On a CPU one task at a time stays in the cache and is
    fastest; on an accelerator take all.

    Args:
      fn: ``fn(task) -> pytree of arrays``, such as a learner's gradient.
      tasks: a pytree whose leaves are ``[tasks, ...]``: tasks, or the keys they are drawn from.
      chunk: how many tasks are vmapped at a time; must divide their number.

    Returns:
      The mean, of the structure of ``fn``'s result; booleans and integers become floats.

    Raises:
      ValueError: if ``chunk`` does not divide the number of tasks.

    Warns:
      UserWarning: if ``fn`` holds a ``lax.conv_general_dilated``, as ``nnx.Conv`` does, which
        per-task weights make slow.

    >>> mean_over_tasks(lambda x: x**2, jnp.array([1.0, 2.0, 3.0, 4.0]), chunk=2)
    Array(7.5, dtype=float32)
    """
    count = len(jax.tree.leaves(tasks)[0])
    if chunk < 1 or count % chunk:
        raise ValueError(f"chunk must divide the {count} tasks; got {chunk}.")
    first = jax.tree.map(lambda leaf: leaf[0], tasks)
    traced, result = jax.make_jaxpr(fn, return_shape=True)(first)
    if _has_convolution(traced.jaxpr) and (chunk > 1 or jax.default_backend() == "cpu"):
        warnings.warn(
            "a learner adapts the weights of a lax.conv_general_dilated (nnx.Conv, linen.Conv) to "
            "each task: vmapped it is a grouped convolution, about 20 times slower on a CPU, and "
            "in a loop there 12 times; jaxfer.models.PatchConv computes the same without that.",
            stacklevel=2,
        )
    structure = jax.tree.structure(result)

    def chunk_sum(chunk_of_tasks: PyTree) -> list[jax.Array]:
        def flat(task: PyTree) -> list[jax.Array]:
            leaves = jaxpr_as_fun(traced)(*jax.tree.leaves(task))
            return [jnp.asarray(leaf, jnp.result_type(leaf, float)) for leaf in leaves]

        if chunk == 1:
            return flat(jax.tree.map(lambda leaf: leaf[0], chunk_of_tasks))
        return jax.tree.map(lambda leaf: jnp.sum(leaf, 0), jax.vmap(flat)(chunk_of_tasks))

    if count == chunk:
        total = chunk_sum(tasks)
    else:
        chunks = jax.tree.map(
            lambda leaf: leaf.reshape((count // chunk, chunk) + leaf.shape[1:]), tasks
        )
        zero = [
            jnp.zeros(leaf.shape, jnp.result_type(leaf.dtype, float))
            for leaf in jax.tree.leaves(result)
        ]
        total, _ = lax.scan(
            lambda sums, c: (jax.tree.map(jnp.add, sums, chunk_sum(c)), None), zero, chunks
        )
    return jax.tree.unflatten(structure, [leaf / count for leaf in total])


def _has_convolution(jaxpr: Any) -> bool:
    return any(equation.primitive.name == "conv_general_dilated" for equation in _equations(jaxpr))


def _equations(jaxpr: Any) -> Iterator[Any]:
    """All equations of a jaxpr and of those inside it."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, (tuple, list)) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from _equations(inner)
