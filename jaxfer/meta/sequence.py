"""Learning to adapt as reading a sequence: support examples with their labels, then a query."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxfer.meta.conditional import Answer, Embed, embed_both
from jaxfer.typing import Key, LabelledBatch, PyTree


def answer_by_sequence(embed: Embed, read: Embed, *, classes: int | None = None) -> Answer:
    r"""Answers of a sequence model that reads the support set before each query, such as SNAIL.

    .. math:: f(q; S) = \mathrm{last}\big( \mathrm{read}([s_1, y_1], \dots, [s_n, y_n], [q, 0])
        \big)

    Args:
      embed: features of images or other inputs, ``[n, features]``, see :class:`Embed`.
      read: the sequence model, ``read(params, state, [m, n + 1, features + labels], *, train, key)
        -> ([m, n + 1, outputs], state)``; causal or not, only its last outputs count.
      classes: of integer labels, which are read one-hot; ``None`` reads ``y`` ``[n, outputs]`` as
        it is.

    Returns:
      The :class:`Answer`, with outputs ``[m, outputs]``. With a key the support set is read in a
      random order: train so, since at the test its order is arbitrary.

    Source: Mishra et al. 2018, A simple neural attentive meta-learner, section 3.

    >>> embed = read = lambda params, state, x, *, train, key=None: (x, state)
    >>> answer = answer_by_sequence(embed, read, classes=2)
    >>> support = LabelledBatch(jnp.array([[1.0], [2.0]]), jnp.array([0, 1]))
    >>> answer({}, {}, support, jnp.array([[5.0]]), train=False)[0]
    Array([[5., 0., 0.]], dtype=float32)
    """

    def answer(
        params: PyTree,
        state: PyTree,
        support: LabelledBatch,
        x: PyTree,
        *,
        train: bool,
        key: Key | None = None,
    ) -> tuple[Array, PyTree]:
        order_key, embed_key, read_key = (None,) * 3 if key is None else jax.random.split(key, 3)
        shown, asked, state = embed_both(
            embed, params, state, support.x, x, train=train, key=embed_key
        )
        labels: Any = support.y if classes is None else jax.nn.one_hot(support.y, classes)
        context = jnp.concatenate([shown, labels.astype(shown.dtype)], axis=-1)
        if order_key is not None:
            context = jax.random.permutation(order_key, context, axis=0)
        blank = jnp.zeros((len(asked), context.shape[-1] - asked.shape[-1]), asked.dtype)
        last = jnp.concatenate([asked, blank], axis=-1)[:, None]
        before = jnp.broadcast_to(context[None], (len(asked), *context.shape))
        sequence = jnp.concatenate([before, last], axis=1)
        outputs, state = read(params, state, sequence, train=train, key=read_key)
        return outputs[:, -1], state

    return answer
