"""Training on the source alone: what every method is measured against."""

from jaxfer.adaptation.classifier import Classifier
from jaxfer.adaptation.method import Method, minimise
from jaxfer.adapters import DomainStates
from jaxfer.typing import Classification, PyTree


def source_only(classifier: Classifier) -> Method:
    """Minimises the supervised loss; the target is looked at for batch statistics alone.

    Args:
      classifier: the network. With ``statistics="separate"``, or without batch statistics, nothing
        of the target reaches it; ``"joint"`` and ``"per_domain"`` ones see the target.

    Returns:
      The method. Of separate statistics it predicts with the source's: with the target's it would
      be :func:`adabn`.

    >>> from jaxfer.adaptation.toy import toy_classifier
    >>> len(source_only(toy_classifier()).players)
    1
    """
    method = minimise(classifier)

    def predict(params: PyTree, state: PyTree, x: PyTree) -> Classification:
        own = state.source if isinstance(state, DomainStates) else state
        return method.predict(params, own, x)

    return method._replace(predict=predict)
