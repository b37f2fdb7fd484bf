"""How two domains share the batch statistics of one network."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from jaxfer.typing import Key, PyTree

DomainStatistics = Literal["joint", "per_domain", "separate", "frozen"]
Apply = Callable[..., tuple[PyTree, PyTree]]


class DomainStates(NamedTuple):
    """A state of the network for each domain.

    Attributes:
      source, target: states, each as the network takes it.

    >>> DomainStates(source={"mean": 0.0}, target={"mean": 1.0}).target
    {'mean': 1.0}
    """

    source: PyTree
    target: PyTree


class DomainOutputs(NamedTuple):
    """What a network gives for two batches.

    Attributes:
      source, target: outputs, each of the size of its batch.
      state: the new state, of the form that was given.

    >>> DomainOutputs(source=[1.0], target=[2.0], state={}).target
    [2.0]
    """

    source: PyTree
    target: PyTree
    state: PyTree


def apply_to_domains(
    apply: Apply,
    params: PyTree,
    state: PyTree,
    source: PyTree,
    target: PyTree,
    *,
    statistics: DomainStatistics,
    train: bool = True,
    key: Key | None = None,
) -> DomainOutputs:
    r"""Applies one network to a source and a target batch, sharing its batch statistics or not.

    .. math::
        y_s = f_\theta(x_s; S_s), \qquad y_t = f_\theta(x_t; S_t)

    with the same parameters :math:`\theta`, and in training with the statistics :math:`S`:

    - ``joint``: of both batches together, as one batch; one record. Most published code of DANN.
    - ``per_domain``: of each batch by itself; one record, which takes in the source's first and
      then the target's. Evaluation uses a mixture.
    - ``separate``: of each batch by itself; a record for each domain, as in AdaBN.
    - ``frozen``: the recorded ones, which stay as they are.

    Args:
      apply: ``apply(params, state, x, *, train, key) -> (output, state)``.
      params: of the network.
      state: of the network; for ``separate`` a :class:`DomainStates` of two of them, which may
        begin as ``DomainStates(state, state)``.
      source, target: batches, pytrees of one structure whose leaves are ``[n, ...]`` and
        ``[m, ...]``.
      statistics: which of the four.
      train: whether the network trains. With ``frozen`` it is applied with ``train=False`` in any
        case, which turns off its dropout too.
      key: for the network's random numbers; domains that are applied one by one get keys of their
        own.

    Returns:
      The :class:`DomainOutputs`.

    Raises:
      TypeError: for ``separate`` without :class:`DomainStates`, or with them elsewhere.
      ValueError: for another name, and for ``joint`` where batches do not fit together or an output
        cannot be split.

    Source: ``separate`` is Li et al. 2018, Adaptive batch normalization for practical domain
    adaptation, section 3.

    >>> def apply(params, state, x, *, train, key):
    ...     mean = x.mean() if train else state["mean"]
    ...     return x - mean, {"mean": mean}
    >>> source, target = jnp.array([0.0, 2.0]), jnp.array([5.0, 7.0, 9.0])
    >>> apply_to_domains(apply, {}, {"mean": 0.0}, source, target, statistics="per_domain").target
    Array([-2.,  0.,  2.], dtype=float32)
    """
    if statistics not in get_args(DomainStatistics):
        raise ValueError(
            "statistics must be 'joint', 'per_domain', 'separate' or 'frozen'; "
            f"it is {statistics!r}."
        )
    if (statistics == "separate") != isinstance(state, DomainStates):
        raise TypeError(
            "state must be DomainStates(source, target) for statistics='separate', and one state "
            f"of the network otherwise; for {statistics!r} it is a {type(state).__name__}."
        )
    if statistics == "joint":
        return _together(apply, params, state, source, target, train, key)
    keys = (None, None) if key is None else tuple(jax.random.split(key))
    train = train and statistics != "frozen"
    if statistics == "separate":
        source_output, source_state = apply(params, state.source, source, train=train, key=keys[0])
        target_output, target_state = apply(params, state.target, target, train=train, key=keys[1])
        return DomainOutputs(source_output, target_output, DomainStates(source_state, target_state))
    source_output, source_state = apply(params, state, source, train=train, key=keys[0])
    before = state if statistics == "frozen" else source_state
    target_output, target_state = apply(params, before, target, train=train, key=keys[1])
    after = state if statistics == "frozen" else target_state
    return DomainOutputs(source_output, target_output, after)


def _together(
    apply: Apply,
    params: PyTree,
    state: PyTree,
    source: PyTree,
    target: PyTree,
    train: bool,
    key: Key | None,
) -> DomainOutputs:
    structures: list[Any] = [jax.tree.structure(side) for side in (source, target)]
    leaves = [jnp.shape(leaf) for leaf in jax.tree.leaves((source, target))]
    half = len(leaves) // 2
    if (
        structures[0] != structures[1]
        or not all(leaves)
        or any(a[1:] != b[1:] for a, b in zip(leaves[:half], leaves[half:], strict=True))
        or any(len({shape[0] for shape in side}) != 1 for side in (leaves[:half], leaves[half:]))
    ):
        shapes = jax.tree.map(jnp.shape, source), jax.tree.map(jnp.shape, target)
        raise ValueError(
            "source and target must be one batch but for their sizes with statistics='joint'; "
            f"their shapes are {shapes[0]} and {shapes[1]}."
        )
    count, total = leaves[0][0], leaves[0][0] + leaves[half][0]
    both = jax.tree.map(lambda *sides: jnp.concatenate(sides), source, target)
    output, state = apply(params, state, both, train=train, key=key)

    def split(leaf: Any) -> tuple[Any, Any]:
        if jnp.shape(leaf)[:1] != (total,):
            raise ValueError(
                f"every output must be an array [{total}, ...], to be split between the domains; "
                f"one has the shape {jnp.shape(leaf)}. Take statistics='per_domain' for it."
            )
        return leaf[:count], leaf[count:]

    halves = jax.tree.map(split, output)
    source_output, target_output = jax.tree.transpose(
        jax.tree.structure(output), jax.tree.structure((0, 0)), halves
    )
    return DomainOutputs(source_output, target_output, state)
