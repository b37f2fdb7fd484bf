r"""DANN with one hidden layer on few examples of many features: all seeds and strengths at once.

A step of gradient descent adds multiples of the batch's examples to the columns of the first
layer's weights. Whatever they began as, they are then

.. math:: W = W_0 + X^\top C

with a row of coefficients :math:`C` for each of the :math:`n` training examples, and inputs of the
hidden units are :math:`x W = x W_0 + (x X^\top) C`: beside :math:`x W_0`, which does not change,
only inner products with the training examples are needed, and a step changes no more than the rows
of :math:`C` that belong to its batch. That is the same training, to rounding, with :math:`n` in the
place of the number of features, twice, and without a pass over all weights at every step. It holds
for gradient descent without momentum, whose updates stay in the span of the batch.

All strengths of a seed see the same batches, so that one product serves them all.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from jaxfer.adaptation import Classifier, Method, dann
from jaxfer.adapters import linear_feature_map
from jaxfer.models import Network
from jaxfer.typing import Classification, DomainBatch, Key, LabelledBatch, Metrics, PyTree


class Span(NamedTuple):
    """What the first layer is a combination of; ``n`` examples of both domains, one after another.

    Attributes:
      products: ``[n, n]``, inner products of the examples.
      starts: ``[seeds, n, hidden]``, the hidden units' inputs at the initial weights.
    """

    products: Array
    starts: Array


class Nets(NamedTuple):
    """Networks of all seeds and strengths.

    Attributes:
      coefficients: ``[seeds, n, strengths, hidden]``, of the examples in the first layer.
      params: of the method, without the first layer's weights, ``[seeds, strengths, ...]``.
    """

    coefficients: Array
    params: PyTree


class Side(NamedTuple):
    """Places among the examples, for each seed.

    Attributes:
      train: ``[seeds, k]``.
      held_out: ``[seeds, h]``.
    """

    train: Array
    held_out: Array


class Fitting(NamedTuple):
    """A fit under way.

    Attributes:
      nets: as they are.
      best: as they were when the held-out risk was lowest.
      risk: ``[seeds, strengths]``, that risk, a mean cross-entropy.
      step: ``[seeds, strengths]`` int32, when that was.
    """

    nets: Nets
    best: Nets
    risk: Array
    step: Array


def make_method(hidden: int, strength: Array | float, *, classes: int = 2) -> Method:
    """DANN on the inputs of its hidden units.

    Args:
      hidden: sigmoid units.
      strength: the paper's lambda. The paper adds up the losses of the two domains where
        ``jaxfer.losses.domain_adversarial`` takes their mean; hence twice of it. Its adversary
        learns at lambda times the rate, this one at the whole rate.
      classes: how many.

    Returns:
      The method; its encoder adds a bias and applies the sigmoid.

    >>> sorted(make_method(3, 0.1).init(jax.random.key(0))[0])
    ['adversary', 'encoder', 'head']
    """

    def init(key: Key) -> tuple[PyTree, PyTree]:
        return {"bias": jnp.zeros(hidden)}, {}

    def apply(
        params: PyTree, state: PyTree, x: Array, *, train: bool, key: Key | None = None
    ) -> tuple[Array, PyTree]:
        return jax.nn.sigmoid(x + params["bias"]), state

    return dann(
        Classifier(Network(init, apply), linear_feature_map(hidden, classes)),
        adversary=linear_feature_map(hidden, 1),
        strength=lambda step: jnp.asarray(2 * strength),
    )


def first_weights(seeds: tuple[int, ...], features: int, hidden: int) -> np.ndarray:
    """Glorot's uniform initial weights ``[seeds, features, hidden]``.

    >>> first_weights((0, 1), 5, 3).shape
    (2, 5, 3)
    """
    limit = np.sqrt(6 / (features + hidden))
    return np.stack(
        [
            np.random.default_rng(seed).uniform(-limit, limit, (features, hidden))
            for seed in seeds
        ]
    ).astype(np.float32)  # fmt: skip


def inner_products(x: np.ndarray, spanning: np.ndarray, weights: np.ndarray) -> tuple[Array, Array]:
    """What the networks need to know of examples.

    Args:
      x: ``[m, features]``.
      spanning: ``[n, features]``, the examples that the networks are trained on.
      weights: from :func:`first_weights`.

    Returns:
      Products ``[m, n]`` of the two, and starts ``[seeds, m, hidden]``.

    >>> x = np.eye(5)
    >>> products, starts = inner_products(x, x, first_weights((0, 1), 5, 3))
    >>> products.shape, starts.shape
    ((5, 5), (2, 5, 3))
    """
    rows = jnp.asarray(x)
    return rows @ jnp.asarray(spanning).T, jnp.einsum("mf,sfh->smh", rows, jnp.asarray(weights))


def start(span: Span, seeds: tuple[int, ...], strengths: int) -> Nets:
    """The networks before the first step, alike for all strengths of a seed.

    Args:
      span: of the examples.
      seeds: one for each run.
      strengths: how many.

    Returns:
      The networks.

    >>> span = Span(jnp.eye(4), jnp.zeros((2, 4, 3)))
    >>> start(span, (0, 1), 5).coefficients.shape
    (2, 4, 5, 3)
    """
    n, hidden = span.starts.shape[1:]
    init = make_method(hidden, 0.0).init
    params = [init(jax.random.key(seed))[0] for seed in seeds]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
    repeated = jax.tree.map(
        lambda leaf: jnp.repeat(leaf[:, None], strengths, axis=1), stacked
    )  # fmt: skip
    return Nets(jnp.zeros((len(seeds), n, strengths, hidden)), repeated)


def select(nets: Nets, *, seed: int, strengths: tuple[int, ...]) -> Nets:
    """Some of the networks.

    Args:
      nets: of all seeds and strengths.
      seed: the place of one of the seeds.
      strengths: places of the strengths, as often as they are wanted.

    Returns:
      Networks of one seed and those strengths.

    >>> nets = start(Span(jnp.eye(4), jnp.zeros((2, 4, 3))), (0, 1), 5)
    >>> select(nets, seed=1, strengths=(0, 4)).coefficients.shape
    (1, 4, 2, 3)
    """
    places = jnp.asarray(strengths)
    return Nets(
        nets.coefficients[seed : seed + 1, :, places],
        jax.tree.map(lambda leaf: leaf[seed : seed + 1, places], nets.params),
    )


def begin(nets: Nets) -> Fitting:
    """A fit that starts from given networks.

    >>> begin(Nets(jnp.zeros((2, 4, 5, 3)), {})).step.shape
    (2, 5)
    """
    seeds, _, strengths, _ = nets.coefficients.shape
    shape = (seeds, strengths)
    copy = jax.tree.map(jnp.copy, nets)
    return Fitting(nets, copy, jnp.full(shape, jnp.inf), jnp.full(shape, -1, jnp.int32))


def draw_order(key: Key, source: Array, target: Array, *, steps: int, batch: int) -> Array:
    """Which examples each step sees: both domains shuffled, and again from the front at their end.

    Args:
      key: of the order.
      source, target: ``[k]`` and ``[l]``, places of the training examples.
      steps: how many.
      batch: examples of each domain in a step.

    Returns:
      ``[steps, 2 * batch]``, the source's first.

    >>> draw_order(jax.random.key(0), jnp.arange(4), jnp.arange(4, 8), steps=2, batch=2).shape
    (2, 4)
    """
    shuffled = (
        jax.random.permutation(each, places)
        for each, places in zip(jax.random.split(key), (source, target), strict=True)
    )
    return jnp.concatenate([jnp.resize(places, (steps, batch)) for places in shuffled], axis=1)


@partial(jax.jit, static_argnames=("steps", "batch"), donate_argnums=0)
def advance(
    fitting: Fitting,
    span: Span,
    strengths: Array,
    source: Side,
    target: Side,
    labels: Array,
    *,
    keys: Array,
    at: Array,
    rate: Array | float,
    steps: int,
    batch: int,
) -> tuple[Fitting, Metrics]:
    """Takes some steps, looks at the held-out source and remembers the networks that did best.

    Args:
      fitting: so far; it is consumed.
      span: of the examples.
      strengths: ``[strengths]``, the paper's lambda; 0 is training on the source alone.
      source: where the labelled examples are.
      target: where those without labels are.
      labels: ``[seeds, n, strengths]``; those of the target are not looked at.
      keys: ``[seeds]``, of the order of the examples in these steps.
      at: steps taken before.
      rate: of gradient descent.
      steps: how many.
      batch: examples of each domain in a step.

    Returns:
      The fit, and ``[seeds, strengths]`` by name: ``loss`` and ``domain_accuracy``, means over
      these steps, and of the held-out source ``risk`` and ``accuracy``.
    """

    def one_seed(
        nets: Nets, starts: Array, source: Side, target: Side, labels: Array, key: Key
    ) -> tuple[Nets, Metrics]:
        order = draw_order(key, source.train, target.train, steps=steps, batch=batch)

        def step(nets: Nets, places: Array) -> tuple[Nets, Metrics]:
            inputs = hidden_inputs(span.products[places], starts[places], nets.coefficients)
            gradients, metrics = jax.vmap(_gradients, (0, 1, 1, 0), ((0, 1), 0))(
                nets.params, inputs, labels[places[:batch]], strengths
            )
            params, slopes = jax.tree.map(lambda leaf: -rate * leaf, gradients)
            return Nets(
                nets.coefficients.at[places].add(slopes), optax.apply_updates(nets.params, params)
            ), metrics

        nets, metrics = jax.lax.scan(step, nets, order)
        held_out = source.held_out
        logits = _classify(nets, span.products[held_out], starts[held_out]).logits
        truth = labels[held_out]
        seen = {
            "risk": optax.softmax_cross_entropy_with_integer_labels(logits, truth).mean(0),
            "accuracy": (logits.argmax(-1) == truth).mean(0),
        }
        return nets, {name: metrics[name].mean(0) for name in ("loss", "domain_accuracy")} | seen

    nets, metrics = jax.lax.map(
        lambda one: one_seed(*one), (fitting.nets, span.starts, source, target, labels, keys)
    )
    better = metrics["risk"] < fitting.risk

    def keep(new: Array, old: Array, axis: int) -> Array:
        shape = [1] * new.ndim
        shape[0], shape[axis] = better.shape
        return jnp.where(better.reshape(shape), new, old)

    best = Nets(
        keep(nets.coefficients, fitting.best.coefficients, 2),
        jax.tree.map(partial(keep, axis=1), nets.params, fitting.best.params),
    )
    risk = jnp.where(better, metrics["risk"], fitting.risk)
    return Fitting(nets, best, risk, jnp.where(better, at + steps, fitting.step)), metrics


def _gradients(
    params: PyTree, inputs: Array, labels: Array, strength: Array
) -> tuple[tuple[PyTree, Array], Metrics]:
    """Of one network's objective, by its parameters and by the inputs of its hidden units."""
    method = make_method(inputs.shape[1], strength)
    count = len(labels)

    def objective(params: PyTree, inputs: Array) -> tuple[Array, Metrics]:
        batch = DomainBatch(LabelledBatch(inputs[:count], labels), inputs[count:])
        key = jax.random.key(0)  # nothing is random
        loss, (_, metrics) = method.players[0].loss(params, {}, batch, step=jnp.array(0), key=key)
        return loss, {**metrics, "loss": loss}

    return jax.grad(objective, argnums=(0, 1), has_aux=True)(params, inputs)


def hidden_inputs(products: Array, starts: Array, coefficients: Array) -> Array:
    """Inputs of the hidden units of one seed.

    Args:
      products: ``[b, n]``, of some examples with those that span.
      starts: ``[b, hidden]``, at the initial weights.
      coefficients: ``[n, strengths, hidden]``.

    Returns:
      ``[b, strengths, hidden]``.

    >>> hidden_inputs(jnp.ones((2, 4)), jnp.ones((2, 3)), jnp.ones((4, 5, 3)))[0, 0].tolist()
    [5.0, 5.0, 5.0]
    """
    n, strengths, hidden = coefficients.shape
    moved = products @ coefficients.reshape(n, -1)
    return starts[:, None] + moved.reshape(-1, strengths, hidden)


def _classify(nets: Nets, products: Array, starts: Array) -> Classification:
    """Of one seed, features and logits ``[b, strengths, ...]``."""
    inputs = hidden_inputs(products, starts, nets.coefficients)
    predict = make_method(inputs.shape[-1], 0.0).predict
    return jax.vmap(lambda params, x: predict(params, {}, x), (0, 1), 1)(nets.params, inputs)


@jax.jit
def predict(nets: Nets, products: Array, starts: Array) -> Classification:
    """Features and logits of any examples.

    Args:
      nets: the networks.
      products: ``[m, n]``, of these examples with those that span.
      starts: ``[seeds, m, hidden]``, their hidden units' inputs at the initial weights.

    Returns:
      Both ``[seeds, m, strengths, ...]``.

    >>> span = Span(jnp.eye(4), jnp.zeros((2, 4, 3)))
    >>> predict(start(span, (0, 1), 5), *span).logits.shape
    (2, 4, 5, 2)
    """
    return jax.lax.map(lambda one: _classify(one[0], products, one[1]), (nets, starts))


@jax.jit
def predict_at(nets: Nets, span: Span, places: Array) -> Classification:
    """Features and logits of some of the training examples, others for each seed.

    Args:
      nets: the networks.
      span: of the examples.
      places: ``[seeds, k]``.

    Returns:
      Both ``[seeds, k, strengths, ...]``.

    >>> span = Span(jnp.eye(4), jnp.zeros((2, 4, 3)))
    >>> predict_at(start(span, (0, 1), 5), span, jnp.array([[0, 3], [1, 2]])).logits.shape
    (2, 2, 5, 2)
    """
    return jax.lax.map(
        lambda one: _classify(one[0], span.products[one[2]], one[1][one[2]]),
        (nets, span.starts, places),
    )
