"""TENT: at test time, the normalisation makes predictions sure."""

from collections.abc import Mapping

import jax.numpy as jnp
from jax import Array

from jaxfer.adaptation.classifier import Classifier, forward_target
from jaxfer.adaptation.method import Method, Player, play
from jaxfer.adaptation.pretraining import from_step, pretraining
from jaxfer.adapters import Mask
from jaxfer.losses import entropy
from jaxfer.typing import DomainBatch, Key, Metrics, PyTree


def tent(
    classifier: Classifier,
    *,
    warm_up: int = 0,
    trains: Mask = None,
) -> Method:
    r"""Test-time entropy minimisation: scale and shift of the normalisation layers alone move.

    .. math:: \min_{\gamma, \beta} \; \frac{1}{m} \sum_j H(p_j)

    with the statistics of the target batch at hand. The source is not looked at after the warm-up,
    nor are labels of the target.

    Args:
      classifier: the network, with batch normalisation; its statistics are one record, that of the
        domain at hand.
      warm_up: steps of training on the source first; 0 where ``init`` is given a trained ``start``.
      trains: a mask of the parameters that move; ``None`` is :func:`normalisation`.

    Returns:
      The method. Metrics: ``entropy``.

    Source: Wang et al. 2021, Tent: fully test-time adaptation by entropy minimization, section 3.
    Deviations: predictions take the recorded statistics of the target, not those of the batch that
    is predicted; any number of passes over the target.

    >>> import jax
    >>> from jaxfer.adaptation.toy import toy_batch, toy_classifier
    >>> from jaxfer.adaptation import entries
    >>> method = tent(toy_classifier(), trains=entries("encoder"))  # it has no normalisation
    >>> params, state = method.init(jax.random.key(0))
    >>> loss, _ = method.players[0].loss(params, state, toy_batch(), step=0, key=jax.random.key(1))
    >>> 0 < float(loss) < 0.7
    True
    """
    classifier = classifier._replace(statistics="joint")

    def sure(
        params: PyTree, state: PyTree, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        batch = batch._replace(labelled_target=None)
        target, _, state = forward_target(classifier, params, state, batch, key)
        loss = jnp.mean(entropy(target.logits))
        return loss, (state, {"entropy": loss})

    mask = normalisation if trains is None else trains
    players: tuple[Player, ...] = (Player(sure, trains=mask, when=from_step(warm_up)),)
    if warm_up:
        players = (pretraining(classifier, warm_up), *players)
    return play(classifier, players)


def normalisation(params: PyTree) -> PyTree:
    """A mask of the scales and shifts of normalisation layers in the encoder.

    Args:
      params: nested dicts; such a layer is a dict of ``scale`` and ``bias``.

    Returns:
      A mask, for :class:`Player`.

    Raises:
      ValueError: if there is none.

    >>> conv, norm = {"kernel": 1.0, "bias": 0.0}, {"scale": 1.0, "bias": 0.0}
    >>> normalisation({"encoder": {"conv": conv, "norm": norm}, "head": {}})["encoder"]
    {'conv': {'kernel': False, 'bias': False}, 'norm': True}
    """
    found = False

    def chosen(node: PyTree) -> PyTree:
        nonlocal found
        if not isinstance(node, Mapping):
            return False
        if {"scale", "bias"} == set(node):
            found = True
            return True
        return {name: chosen(below) for name, below in node.items()}

    mask = {name: name == "encoder" and chosen(below) for name, below in params.items()}
    if not found:
        raise ValueError(
            "the encoder has no normalisation layer, a dict of scale and bias; take one that has, "
            "or say by trains what shall move."
        )
    return mask
