"""AdaBN: the target is normalised by its own statistics."""

from jaxfer.adaptation.classifier import Classifier
from jaxfer.adaptation.method import Method, minimise


def adabn(classifier: Classifier) -> Method:
    """Adaptive batch normalisation: the supervised loss, with batch statistics for each domain.

    The parameters learn from the source alone, normalised by its own statistics. Those of the
    target are recorded beside them, and predictions take these.

    Args:
      classifier: the network, with batch normalisation, or nothing is adapted; its ``statistics``
        are of no account.

    Returns:
      The method.

    Source: Li et al. 2018, Adaptive batch normalization for practical domain adaptation, algorithm
    1. Deviation: the target's statistics are the record of its batches in training, not computed
    once at its end.

    >>> import jax
    >>> from jaxfer.adaptation.toy import toy_classifier
    >>> method = adabn(toy_classifier())
    >>> type(method.init(jax.random.key(0))[1]).__name__
    'DomainStates'
    """
    return minimise(classifier._replace(statistics="separate"))
