"""The network that is adapted: an encoder, a head on its features, and two domains through both."""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

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


def init_classifier(
    classifier: Classifier, key: Key, start: tuple[PyTree, PyTree] | None = None
) -> tuple[PyTree, PyTree]:
    """Initial parameters and state of a classifier.

    Args:
      classifier: the network.
      key: of the initial values.
      start: ``(params, state)`` of a trained one, whose encoder, head and statistics are taken
        instead; of separate statistics those that it predicts with, the target's.

    Returns:
      ``(params, state)``; with ``separate`` statistics a state for each domain.

    >>> from jaxfer.adaptation.toy import toy_classifier
    >>> params, state = init_classifier(toy_classifier(), jax.random.key(0))
    >>> sorted(params)
    ['encoder', 'head']
    """
    if start is None:
        encoder_key, head_key = jax.random.split(key)
        encoder, state = classifier.encoder.init(encoder_key)
        params = {"encoder": encoder, "head": classifier.head.init(head_key)}
    else:
        params = {name: start[0][name] for name in ("encoder", "head")}
        state = start[1]
    if classifier.statistics == "separate":
        return params, state if isinstance(state, DomainStates) else DomainStates(state, state)
    return params, state.target if isinstance(state, DomainStates) else state


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
    features = apply_to_domains(
        classifier.encoder.apply,
        params["encoder"],
        state,
        batch.source.x,
        _whole_target(batch),
        statistics=classifier.statistics,
        key=key,
    )
    source, both = (
        Classification(side, classifier.head.apply(params["head"], side))
        for side in (features.source, features.target)
    )
    return Outputs(source, *_parts(both, batch), features.state)


def forward_source(
    classifier: Classifier, params: PyTree, state: PyTree, batch: DomainBatch, key: Key | None
) -> Outputs:
    """Features and logits of the source alone, in training, for what must not see the target.

    Target examples with labels go through the encoder as part of the source's batch.

    Args:
      classifier, params, state, batch, key: as for :func:`forward`, without separate statistics;
        the target examples without labels are not looked at.

    Returns:
      The :class:`Outputs`, with nothing for the target.

    >>> from jaxfer.adaptation.toy import toy_batch, toy_classifier
    >>> params, state = init_classifier(toy_classifier(), jax.random.key(0))
    >>> forward_source(toy_classifier(), params, state, toy_batch(), None).source.logits.shape
    (6, 2)
    """
    x = batch.source.x
    if batch.labelled_target is not None:
        x = jax.tree.map(lambda *both: jnp.concatenate(both), x, batch.labelled_target.x)
    train = classifier.statistics != "frozen"
    features, after = classifier.encoder.apply(
        params["encoder"], state, x, train=train, key=key if train else None
    )
    both = Classification(features, classifier.head.apply(params["head"], features))
    source, labelled = _first(both, len(batch.source.y))
    nothing = Classification(*(part[:0] for part in both))
    return Outputs(
        source,
        nothing,
        None if batch.labelled_target is None else labelled,
        after if train else state,
    )


def forward_target(
    classifier: Classifier, params: PyTree, state: PyTree, batch: DomainBatch, key: Key | None
) -> tuple[Classification, Classification | None, PyTree]:
    """Features and logits of the target alone, in training, for methods that have no source.

    Args:
      classifier, params, state, batch, key: as for :func:`forward`; the source is not looked at.

    Returns:
      Those of the examples without labels, those of the ones with labels if there are any, and the
      new state.

    >>> from jaxfer.adaptation.toy import toy_batch, toy_classifier
    >>> params, state = init_classifier(toy_classifier(), jax.random.key(0))
    >>> forward_target(toy_classifier(), params, state, toy_batch(), None)[0].logits.shape
    (6, 2)
    """
    own = state.target if isinstance(state, DomainStates) else state
    train = classifier.statistics != "frozen"
    features, after = classifier.encoder.apply(
        params["encoder"], own, _whole_target(batch), train=train, key=key if train else None
    )
    both = Classification(features, classifier.head.apply(params["head"], features))
    after = after if train else own
    state = state._replace(target=after) if isinstance(state, DomainStates) else after
    return *_parts(both, batch), state


def _whole_target(batch: DomainBatch) -> PyTree:
    """The target examples, followed by those with labels."""
    if batch.labelled_target is None:
        return batch.target
    return jax.tree.map(lambda *both: jnp.concatenate(both), batch.target, batch.labelled_target.x)


def _parts(
    both: Classification, batch: DomainBatch
) -> tuple[Classification, Classification | None]:
    if batch.labelled_target is None:
        return both, None
    return _first(both, len(jax.tree.leaves(batch.target)[0]))


def _first(both: Classification, count: int) -> tuple[Classification, Classification]:
    """The first so many examples, and the others."""
    return Classification(*(x[:count] for x in both)), Classification(*(x[count:] for x in both))


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
    outputs: Outputs,
    batch: DomainBatch,
    *,
    weights: Array | None = None,
    axis_name: str | None = None,
) -> tuple[Array, Metrics]:
    r"""Mean cross-entropy on the labelled source, plus that on the labelled target if there is any.

    .. math::
        L = -\sum_i a_i \ln p_{y_i}(x_i) - \frac{1}{m'} \sum_j \ln p_{y'_j}(x'_j)

    Args:
      outputs: of the batch.
      batch: with the labels.
      weights: of the source examples, ``[n]``, not negative; :math:`a` are they over their sum.
        ``None`` weighs all alike.
      axis_name: mapped axis over which the batch is spread; the weights then sum over all of it,
        and the mean over devices is the loss.

    Returns:
      The loss, and ``{"source_loss", "source_accuracy"}``, with ``"target_loss"`` where there are
      target labels.

    >>> from jaxfer.adaptation.toy import toy_batch, toy_classifier
    >>> params, state = init_classifier(toy_classifier(), jax.random.key(0))
    >>> outputs = forward(toy_classifier(), params, state, toy_batch(), None)
    >>> sorted(supervised_loss(outputs, toy_batch())[1])
    ['source_accuracy', 'source_loss']
    """
    loss, accuracy = _cross_entropy(outputs.source.logits, batch.source, weights, axis_name)
    more, metrics = labelled_loss(outputs.labelled_target, batch)
    return loss + more, {"source_loss": loss, "source_accuracy": accuracy, **metrics}


def labelled_loss(
    labelled_target: Classification | None, batch: DomainBatch
) -> tuple[Array, Metrics]:
    """Mean cross-entropy on the labelled target, 0 where there is none.

    Args:
      labelled_target: of the labelled target examples.
      batch: with their labels.

    Returns:
      The loss, and ``{"target_loss"}`` where there are target labels.

    >>> from jaxfer.adaptation.toy import toy_batch
    >>> float(labelled_loss(None, toy_batch())[0])
    0.0
    """
    if labelled_target is None or batch.labelled_target is None:
        return jnp.zeros(()), {}
    loss, _ = _cross_entropy(labelled_target.logits, batch.labelled_target)
    return loss, {"target_loss": loss}


def _cross_entropy(
    logits: Array,
    batch: LabelledBatch,
    weights: Array | None = None,
    axis_name: str | None = None,
) -> tuple[Array, Array]:
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.y)
    right = (jnp.argmax(logits, -1) == batch.y).astype(losses.dtype)
    if weights is None:
        return jnp.mean(losses), jnp.mean(right)
    total = jnp.sum(weights)
    total = total if axis_name is None else lax.pmean(total, axis_name)
    shares = weights / jnp.maximum(total, jnp.finfo(losses.dtype).tiny)
    return jnp.sum(shares * losses), jnp.mean(right)
