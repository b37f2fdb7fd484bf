"""How a run of the one-shot protocol is answered: each drawing alone, by one view or by several."""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp

from jaxfer import meta
from jaxfer.data.episodes import to_floats
from jaxfer.experiments.maml_omniglot import Judged
from jaxfer.typing import Key, LabelledBatch

Warp: TypeAlias = Callable[[Key, jax.Array], jax.Array]
"""Changes each of some images as another hand might have drawn it."""


def answer_run(
    answer: meta.Answer,
    judged: Judged,
    shown: jax.Array,
    asked: jax.Array,
    *,
    views: int = 1,
    warp: Warp | None = None,
) -> jax.Array:
    r"""How probable each drawing that was shown is the one asked, by a mean over views.

    .. math:: \log \frac1V \sum_{v=1}^V p\big(k \mid w_v(q), w_v(s_1), \dots, w_v(s_n)\big)

    with :math:`w_1` leaving all drawings as they are, and the others warping each in its own way,
    the same ways for whatever is asked.

    Args:
      answer: of a method, already trained.
      judged: its parameters and state.
      shown: uint8 ``[way, height, width]``, one drawing of each character.
      asked: uint8 ``[items, height, width]``.
      views: how many.
      warp: what makes a view of drawings; needed for more than one.

    Returns:
      Logarithms of probabilities, ``[items, way]``.
    """
    labels = jnp.arange(len(shown), dtype=jnp.int32)

    def alone(image: jax.Array) -> jax.Array:
        drawings = jnp.concatenate([to_floats(shown), to_floats(image[None])])

        def view(number: jax.Array) -> jax.Array:
            x = drawings
            if warp is not None and views > 1:
                key = jax.random.fold_in(jax.random.key(0), number)
                x = jnp.where(number == 0, x, warp(key, x))
            logits, _ = answer(
                judged.params["params"], judged.state, LabelledBatch(x[:-1], labels), x[-1:],
                train=False,
            )  # fmt: skip
            return jax.nn.log_softmax(logits[0])

        found = jax.lax.map(view, jnp.arange(views))
        return jax.nn.logsumexp(found, axis=0) - jnp.log(views)

    return jax.lax.map(alone, asked)
