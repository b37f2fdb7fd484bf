"""One example at a time through a fully connected network, without writing its weights each time.

A step of gradient descent on one example adds one outer product to a kernel. As long as those are
kept as their factors, a step costs a few products of a matrix with a vector, and what the
meta-gradient remembers of it is a few vectors.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from jaxfer.meta.adapt import Adapted
from jaxfer.meta.online import OnlineInfo
from jaxfer.typing import Key, LabelledBatch, PyTree

ExampleLoss: TypeAlias = Callable[[Array, Array], Array]
_UNROLL = 4  # of four steps XLA makes one body: fewer copies of what the loop carries


class _Factors(NamedTuple):
    """What a walk adds to the kernels: ``-rate * inputs.T @ errors``, and what each step lost."""

    inputs: list[Array]  # of each layer [examples, in]
    errors: list[Array]  # of each layer [examples, out], the gradient at what it puts out
    losses: Array


def learn_online_mlp(
    params: PyTree,
    state: PyTree,
    trajectory: LabelledBatch,
    key: Key | None = None,
    *,
    rate: float | Array,
    loss: ExampleLoss = optax.softmax_cross_entropy_with_integer_labels,
    block: int = 32,
) -> Adapted:
    r""":func:`learn_online` for an ``Mlp`` and plain gradient descent, many times faster.

    .. math::
        W_t = W_0 - \alpha \sum_{s<t} x_s \delta_s^\top, \qquad
        x_t W_t = x_t W_0 - \alpha \sum_{s<t} \langle x_t, x_s \rangle\, \delta_s^\top

    with :math:`x_s` the input of a layer at step :math:`s`, and :math:`\delta_s` the gradient of
    the loss at its output. The sums on the right stand for :math:`W_t`, which is formed only after
    each block. Gradients in reverse mode go through the whole trajectory, exactly.

    Args:
      params: of a :class:`jaxfer.models.Mlp` without context: ``layer0``, ``layer1``, ... and
        ``head``, each ``{"kernel": [in, out], "bias": [out]}``; ReLU between them.
      state: passed on: such a network has none.
      trajectory: ``x`` ``[examples, in]`` and ``y`` ``[examples, ...]``, in the order of learning.
      key: not used; taken as :func:`learn_online` takes it.
      rate: of the descent; differentiable.
      loss: ``loss(logits, y) -> scalar`` of one example, ``[out]`` and ``[...]``.
      block: steps after which the kernels are formed. Longer ones need more products of vectors,
        shorter ones more writing.

    Returns:
      :class:`Adapted` parameters, the state as it came, and :class:`OnlineInfo`.

    Raises:
      ValueError: for a trajectory without examples, a block below 1, or parameters of another form.

    Source: the sums are gradient descent's dual form, Aizerman et al. 1964; the trajectory that of
    Javed and White 2019, algorithm 2.

    >>> params = {"head": {"kernel": jnp.zeros((1, 2)), "bias": jnp.zeros(2)}}
    >>> trajectory = LabelledBatch(jnp.array([[2.0]]), jnp.array([1]))
    >>> learn_online_mlp(params, {}, trajectory, rate=1.0).params["head"]["kernel"]
    Array([[-1.,  1.]], dtype=float32)
    """
    del key
    names = _layers(params)
    examples = len(trajectory.y)
    if not examples:
        raise ValueError("trajectory must hold at least one example; it holds none.")
    if block < 1:
        raise ValueError(f"block must be at least 1; got {block}.")

    def learn(params: PyTree, part: LabelledBatch) -> tuple[PyTree, Array]:
        kernels, biases = ([params[name][leaf] for name in names] for leaf in ("kernel", "bias"))
        walked = _walk(loss, kernels, biases, *part, jnp.asarray(rate, kernels[0].dtype))
        learned = {
            name: {"kernel": kernel - rate * x.T @ error, "bias": bias - rate * error.sum(0)}
            for name, kernel, bias, x, error in zip(
                names, kernels, biases, walked.inputs, walked.errors, strict=True
            )
        }
        return learned, walked.losses

    whole = examples // block * block
    losses = []
    if whole:
        blocks = jax.tree.map(lambda x: x[:whole].reshape(-1, block, *x.shape[1:]), trajectory)
        params, found = lax.scan(learn, params, blocks)
        losses.append(found.reshape(-1))
    if whole < examples:
        params, found = learn(params, jax.tree.map(lambda x: x[whole:], trajectory))
        losses.append(found)
    return Adapted(params, state, OnlineInfo(jnp.concatenate(losses)))


def _layers(params: PyTree) -> list[str]:
    """Names of the layers from input to output."""
    names = [*(f"layer{i}" for i in range(len(params) - 1)), "head"]
    if set(params) != set(names) or any(set(params[name]) != {"kernel", "bias"} for name in names):
        raise ValueError(
            "params must be those of an Mlp without context, layer0, layer1, ... and head, each of "
            f"a kernel and a bias; got {', '.join(params)}."
        )
    return names


def _steps(
    loss: ExampleLoss,
    kernels: list[Array],
    biases: list[Array],
    x: Array,
    y: Array,
    rate: Array,
    outputs: list[Array],
    returned: list[Array],
) -> _Factors:
    """The walk, with what its backward pass asks for the gradients of.

    Args:
      outputs: of each layer zeros ``[examples, out]``, added to what the kernel puts out.
      returned: of each layer but the first zeros ``[examples, in]``, added to what it gives back.
    """
    depth = len(kernels)
    # What the first layer sees is known beforehand: its products are one, outside of the loop.
    begun = x @ kernels[0] + biases[0] + outputs[0]
    similar = x @ x.T + 1  # the 1 is the bias's input

    def step(carry: tuple[list[Array], list[Array]], at: Any) -> tuple[Any, Array]:
        inputs, errors = carry  # rows of steps to come are 0
        index, start, similarity, label, out, back = at
        z = [start - rate * similarity @ errors[0]]
        seen = []
        for i in range(1, depth):
            h = jax.nn.relu(z[-1])
            learned = (inputs[i - 1] @ h + 1) @ errors[i]
            z.append(h @ kernels[i] + biases[i] + out[i - 1] - rate * learned)
            seen.append(h)
        value, error = jax.value_and_grad(loss)(z[-1], label)
        found = [error]
        for i in reversed(range(1, depth)):
            learned = (errors[i] @ error) @ inputs[i - 1]
            given = kernels[i] @ error + back[i - 1] - rate * learned
            error = jnp.where(z[i - 1] > 0, given, 0)
            found.insert(0, error)

        def note(rows: list[Array], new: list[Array]) -> list[Array]:
            pairs = zip(rows, new, strict=True)
            return [lax.dynamic_update_index_in_dim(*pair, index, 0) for pair in pairs]

        return (note(inputs, seen), note(errors, found)), value

    def empty(axis: int, layers: list[Array]) -> list[Array]:
        return [jnp.zeros((len(x), kernel.shape[axis]), kernel.dtype) for kernel in layers]

    (inputs, errors), losses = lax.scan(
        step,
        (empty(0, kernels[1:]), empty(1, kernels)),
        (jnp.arange(len(x)), begun, similar, y, outputs[1:], returned),
        unroll=min(_UNROLL, len(x)),
    )
    return _Factors([x, *inputs], errors, losses)


def _zeros(kernels: list[Array], x: Array) -> tuple[list[Array], list[Array]]:
    """What :func:`_steps` adds: nothing."""
    outputs = [jnp.zeros((len(x), kernel.shape[1]), kernel.dtype) for kernel in kernels]
    returned = [jnp.zeros((len(x), kernel.shape[0]), kernel.dtype) for kernel in kernels[1:]]
    return outputs, returned


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _walk(
    loss: ExampleLoss, kernels: list[Array], biases: list[Array], x: Array, y: Array, rate: Array
) -> _Factors:
    """The walk; left to itself, its backward pass would add to each kernel's gradient at each step.

    A kernel enters each step by ``h W`` and ``W e`` alone, so that its gradient is a sum of outer
    products over the steps: one product of matrices, when all the steps are done.
    """
    return _steps(loss, kernels, biases, x, y, rate, *_zeros(kernels, x))


def _walk_forwards(
    loss: ExampleLoss, kernels: list[Array], *others: Any
) -> tuple[_Factors, tuple[Any, _Factors]]:
    steps = functools.partial(_steps, loss, kernels)
    walked, pull_back = jax.vjp(steps, *others, *_zeros(kernels, others[1]))
    return walked, (pull_back, walked)


def _walk_backwards(
    loss: ExampleLoss, kept: tuple[Any, _Factors], cotangent: _Factors
) -> tuple[Any, ...]:
    del loss
    pull_back, walked = kept
    *others, outputs, returned = pull_back(cotangent)
    first, *later = walked.inputs
    kernels = [first.T @ outputs[0]]
    for h, back, out, error in zip(later, returned, outputs[1:], walked.errors[1:], strict=True):
        kernels.append(jnp.concatenate([h, back]).T @ jnp.concatenate([out, error]))
    return kernels, *others


_walk.defvjp(_walk_forwards, _walk_backwards)
