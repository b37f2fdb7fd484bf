"""ADDA: the target gets an encoder of its own, whose features pass for the source's."""

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxfer.adaptation.classifier import Classifier, forward_target, labelled_loss
from jaxfer.adaptation.dann import domain_accuracy
from jaxfer.adaptation.method import Method, Player, entries, play
from jaxfer.adaptation.pretraining import from_step, pretraining
from jaxfer.adapters import FeatureMap
from jaxfer.losses import domain_adversarial
from jaxfer.typing import DomainBatch, Key, Metrics, PyTree


def adda(
    classifier: Classifier,
    *,
    adversary: FeatureMap,
    warm_up: int = 0,
    axis_name: str | None = None,
) -> Method:
    r"""Adversarial discriminative adaptation: an encoder for each domain, and inverted labels.

    .. math::
        \text{first:} \min_{\theta_s, h} L_s, \qquad \theta_t := \theta_s; \qquad
        \text{then:} \min_a L_d(a; f_{\theta_s}, f_{\theta_t}) \;\text{ and }\;
        \min_{\theta_t} L_d(a; f_{\theta_t}, f_{\theta_s})

    The second :math:`L_d` is the first with the domains exchanged: the target's encoder wants its
    features to be taken for the source's. Source encoder and head stay as they are in the second
    phase. Each domain has its own batch statistics.

    Args:
      classifier: the network; its ``statistics`` are of no account.
      adversary: from features to one logit.
      warm_up: steps of the first phase; 0 where ``init`` is given a trained ``start``.
      axis_name: as for ``jaxfer.domain_adversarial``.

    Returns:
      The method. Its parameters hold the ``source_encoder`` too; ``encoder`` is the target's.
      Metrics: ``domain_accuracy``.

    Source: Tzeng et al. 2017, Adversarial discriminative domain adaptation, equation 9. Deviations:
    both losses are means over the two domains, half of the paper's sums; labelled target examples
    add their loss to the target encoder's.

    >>> from jaxfer.adaptation.toy import toy_classifier
    >>> from jaxfer.adapters import linear_feature_map
    >>> method = adda(toy_classifier(), adversary=linear_feature_map(3, 1))
    >>> sorted(method.init(jax.random.key(0))[0])
    ['adversary', 'encoder', 'head', 'source_encoder']
    """
    classifier = classifier._replace(statistics="separate")

    def both(
        params: PyTree, state: PyTree, batch: DomainBatch, key: Key
    ) -> tuple[Array, Array, Array, PyTree]:
        source, _ = classifier.encoder.apply(
            params["source_encoder"], state.source, batch.source.x, train=False, key=None
        )
        target, labelled, state = forward_target(classifier, params, state, batch, key)
        more, _ = labelled_loss(labelled, batch)
        logits = (
            adversary.apply(params["adversary"], features)[:, 0]
            for features in (lax.stop_gradient(source), target.features)
        )
        return *logits, more, state

    def tell(
        params: PyTree, state: PyTree, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        source, target, _, _ = both(params, state, batch, key)
        loss = domain_adversarial(source, target, axis_name=axis_name)
        return loss, (state, {"domain_accuracy": domain_accuracy(source, target)})

    def pass_for_source(
        params: PyTree, state: PyTree, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        source, target, more, state = both(params, state, batch, key)
        return domain_adversarial(target, source, axis_name=axis_name) + more, (state, {})

    when = from_step(warm_up)
    players: tuple[Player, ...] = (
        Player(tell, trains=entries("adversary"), when=when),
        Player(pass_for_source, trains=entries("encoder"), when=when),
    )
    if warm_up:
        players = (pretraining(classifier, warm_up, encoder="source_encoder"), *players)
    method = play(classifier, players, parts={"adversary": adversary})

    def init(key: Key, start: tuple[PyTree, PyTree] | None = None) -> tuple[PyTree, PyTree]:
        params, state = method.init(key, start)
        return {**params, "source_encoder": jax.tree.map(jnp.copy, params["encoder"])}, state

    def settle(params: PyTree, state: PyTree, step: Array) -> tuple[PyTree, PyTree]:
        if not warm_up:
            return params, state

        def follow(source: PyTree, target: PyTree) -> PyTree:
            return jax.tree.map(lambda s, t: jnp.where(step < warm_up, s, t), source, target)

        encoder = follow(params["source_encoder"], params["encoder"])
        return {**params, "encoder": encoder}, state._replace(
            target=follow(state.source, state.target)
        )

    return method._replace(init=init, settle=settle)
