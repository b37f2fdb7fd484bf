"""Training on the source alone: what every method is measured against."""

from jax import Array

from jaxfer.adaptation import classifier as network
from jaxfer.adaptation.classifier import Classifier
from jaxfer.adaptation.method import Method, Player, play
from jaxfer.adapters import DomainStates
from jaxfer.typing import Classification, DomainBatch, Key, Metrics, PyTree


def source_only(classifier: Classifier) -> Method:
    """Minimises the supervised loss; of the target, what has no labels is not looked at.

    Target examples with labels, where there are some, are part of the source's batch.

    Args:
      classifier: the network. With ``statistics="separate"`` the target's record is kept on the
        side, for a method that begins with it, and nothing else of the target is.

    Returns:
      The method. Of separate statistics it predicts with the source's: with the target's it would
      be :func:`adabn`.

    >>> from jaxfer.adaptation.toy import toy_classifier
    >>> len(source_only(toy_classifier()).players)
    1
    """
    forward = network.forward if classifier.statistics == "separate" else network.forward_source

    def loss(
        params: PyTree, state: PyTree, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        del step
        outputs = forward(classifier, params, state, batch, key)
        value, metrics = network.supervised_loss(outputs, batch)
        return value, (outputs.state, metrics)

    method = play(classifier, (Player(loss),))

    def predict(params: PyTree, state: PyTree, x: PyTree) -> Classification:
        own = state.source if isinstance(state, DomainStates) else state
        return method.predict(params, own, x)

    return method._replace(predict=predict)
