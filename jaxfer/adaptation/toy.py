"""A classifier and a batch of a few numbers, to show and test methods on."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxfer.adaptation.classifier import Classifier
from jaxfer.adapters import linear_feature_map
from jaxfer.typing import DomainBatch, Key, LabelledBatch, PyTree


class _LinearEncoder(NamedTuple):
    inputs: int
    features: int

    def init(self, key: Key) -> tuple[PyTree, PyTree]:
        return linear_feature_map(self.inputs, self.features).init(key), {}

    def apply(
        self, params: PyTree, state: PyTree, x: Array, *, train: bool, key: Key | None
    ) -> tuple[Array, PyTree]:
        del train, key
        return linear_feature_map(self.inputs, self.features).apply(params, x), state


def toy_classifier(inputs: int = 2, features: int = 3, classes: int = 2) -> Classifier:
    """A linear encoder and a linear head.

    Args:
      inputs, features, classes: their sizes.

    Returns:
      The classifier.

    >>> toy_classifier().head.apply is not None
    True
    """
    return Classifier(_LinearEncoder(inputs, features), linear_feature_map(features, classes))


def toy_batch(points: int = 6, *, shift: float = 1.0, seed: int = 0) -> DomainBatch:
    """Two classes on either side of 0 in the first coordinate; the target moved in the second.

    Args:
      points: in each domain.
      shift: of the target.
      seed: of what is drawn.

    Returns:
      The batch.

    >>> toy_batch(4).source.y
    Array([0, 1, 0, 1], dtype=int32)
    """
    labels = jnp.arange(points) % 2
    keys = jax.random.split(jax.random.key(seed))
    source, target = (
        jnp.stack([2.0 * labels - 1, jnp.zeros(points)], axis=1)
        + 0.1 * jax.random.normal(key, (points, 2))
        for key in keys
    )
    return DomainBatch(LabelledBatch(source, labels), target + jnp.array([0.0, shift]))
