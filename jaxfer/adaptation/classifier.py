"""The network that is adapted: an encoder, a head on its features, and two domains through both."""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxfer.adapters import DomainStates, FeatureMap, apply_to_domains
from jaxfer.adapters.domain_statistics import DomainStatistics
from jaxfer.typing import Classification, DomainBatch, Key, LabelledBatch, Metrics, PyTree


class Encoder(Protocol):
    """Two functions that make features of inputs, as pure functions of parameters and state.

    ``jaxfer.models.Network`` is one, where its output is an array ``[n, features]``.
    """

    @property
    def init(self) -> Any:
        """``init(key) -> (params, state)``."""

    @property
    def apply(self) -> Any:
        """``apply(params, state, x, *, train, key) -> (features, state)``."""


class Classifier(NamedTuple):
    """An encoder and a head, and how two domains share the encoder's batch statistics.

    Parameters are ``{"encoder": ..., "head": ...}``, and the state is the encoder's; a method adds
    entries of its own beside them.

    Attributes:
      encoder: from inputs to features ``[n, d]``, see :class:`Encoder`.
      head: from features to logits ``[n, classes]``, such as
        ``jaxfer.adapters.linear_feature_map(d, classes)``.
      statistics: as for ``jaxfer.adapters.apply_to_domains``.

    >>> from jaxfer.adapters import linear_feature_map
    >>> Classifier(encoder=None, head=linear_feature_map(2, 3)).statistics
    'joint'
    """

    encoder: Encoder
    head: FeatureMap
    statistics: DomainStatistics = "joint"


class Outputs(NamedTuple):
    """What a classifier gives for a :class:`jaxfer.typing.DomainBatch`.

    Attributes:
      source, target: features and logits of each domain.
      labelled_target: of the target examples with labels, if there are any.
      state: the new state.

    >>> Outputs(source="s", target="t", labelled_target=None, state={}).target
    't'
    """

    source: Classification
    target: Classification
    labelled_target: Classification | None
    state: PyTree


def init_classifier(classifier: Classifier, key: Key) -> tuple[PyTree, PyTree]:
    """Initial parameters and state of a classifier.

    Args:
      classifier: the network.
      key: of the initial values.

    Returns:
      ``(params, state)``; with ``separate`` statistics a state for each domain.

    >>> from jaxfer.adaptation.toy import toy_classifier
    >>> params, state = init_classifier(toy_classifier(), jax.random.key(0))
    >>> sorted(params)
    ['encoder', 'head']
    """
    encoder_key, head_key = jax.random.split(key)
    params, state = classifier.encoder.init(encoder_key)
    if classifier.statistics == "separate":
        state = DomainStates(state, state)
    return {"encoder": params, "head": classifier.head.init(head_key)}, state


def forward(
    classifier: Classifier, params: PyTree, state: PyTree, batch: DomainBatch, key: Key | None
) -> Outputs:
    """Features and logits of both domains, in training.

    Target examples with labels go through the encoder beside those without.

    Args:
      classifier: the network.
      params, state: its own, as :func:`init_classifier` gives them; other entries are not looked
        at.
      batch: both domains.
      key: for the encoder's random numbers.

    Returns:
      The :class:`Outputs`.

    >>> from jaxfer.adaptation.toy import toy_batch, toy_classifier
    >>> params, state = init_classifier(toy_classifier(), jax.random.key(0))
    >>> forward(toy_classifier(), params, state, toy_batch(), None).target.logits.shape
    (6, 2)
    """
    target = batch.target
    if batch.labelled_target is not None:
        target = jax.tree.map(
            lambda plain, labelled: jnp.concatenate([plain, labelled]),
            target,
            batch.labelled_target.x,
        )
    features = apply_to_domains(
        classifier.encoder.apply,
        params["encoder"],
        state,
        batch.source.x,
        target,
        statistics=classifier.statistics,
        key=key,
    )
    source, both = (
        Classification(side, classifier.head.apply(params["head"], side))
        for side in (features.source, features.target)
    )
    if batch.labelled_target is None:
        return Outputs(source, both, None, features.state)
    count = len(jax.tree.leaves(batch.target)[0])
    plain, labelled = (
        jax.tree.map(cut, both) for cut in (lambda x: x[:count], lambda x: x[count:])
    )
    return Outputs(source, plain, labelled, features.state)


def predict(classifier: Classifier, params: PyTree, state: PyTree, x: PyTree) -> Classification:
    """Features and logits of target examples, with the recorded statistics.

    Args:
      classifier: the network.
      params, state: as for :func:`forward`.
      x: inputs ``[n, ...]``.

    Returns:
      Features and logits.

    >>> from jaxfer.adaptation.toy import toy_batch, toy_classifier
    >>> params, state = init_classifier(toy_classifier(), jax.random.key(0))
    >>> predict(toy_classifier(), params, state, toy_batch().target).logits.shape
    (6, 2)
    """
    state = state.target if isinstance(state, DomainStates) else state
    features, _ = classifier.encoder.apply(params["encoder"], state, x, train=False, key=None)
    return Classification(features, classifier.head.apply(params["head"], features))


def supervised_loss(
    outputs: Outputs, batch: DomainBatch, *, weights: Array | None = None
) -> tuple[Array, Metrics]:
    r"""Mean cross-entropy on the labelled source, plus that on the labelled target if there is any.

    .. math::
        L = -\sum_i a_i \ln p_{y_i}(x_i) - \frac{1}{m'} \sum_j \ln p_{y'_j}(x'_j)

    Args:
      outputs: of the batch.
      batch: with the labels.
      weights: of the source examples, ``[n]``, not negative; :math:`a` are they over their sum.
        ``None`` weighs all alike.

    Returns:
      The loss, and ``{"source_loss", "source_accuracy"}``, with ``"target_loss"`` where there are
      target labels.

    >>> from jaxfer.adaptation.toy import toy_batch, toy_classifier
    >>> params, state = init_classifier(toy_classifier(), jax.random.key(0))
    >>> outputs = forward(toy_classifier(), params, state, toy_batch(), None)
    >>> sorted(supervised_loss(outputs, toy_batch())[1])
    ['source_accuracy', 'source_loss']
    """
    loss, accuracy = _cross_entropy(outputs.source.logits, batch.source, weights)
    metrics = {"source_loss": loss, "source_accuracy": accuracy}
    if outputs.labelled_target is None or batch.labelled_target is None:
        return loss, metrics
    more, _ = _cross_entropy(outputs.labelled_target.logits, batch.labelled_target, None)
    return loss + more, {**metrics, "target_loss": more}


def _cross_entropy(
    logits: Array, batch: LabelledBatch, weights: Array | None
) -> tuple[Array, Array]:
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.y)
    right = (jnp.argmax(logits, -1) == batch.y).astype(losses.dtype)
    if weights is None:
        return jnp.mean(losses), jnp.mean(right)
    shares = weights / jnp.maximum(jnp.sum(weights), jnp.finfo(losses.dtype).tiny)
    return jnp.sum(shares * losses), jnp.mean(right)
