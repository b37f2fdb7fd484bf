"""Mean teacher: a network learns from the average of its own past."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from jaxfer.adaptation import classifier as network
from jaxfer.adaptation.classifier import Classifier, forward_target
from jaxfer.adaptation.method import Method, Player, entries, play
from jaxfer.adapters import constant_strength
from jaxfer.adapters.strength_schedules import Schedule
from jaxfer.typing import Classification, DomainBatch, Key, Metrics, PyTree


def mean_teacher(
    classifier: Classifier,
    *,
    augment: Callable[[Key, PyTree], PyTree],
    strength: Schedule | None = None,
    decay: float | Array = 0.99,
    threshold: float | Array = 0.968,
) -> Method:
    r"""Self-ensembling: the supervised loss plus the distance from a teacher who is sure.

    .. math::
        \min_{\theta, h} \; L_s + \lambda(t) \frac{1}{m} \sum_j 1[\max_k q_{jk} \ge \tau] \; \| p_j
        - q_j \|^2, \qquad \bar\theta \leftarrow \alpha_t \bar\theta + (1 - \alpha_t) \theta, \quad
        \alpha_t = \min \big( \alpha, 1 - \tfrac{1}{t + 1} \big)

    with the teacher's prediction :math:`q`, by the average parameters :math:`\bar\theta` of encoder
    and head, and the student's :math:`p`; each sees the target changed in its own way. The teacher
    predicts, with the student's recorded batch statistics.

    Args:
      classifier: the network.
      augment: ``augment(key, x) -> x`` of a batch.
      strength: :math:`\lambda`, a function of the step; ``None`` is 3 at every step, as published.
      decay: :math:`\alpha`, from 0 to 1; 0.99 in the paper.
      threshold: :math:`\tau`, from 0 to 1.

    Returns:
      The method; its parameters hold the ``teacher`` too. Metrics: ``labelled``, the share of the
      target of which the teacher is sure.

    Source: French et al. 2018, Self-ensembling for visual domain adaptation, section 3; Tarvainen
    and Valpola 2017, Mean teachers are better role models, for :math:`\alpha_t`. Deviation: no loss
    that balances the classes.

    >>> from jaxfer.adaptation.toy import toy_classifier
    >>> method = mean_teacher(toy_classifier(), augment=lambda key, x: x)
    >>> sorted(method.init(jax.random.key(0))[0]["teacher"])
    ['encoder', 'head']
    """
    strength = strength or constant_strength(3.0)

    def loss(
        params: PyTree, state: PyTree, batch: DomainBatch, *, step: Array, key: Key
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        keys = jax.random.split(key, 4)
        seen = batch._replace(target=augment(keys[0], batch.target), labelled_target=None)
        teacher, _, _ = forward_target(classifier, params["teacher"], state, seen, keys[1])
        batch = batch._replace(target=augment(keys[2], batch.target))
        outputs = network.forward(classifier, params, state, batch, keys[3])
        total, metrics = network.supervised_loss(outputs, batch)
        wanted = lax.stop_gradient(jax.nn.softmax(teacher.logits))
        sure = jnp.max(wanted, axis=1) >= threshold
        apart = jnp.sum(jnp.square(jax.nn.softmax(outputs.target.logits) - wanted), axis=1)
        term = jnp.mean(jnp.where(sure, apart, 0))
        metrics = {**metrics, "term": term, "labelled": jnp.mean(sure)}
        return total + strength(step) * term, (outputs.state, metrics)

    method = play(classifier, (Player(loss, trains=entries("encoder", "head")),))

    def init(key: Key, start: tuple[PyTree, PyTree] | None = None) -> tuple[PyTree, PyTree]:
        params, state = method.init(key, start)
        return {**params, "teacher": jax.tree.map(jnp.copy, params)}, state

    def settle(params: PyTree, state: PyTree, step: Array) -> tuple[PyTree, PyTree]:
        student = {name: params[name] for name in ("encoder", "head")}
        towards = jnp.maximum(1 - decay, 1 / (jnp.asarray(step) + 1))
        teacher = optax.incremental_update(student, params["teacher"], towards)
        return {**params, "teacher": teacher}, state

    def predict(params: PyTree, state: PyTree, x: PyTree) -> Classification:
        return method.predict(params["teacher"], state, x)

    return method._replace(init=init, settle=settle, predict=predict)
