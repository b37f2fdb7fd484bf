"""Proto-MAML: MAML whose head begins, in each task, as the prototypes would have it."""

from typing import Any

import jax.numpy as jnp
import optax
from jax import Array

from jaxfer.meta.adapt import Adapted, LossFn, adapt
from jaxfer.meta.conditional import Embed
from jaxfer.meta.heads import class_means, episode_features
from jaxfer.meta.learner import Learner
from jaxfer.meta.maml import learner_from, record_statistics
from jaxfer.typing import Classification, Key, LabelledBatch, PyTree


def prototype_head(
    support_features: Any, support_labels: Any, *, classes: int
) -> tuple[Array, Array]:
    r"""The linear layer that classifies as the nearest prototype does.

    .. math:: -\|q - c_k\|^2 = 2 c_k \cdot q - \|c_k\|^2 - \|q\|^2

    and the last term is the same for all classes.

    Args:
      support_features: ``[n, features]``, floating point.
      support_labels: ``[n]`` integers from 0, or ``[n, classes]`` probabilities, which weigh.
      classes: how many there are, at least 2.

    Returns:
      ``kernel`` ``[features, classes]`` and ``bias`` ``[classes]``.

    Raises:
      TypeError, ValueError: as :func:`nearest_centroid`.

    Source: Triantafillou et al. 2020, Meta-dataset, section 3; Snell et al. 2017, equation 8.

    >>> kernel, bias = prototype_head(
    ...     jnp.array([[1.0, 0.0], [0.0, 2.0]]), jnp.array([0, 1]), classes=2
    ... )
    >>> kernel, bias
    (Array([[2., 0.],
           [0., 4.]], dtype=float32), Array([-1., -4.], dtype=float32))
    """
    support, labels, _ = episode_features(
        support_features, support_labels, support_features, classes
    )
    centroids = class_means(support, labels)
    return 2 * centroids.T, -jnp.sum(jnp.square(centroids), -1)


def proto_maml(
    loss_fn: LossFn,
    *,
    embed: Embed,
    classes: int,
    rule: optax.GradientTransformation,
    steps: int,
    head: str = "head",
    train: bool = True,
    query_loss_fn: LossFn | None = None,
    **options: Any,
) -> Learner:
    r"""MAML that begins each task at the head of prototypical networks.

    .. math::
        \phi_0 = \{\theta, W_0, b_0\}, \quad W_{0k} = 2 c_k(\theta), \; b_{0k} = -\|c_k(\theta)\|^2,
        \qquad \phi_{j+1} = \phi_j - \alpha \nabla_\phi L^{\mathrm{support}}(\phi_j)

    The meta-gradient flows through the prototypes too. With no steps it is a prototypical network;
    the number of classes is not that of the network's own head, which need not exist.

    Args:
      loss_fn: ``loss_fn(params, state, batch, key) -> (loss, (state, metrics))`` of parameters that
        hold, beside the network's, ``head``: ``{"kernel": ..., "bias": ...}``.
      embed: features of a batch, see :class:`Embed`; of a ``Classification`` its features.
      classes: how many there are, at least 2.
      rule: the inner rule, any optax transformation.
      steps: inner steps.
      head: key of the head in the nested parameters.
      train: how ``embed`` is called for the prototypes.
      query_loss_fn: as for :func:`maml`.
      **options: ``mask``, ``gradient``, ``order`` and ``remat`` of :func:`adapt`.

    Returns:
      A :class:`Learner` with meta-parameters ``{"params": params}``.

    Raises:
      TypeError, ValueError: from its functions, as :func:`adapt` and :func:`prototype_head`.

    Source: Triantafillou et al. 2020, section 3, which stops the inner gradients
    (``gradient="stop"``); the gradient through them is the default here.

    >>> embed = lambda params, state, x, *, train, key=None: (params["scale"] * x, state)
    >>> def loss_fn(params, state, batch, key):
    ...     logits = params["scale"] * batch.x @ params["head"]["kernel"] + params["head"]["bias"]
    ...     losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.y)
    ...     return losses.mean(), (state, {})
    >>> learner = proto_maml(loss_fn, embed=embed, classes=2, rule=optax.sgd(0.1), steps=0)
    >>> support = LabelledBatch(jnp.array([[0.0], [1.0]]), jnp.array([0, 1]))
    >>> learner.adapt({"params": {"scale": 2.0}}, {}, support, None).params["head"]["bias"]
    Array([-0., -4.], dtype=float32)
    """

    def learn(meta: PyTree, state: PyTree, support: LabelledBatch, key: Key | None) -> Adapted:
        output, _ = embed(meta["params"], state, support.x, train=train, key=key)
        features = output.features if isinstance(output, Classification) else output
        kernel, bias = prototype_head(features, support.y, classes=classes)
        start = {**meta["params"], head: {"kernel": kernel, "bias": bias}}
        adapted = adapt(loss_fn, start, state, support, key, rule=rule, steps=steps, **options)
        return (
            adapted if query_loss_fn is None else record_statistics(loss_fn, adapted, support, key)
        )

    return learner_from(lambda params: {"params": params}, learn, query_loss_fn or loss_fn)
