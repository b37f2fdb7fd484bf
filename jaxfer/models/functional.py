"""Networks as pure functions over plain nested dicts, whatever library they were written in."""

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import linen, nnx

from jaxfer.typing import Key, PyTree


class Apply(Protocol):
    """``apply(params, state, x, *, train, key) -> (output, state)``."""

    def __call__(
        self, params: PyTree, state: PyTree, x: PyTree, *, train: bool, key: Key | None = None
    ) -> tuple[Any, PyTree]: ...


class Network(NamedTuple):
    """A network as two pure functions.

    Attributes:
      init: ``init(key) -> (params, state)``, both plain nested dicts; ``state`` holds what is not
        trained by gradients (batch-norm statistics) and is ``{}`` for a network without any.
      apply: ``apply(params, state, x, *, train, key) -> (output, state)``; ``train`` is static,
        ``key`` feeds dropout.

    >>> network = from_nnx(lambda rngs: nnx.Linear(2, 3, rngs=rngs))
    >>> params, state = network.init(jax.random.key(0))
    >>> sorted(params), state
    (['bias', 'kernel'], {})
    """

    init: Callable[[Key], tuple[PyTree, PyTree]]
    apply: Apply


def from_nnx(
    build: Callable[[nnx.Rngs], nnx.Module],
    *,
    frozen: Sequence[str] = (),
    call: Callable[[Any, PyTree], Any] | None = None,
) -> Network:
    """A Flax NNX module as pure functions.

    Args:
      build: makes the module, ``build(rngs) -> module``; called for its structure and again by each
        ``init``.
      frozen: patterns of paths of modules, such as ``"block[01]/*"`` or ``"*"``, that stay in
        evaluation mode with ``train=True`` too: their batch statistics and dropout stand still.
        Which parameters train is the caller's, by :func:`jaxfer.adapters.partition`.
      call: ``call(module, x)``, what ``apply`` computes: ``lambda module, x: module.taps(x)``.
        ``None`` calls the module.

    Returns:
      A :class:`Network` whose ``params`` are the module's ``nnx.Param`` and whose ``state`` is
      every other variable except random streams, which ``apply`` makes anew from its ``key``.

    Raises:
      ValueError: for a pattern that matches no module.

    >>> network = from_nnx(lambda rngs: nnx.BatchNorm(3, rngs=rngs))
    >>> params, state = network.init(jax.random.key(0))
    >>> output, state = network.apply(params, state, jax.numpy.ones((4, 3)), train=True)
    >>> sorted(state), output.shape
    (['mean', 'var'], (4, 3))
    """
    skeleton = nnx.eval_shape(lambda: build(nnx.Rngs(0)))
    graphs: dict[bool, Any] = {}
    for train in (True, False):
        skeleton.train() if train else skeleton.eval()
        _set_to_evaluation(skeleton, frozen)
        graphs[train], *kinds = nnx.split(skeleton, nnx.Param, nnx.RngState, ...)
    param_shapes, random, state_shapes = kinds

    def init(key: Key) -> tuple[PyTree, PyTree]:
        _, *kinds = nnx.split(build(nnx.Rngs(key)), nnx.Param, nnx.RngState, ...)
        params, _, state = kinds
        return nnx.to_pure_dict(params), nnx.to_pure_dict(state)

    def fill(shapes: nnx.State, values: PyTree) -> nnx.State:
        filled = jax.tree.map(lambda leaf: leaf, shapes)
        nnx.replace_by_pure_dict(filled, values)
        return filled

    def start_streams(key: Key) -> nnx.State:
        """Every random stream of the module, with a key of its own, whatever its name."""
        leaves, structure = jax.tree.flatten(random)
        return jax.tree.unflatten(
            structure,
            [
                jax.random.split(jax.random.fold_in(key, i), leaf.shape)
                if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
                else jnp.zeros(leaf.shape, leaf.dtype)
                for i, leaf in enumerate(leaves)
            ],
        )

    def apply(
        params: PyTree, state: PyTree, x: PyTree, *, train: bool, key: Key | None = None
    ) -> tuple[Any, PyTree]:
        streams = start_streams(jax.random.key(0) if key is None else key)
        module = nnx.merge(
            graphs[train], fill(param_shapes, params), streams, fill(state_shapes, state)
        )
        output = module(x) if call is None else call(module, x)
        return output, nnx.to_pure_dict(
            nnx.state(module, nnx.Not(nnx.Any(nnx.Param, nnx.RngState)))
        )

    return Network(init, apply)


def _set_to_evaluation(module: nnx.Module, patterns: Sequence[str]) -> None:
    """Sets the parts of a module whose path matches, and all that they hold."""
    parts = {"/".join(map(str, path)): part for path, part in nnx.iter_graph(module)}
    parts = {name: part for name, part in parts.items() if isinstance(part, nnx.Module)}
    for pattern in patterns:
        chosen = [part for name, part in parts.items() if fnmatchcase(name, pattern)]
        if not chosen:
            raise ValueError(
                f"frozen pattern {pattern!r} matches no module; there are "
                f"{', '.join(sorted(name for name in parts if name))}."
            )
        for part in chosen:
            part.eval()


def from_linen(
    module: linen.Module, example: PyTree, *, train_argument: str | None = None
) -> Network:
    """A Flax Linen module as pure functions.

    Args:
      module: the module.
      example: an input of the right shape, to initialise with.
      train_argument: the name of the boolean that the module's ``__call__`` takes to know that it
        trains, as in ``module(x, train=True)``; ``None`` if it takes none. For a flag of the
        opposite sense, such as ``use_running_average``, wrap the module.

    Returns:
      A :class:`Network` whose ``params`` are the collection ``params`` and whose ``state`` is every
      other collection.

    >>> network = from_linen(linen.Dense(3), jax.numpy.ones((1, 2)))
    >>> params, state = network.init(jax.random.key(0))
    >>> network.apply(params, state, jax.numpy.ones((4, 2)), train=False)[0].shape
    (4, 3)
    """

    def mode(train: bool) -> dict[str, Any]:
        return {} if train_argument is None else {train_argument: train}

    def init(key: Key) -> tuple[PyTree, PyTree]:
        params_key, dropout_key = jax.random.split(key)
        variables = module.init(
            {"params": params_key, "dropout": dropout_key}, example, **mode(False)
        )
        return variables.get("params", {}), {
            name: v for name, v in variables.items() if name != "params"
        }

    def apply(
        params: PyTree,
        state: Mapping[str, PyTree],
        x: PyTree,
        *,
        train: bool,
        key: Key | None = None,
    ) -> tuple[Any, PyTree]:
        rngs = None if key is None else {"dropout": key}
        output, new = module.apply(
            {"params": params, **state}, x, **mode(train), rngs=rngs, mutable=list(state)
        )
        return output, dict(new)

    return Network(init, apply)
