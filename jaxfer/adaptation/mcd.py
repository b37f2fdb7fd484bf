"""MCD: two heads that disagree wherever they may, and features that leave them no room."""

import jax.numpy as jnp
from jax import Array

from jaxfer.adaptation.classifier import Classifier, Outputs, forward, supervised_loss
from jaxfer.adaptation.method import Method, Player, entries, play
from jaxfer.adapters import FeatureMap
from jaxfer.losses import classifier_discrepancy
from jaxfer.typing import Classification, DomainBatch, Key, Metrics, PyTree


def mcd(classifier: Classifier, *, feature_turns: int = 4) -> Method:
    r"""Maximum classifier discrepancy: three players, in turns.

    .. math::
        \text{A:} \min_{\theta, h, h'} L_s(h) + L_s(h'), \qquad
        \text{B:} \min_{h, h'} L_s(h) + L_s(h') - d(h, h'), \qquad
        \text{C:} \min_\theta d(h, h')

    with :math:`d` the mean absolute difference of the two predictions on the target. The second
    head is of the form of the first one.

    Args:
      classifier: the network.
      feature_turns: how many times C has its turn in each step; the paper's 4 is its best.

    Returns:
      The method; it predicts by the mean of the logits of both heads. Metrics: ``discrepancy``.

    Source: Saito et al. 2018, Maximum classifier discrepancy for unsupervised domain adaptation,
    section 3.3, equations 3 to 6.

    >>> import jax
    >>> from jaxfer.adaptation.toy import toy_classifier
    >>> method = mcd(toy_classifier())
    >>> [player.repeats for player in method.players]
    [1, 1, 4]
    """
    head = classifier.head

    def both(
        params: PyTree, state: PyTree, batch: DomainBatch, key: Key
    ) -> tuple[Outputs, Array, Array, Metrics]:
        outputs = forward(classifier, params, state, batch, key)
        loss, metrics = supervised_loss(outputs, batch)
        other = outputs._replace(
            source=_with_head(head, params["second_head"], outputs.source),
            target=_with_head(head, params["second_head"], outputs.target),
            labelled_target=None
            if outputs.labelled_target is None
            else _with_head(head, params["second_head"], outputs.labelled_target),
        )
        other_loss, _ = supervised_loss(other, batch)
        apart = jnp.mean(classifier_discrepancy(outputs.target.logits, other.target.logits))
        return outputs, loss + other_loss, apart, {**metrics, "discrepancy": apart}

    def supervised(
        params: PyTree, state: PyTree, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        outputs, loss, _, metrics = both(params, state, batch, key)
        return loss, (outputs.state, metrics)

    def disagree(
        params: PyTree, state: PyTree, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        outputs, loss, apart, metrics = both(params, state, batch, key)
        return loss - apart, (outputs.state, metrics)

    def agree(
        params: PyTree, state: PyTree, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        outputs, _, apart, metrics = both(params, state, batch, key)
        return apart, (outputs.state, metrics)

    players = (
        Player(supervised),
        Player(disagree, trains=entries("head", "second_head")),
        Player(agree, trains=entries("encoder"), repeats=feature_turns),
    )
    method = play(classifier, players, parts={"second_head": head})

    def predict(params: PyTree, state: PyTree, x: PyTree) -> Classification:
        first = method.predict(params, state, x)
        second = _with_head(head, params["second_head"], first)
        return first._replace(logits=(first.logits + second.logits) / 2)

    return method._replace(predict=predict)


def _with_head(head: FeatureMap, params: PyTree, side: Classification) -> Classification:
    return side._replace(logits=head.apply(params, side.features))
