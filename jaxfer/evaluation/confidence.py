"""Validators that ask how sure the predictions are, alone and against how diverse they are."""

from typing import Any

from jax import Array

from jaxfer.divergences.samples import one_sample
from jaxfer.losses import entropy, information_maximization


def entropy_score(logits: Any, *, weights: Any = None) -> Array:
    r"""Minus the mean entropy of the predictions; higher is better.

    .. math:: - \sum_i w_i H(p_i), \qquad p = \mathrm{softmax}(z)

    with weights that sum to 1. Raw quantity: the mean entropy, in nats. It says how sure a
    classifier is, not how right, and is highest for one that gives every example the same answer:
    use it with :func:`reject_collapsed`.

    Args:
      logits: :math:`z`, ``[n, classes]``, of target examples, floating point, finite.
      weights: :math:`w`, ``[n]``, not negative, on any scale; an example of weight 0 is absent.
        ``None`` weighs all alike.

    Returns:
      A scalar in nats, from :math:`-\ln K` for :math:`K` classes to 0. 0 where traced weights are
      all 0.

    Raises:
      TypeError: for logits that are not of floating point.
      ValueError: for wrong shapes; where arrays are concrete also for NaN, infinity, or weights
        that are negative or all 0.

    Source: Morerio et al. 2018, Minimal-entropy correlation alignment for unsupervised deep domain
    adaptation, section 3.2.

    >>> import jax.numpy as jnp
    >>> [f"{entropy_score(jnp.array([[z, 0.0]])):.4f}" for z in (0.0, 2.0, 20.0)]
    ['-0.6931', '-0.3653', '-0.0000']
    """
    logits, weights, _ = one_sample(logits, weights, name="logits")
    return -(weights @ entropy(logits))


def information_maximization_score(logits: Any, *, weights: Any = None) -> Array:
    r"""Mutual information of input and prediction; higher is better.

    .. math:: H(\bar p) - \sum_i w_i H(p_i), \qquad \bar p = \sum_i w_i p_i

    with weights that sum to 1. Raw quantity: the mutual information, in nats. Predictions that are
    sure one by one and spread over the classes have most of it; a collapsed predictor has none. It
    prefers classes of equal size, whatever the target's are.

    Args:
      logits: :math:`z`, ``[n, classes]``, of target examples, floating point, finite; :math:`p` is
        their softmax.
      weights: :math:`w`, ``[n]``, not negative, on any scale; an example of weight 0 is absent.
        ``None`` weighs all alike.

    Returns:
      A scalar in nats, from 0 to :math:`\ln K` for :math:`K` classes. 0 where traced weights are
      all 0.

    Raises:
      TypeError: for logits that are not of floating point.
      ValueError: for wrong shapes; where arrays are concrete also for NaN, infinity, or weights
        that are negative or all 0.

    Source: Bridle et al. 1991, Unsupervised classifiers, mutual information and 'phantom targets';
    Musgrave et al. 2022, Benchmarking validation methods for unsupervised domain adaptation, for
    its use as a validator.

    >>> import jax.numpy as jnp
    >>> sure_and_diverse = jnp.array([[100.0, 0.0], [0.0, 100.0]])
    >>> f"{information_maximization_score(sure_and_diverse):.4f}"  # ln 2
    '0.6931'
    >>> abs(float(information_maximization_score(sure_and_diverse[:1]))) < 1e-6  # collapsed
    True
    """
    return -information_maximization(logits, weights=weights)
