"""Training on the source alone: what every method is measured against."""

from jaxfer.adaptation.classifier import Classifier
from jaxfer.adaptation.method import Method, minimise


def source_only(classifier: Classifier) -> Method:
    """Minimises the supervised loss; the target is looked at for batch statistics alone.

    Args:
      classifier: the network. With ``statistics="joint"`` its batch statistics see the target; with
        a network without any, nothing does.

    Returns:
      The method.

    >>> from jaxfer.adaptation.toy import toy_classifier
    >>> len(source_only(toy_classifier()).players)
    1
    """
    return minimise(classifier)
