"""Inner rules with learned rates; any other optax transformation is an inner rule as it is."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxfer.typing import PyTree


class _StepCount(NamedTuple):
    step: jax.Array


def learned_rates(rates: PyTree) -> optax.GradientTransformation:
    r"""Gradient descent by rates that are themselves meta-parameters.

    .. math:: \phi_{k+1} = \phi_k - \alpha \odot \nabla L(\phi_k)

    Args:
      rates: of the structure of the adapted parameters, each leaf a scalar or of its parameter's
        shape (Meta-SGD). May be negative; differentiate through this call to learn them.

    Returns:
      An optax transformation without state.

    Raises:
      ValueError: from ``update``, if the structures differ.

    Source: Li et al. 2017, Meta-SGD, equation 1.

    >>> rule = learned_rates({"w": jnp.array([0.1, 1.0])})
    >>> rule.update({"w": jnp.array([1.0, 1.0])}, rule.init(None))[0]["w"]
    Array([-0.1, -1. ], dtype=float32)
    """
    return optax.stateless(lambda grads, _: jax.tree.map(lambda a, g: -a * g, rates, grads))


def learned_step_rates(rates: PyTree) -> optax.GradientTransformation:
    r"""Gradient descent by learned rates, one for each layer and step (MAML++'s LSLR).

    .. math:: \phi_{k+1} = \phi_k - \alpha_{k} \nabla L(\phi_k)

    Args:
      rates: of the structure of the adapted parameters, each leaf ``[steps]``. Steps after the last
        use the last.

    Returns:
      An optax transformation whose state counts the steps.

    Raises:
      ValueError: from ``update``, if the structures differ.

    Source: Antoniou et al. 2019, How to train your MAML, section 4.

    >>> rule = learned_step_rates({"w": jnp.array([1.0, 0.5])})
    >>> update, state = rule.update({"w": 2.0}, rule.init(None))
    >>> float(update["w"]), float(rule.update({"w": 2.0}, state)[0]["w"])
    (-2.0, -1.0)
    """

    def init(_: PyTree) -> _StepCount:
        return _StepCount(jnp.zeros((), jnp.int32))

    def update(grads: PyTree, state: _StepCount, params: Any = None) -> tuple[PyTree, _StepCount]:
        del params
        updates = jax.tree.map(
            lambda a, g: -a[jnp.minimum(state.step, a.shape[0] - 1)] * g, rates, grads
        )
        return updates, _StepCount(state.step + 1)

    return optax.GradientTransformation(init, update)
