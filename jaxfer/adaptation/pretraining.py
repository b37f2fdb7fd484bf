"""Training on the source alone, for methods that begin with a trained network."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax
from jax import Array

from jaxfer.adaptation.classifier import Classifier
from jaxfer.adaptation.method import Player, Remembered, entries
from jaxfer.adapters import DomainStates
from jaxfer.typing import DomainBatch, Key, Metrics, PyTree


def pretraining(classifier: Classifier, steps: int, *, encoder: str = "encoder") -> Player:
    r"""The player who minimises the loss on the source in the first steps, without the target.

    .. math:: \min_{\theta, h} \; -\frac{1}{n} \sum_i \ln p_{y_i}(x_i)

    Args:
      classifier: the network.
      steps: how many.
      encoder: the entry of the parameters that is the source's encoder.

    Returns:
      The player. Metrics: ``source_loss`` and ``source_accuracy``.

    >>> from jaxfer.adaptation.toy import toy_classifier
    >>> player = pretraining(toy_classifier(), 100)
    >>> player.when(99), player.when(100)
    (True, False)
    """

    def loss(
        params: PyTree, state: PyTree, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        whole = state.network if isinstance(state, Remembered) else state
        own = whole.source if isinstance(whole, DomainStates) else whole
        features, own = classifier.encoder.apply(
            params[encoder], own, batch.source.x, train=True, key=key
        )
        logits = classifier.head.apply(params["head"], features)
        value = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, batch.source.y))
        right = jnp.mean(jnp.argmax(logits, 1) == batch.source.y)
        whole = whole._replace(source=own) if isinstance(whole, DomainStates) else own
        state = state._replace(network=whole) if isinstance(state, Remembered) else whole
        return value, (state, {"source_loss": value, "source_accuracy": right})

    return Player(loss, trains=entries(encoder, "head"), when=lambda step: step < steps)


def from_step(steps: int) -> Callable[[Any], Any] | None:
    """When a player has its turns who begins after so many steps.

    Args:
      steps: how many.

    Returns:
      A function for ``Player.when``.

    >>> from_step(100)(100)
    True
    """
    return (lambda step: step >= steps) if steps else None
