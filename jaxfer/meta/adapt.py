"""The one inner loop: adapt to a support batch; let the gradient through, stop it, or solve it."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxfer.adapters.masks import Mask, merge, partition
from jaxfer.typing import Key, PyTree

LossFn: TypeAlias = Callable[
    [PyTree, PyTree, PyTree, Key | None], tuple[jax.Array, tuple[PyTree, Any]]
]
Gradient = Literal["through", "stop", "implicit"]

# Up to here the steps are written out, which lets XLA keep the first one's shared weights shared
# under vmap and saves the stacking of residuals; above, a scan keeps the compile time constant.
_WRITTEN_OUT = 10


class AdaptInfo(NamedTuple):
    """What happened while adapting.

    Attributes:
      losses: support loss before each step, ``[steps]``.
      residual: Euclidean norm of the last gradient of the inner objective: how far from stationary
        it stopped.

    >>> AdaptInfo(losses=jnp.array([1.0, 0.5]), residual=jnp.array(0.1)).losses.shape
    (2,)
    """

    losses: jax.Array
    residual: jax.Array


class Adapted(NamedTuple):
    """The result of :func:`adapt`.

    Attributes:
      params: the adapted parameters, of the structure of those given.
      state: the network's state after the last step.
      info: :class:`AdaptInfo`.

    >>> Adapted(params={}, state={}, info=None).state
    {}
    """

    params: PyTree
    state: PyTree
    info: Any


class _Carry(NamedTuple):
    adapted: PyTree
    state: PyTree
    optimiser: PyTree


def adapt(
    loss_fn: LossFn,
    params: PyTree,
    state: PyTree,
    batch: PyTree,
    key: Key | None = None,
    *,
    rule: optax.GradientTransformation,
    steps: int,
    mask: Mask = None,
    gradient: Gradient = "through",
    order: jax.Array | float = 1.0,
    proximal: float = 0.0,
    solver_steps: int = 5,
    remat: bool = False,
) -> Adapted:
    r"""Parameters after a few steps of an inner rule on a support batch.

    .. math::
        \phi_0 = \theta, \qquad
        \phi_{k+1} = \phi_k + \mathrm{rule}\big(
            \nabla_\phi [L(\phi_k) + \tfrac{\lambda}{2} \|\phi_k - \theta\|^2] \big)

    Differentiate through this function for a meta-gradient: ``gradient="through"`` gives the exact
    one, ``"stop"`` treats the inner gradients as constants (first order), and ``"implicit"``
    ignores the path taken and differentiates the stationarity condition :math:`\nabla L(\phi) +
    \lambda (\phi - \theta) = 0`, by ``solver_steps`` of conjugate gradients on :math:`(I + \nabla^2
    L / \lambda)^{-1}`.

    Args:
      loss_fn: ``loss_fn(params, state, batch, key) -> (loss, (state, metrics))``, ``loss`` a
        scalar.
      params: what adaptation starts from, any pytree.
      state: the network's state, ``{}`` for none; each step passes it on.
      batch: the support batch, any pytree.
      key: randomness of the loss, folded with the step; ``None`` for a loss without any.
      rule: the inner rule, any optax transformation. Made from meta-parameters, they are learned
        too.
      steps: number of inner steps, at least 0.
      mask: which parameters are adapted, see :func:`partition`; no gradient is computed for the
        others.
      gradient: ``"through"``, ``"stop"`` or ``"implicit"``.
      order: with ``"through"``, a traced weight of the second-order terms in [0, 1]: 0 equals
        ``"stop"``.
      proximal: :math:`\lambda`, strength of the pull towards ``params``; positive with
        ``"implicit"``.
      solver_steps: conjugate-gradient steps of ``"implicit"``.
      remat: recompute each step's activations in the backward pass instead of keeping them; per
        step, only the adapted parameters stay in memory.

    Returns:
      :class:`Adapted` parameters, state and info.

    Raises:
      ValueError: if ``steps`` is negative, ``gradient`` unknown, ``proximal`` negative or, with
        ``"implicit"``, 0, or if the mask does not fit.

    Source: Finn et al. 2017, MAML, equation 1; Rajeswaran et al. 2019, iMAML, equations 3 and 6.

    >>> loss_fn = lambda p, state, batch, key: (0.5 * jnp.sum((p - batch) ** 2), (state, {}))
    >>> adapt(loss_fn, jnp.array(0.0), {}, jnp.array(1.0), rule=optax.sgd(0.5), steps=2).params
    Array(0.75, dtype=float32)
    """
    if steps < 0:
        raise ValueError(f"steps must be at least 0; got {steps}.")
    if gradient not in ("through", "stop", "implicit"):
        raise ValueError(f"gradient must be 'through', 'stop' or 'implicit'; got {gradient!r}.")
    if proximal < 0 or (gradient == "implicit" and proximal == 0):
        raise ValueError(
            f"proximal must be positive with gradient='implicit', and at least 0; got {proximal}."
        )

    start, others = partition(params, mask)
    # The path of an implicit solution is not differentiated, its anchor and its frozen parameters
    # are.
    objective = _inner_objective(loss_fn, others, batch, start if proximal else None, proximal)
    walk = jax.tree.map(lax.stop_gradient, start) if gradient == "implicit" else start

    def step(carry: _Carry, index: jax.Array) -> tuple[_Carry, tuple[jax.Array, jax.Array]]:
        step_key = None if key is None else jax.random.fold_in(key, index)
        (loss, new_state), grads = jax.value_and_grad(objective, has_aux=True)(
            carry.adapted, carry.state, step_key
        )
        residual = optax.tree.norm(lax.stop_gradient(grads))
        if gradient != "through":
            grads = lax.stop_gradient(grads)
        elif not (isinstance(order, (int, float)) and order == 1):
            grads = jax.tree.map(
                lambda g: lax.stop_gradient(g) + order * (g - lax.stop_gradient(g)), grads
            )
        updates, optimiser = rule.update(grads, carry.optimiser, carry.adapted)
        adapted = optax.apply_updates(carry.adapted, updates)
        return _Carry(adapted, new_state, optimiser), (loss, residual)

    carry, (losses, residuals) = _repeat(
        jax.checkpoint(step) if remat else step,
        _Carry(walk, state, rule.init(walk)),
        steps,
        written_out=steps <= _WRITTEN_OUT and not remat,
    )
    adapted = carry.adapted
    if gradient == "implicit":
        frozen_state = lax.stop_gradient(state)
        adapted = _implicit(
            lambda phi: jax.grad(objective, has_aux=True)(phi, frozen_state, key)[0],
            adapted,
            proximal,
            solver_steps,
        )
    info = AdaptInfo(losses, residuals[-1] if steps else jnp.zeros(()))
    return Adapted(merge(adapted, others), carry.state, info)


def _inner_objective(
    loss_fn: LossFn, others: PyTree, batch: PyTree, anchor: PyTree | None, proximal: float
) -> Callable[..., tuple[jax.Array, PyTree]]:
    """The support loss of the adapted parameters alone, plus the proximal term."""

    def objective(adapted: PyTree, state: PyTree, key: Key | None) -> tuple[jax.Array, PyTree]:
        loss, (state, _) = loss_fn(merge(adapted, others), state, batch, key)
        if anchor is not None:
            distance = jax.tree.map(lambda a, b: jnp.sum(jnp.square(a - b)), adapted, anchor)
            loss = loss + 0.5 * proximal * sum(jax.tree.leaves(distance))
        return loss, state

    return objective


def _repeat(
    step: Callable[[_Carry, Any], tuple[_Carry, Any]],
    carry: _Carry,
    steps: int,
    *,
    written_out: bool,
) -> tuple[_Carry, Any]:
    """``lax.scan`` over the step index, or the same written out, which is faster while short.

    Of what is written out XLA keeps on a CPU what ``jax.checkpoint`` would have it compute again.
    """
    if steps and not written_out:
        return lax.scan(step, carry, jnp.arange(steps))
    outputs = []
    for index in range(steps):
        carry, output = step(carry, index)
        outputs.append(output)
    if not outputs:
        return carry, (jnp.zeros(0), jnp.zeros(0))
    return carry, jax.tree.map(lambda *leaves: jnp.stack(leaves), *outputs)


def _implicit(
    stationarity: Callable[[PyTree], PyTree], solution: PyTree, proximal: float, solver_steps: int
) -> PyTree:
    """``solution``, with the derivatives of the root of ``stationarity``.

    ``solution - A^-1 (F - stop_gradient(F))`` has the value of ``solution``, since the difference
    is zero, and by the implicit function theorem the right derivative, with ``A`` the symmetric
    derivative of ``F`` in its argument.
    """
    solution = lax.stop_gradient(solution)

    def linear(v: PyTree) -> PyTree:
        derivative = jax.jvp(stationarity, (solution,), (v,))[1]
        return lax.stop_gradient(jax.tree.map(lambda leaf: leaf / proximal, derivative))

    def solve(matvec: Callable[[PyTree], PyTree], b: PyTree) -> PyTree:
        return jax.scipy.sparse.linalg.cg(matvec, b, maxiter=solver_steps)[0]

    force = jax.tree.map(
        lambda leaf: (leaf - lax.stop_gradient(leaf)) / proximal, stationarity(solution)
    )
    correction = lax.custom_linear_solve(linear, force, solve, symmetric=True)
    return jax.tree.map(jnp.subtract, solution, correction)
