"""Every gradient-based learner on a small Conv4, NNX and Linen modules: the meta-gradient is exact."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

from jaxfer.adapters import by_path
from jaxfer.meta import anil, boil, cavia, imaml, maml, maml_plus_plus, meta_sgd
from jaxfer.models import Conv4, from_linen, from_nnx
from jaxfer.typing import LabelledBatch, Task

from .references import assert_trees_close

RATE, CLASSES = 0.3, 2
# Compiled for a single run of a few numbers: less time on optimising them.
QUICKLY = {"xla_backend_optimization_level": 0}


def make_task(size, seed=0):
    draw = np.random.default_rng(seed)

    def batch(examples):
        return LabelledBatch(
            jnp.asarray(draw.normal(size=(examples, size, size, 1))),
            jnp.arange(examples) % CLASSES,
        )

    return Task(batch(4), batch(6))


def make_loss(network, *, train, record):
    def loss_fn(params, state, batch, key):
        output, new_state = network.apply(params, state, batch.x, train=train, key=key)
        losses = optax.softmax_cross_entropy_with_integer_labels(output.logits, batch.y)
        return jnp.mean(losses), (new_state if record else state, {})

    return loss_fn


class Conv2(Conv4):
    """Half of it has all its parts, and compiles in half the time."""

    blocks = 2


class ConvolutionalProblem:
    """The network in double precision, its parameters away from zero, and textbook MAML on it."""

    def __init__(self, module, size, downsampling="stride"):
        network = from_nnx(
            lambda rngs: module(
                classes=CLASSES, width=3, image_size=size, downsampling=downsampling,
                context=2, momentum=0.0, method="patches", rngs=rngs,
            )
        )  # fmt: skip
        params, state = network.init(jax.random.key(0))
        draw = np.random.default_rng(1)
        self.params = jax.tree.map(
            lambda leaf: jnp.asarray(leaf + 0.3 * draw.normal(size=leaf.shape)), params
        )
        self.state = jax.tree.map(lambda leaf: leaf.astype(float), state)
        self.loss_fn = make_loss(network, train=True, record=True)
        self.query_loss_fn = make_loss(network, train=False, record=False)
        self.task = make_task(size)
        inner = jax.value_and_grad(self.loss_fn, has_aux=True)
        self._inner = jax.jit(inner, compiler_options=QUICKLY)
        self._query = jax.jit(self.query_loss_fn, compiler_options=QUICKLY)

    def inner_gradient(self, params):
        return self._inner(params, self.state, self.task.support, None)[1]

    def descend(self, params, rates):
        for rate in rates:
            gradient = self.inner_gradient(params)
            params = jax.tree.map(lambda p, a, g: p - a * g, params, rate, gradient)
        return params

    def query_loss(self, params):
        """By the statistics that the support set has with these parameters."""
        (_, (recorded, _)), _ = self._inner(params, self.state, self.task.support, None)
        return float(self._query(params, recorded, self.task.query, None)[0])


@pytest.fixture(scope="module")
def problem():
    with jax.enable_x64(True):
        return ConvolutionalProblem(Conv2, 4)


def rates_below(params, names=None, rate=RATE):
    mask = jax.tree.map(lambda _: True, params) if names is None else by_path(names)(params)
    return jax.tree.map(lambda leaf, chosen: jnp.full_like(leaf, rate * chosen), params, mask)


def assert_directional(learner, problem, objective, *, step=0, rtol=1e-5):
    """The gradient agrees with central differences in three random directions."""
    meta = learner.init(problem.params)
    gradient = jax.jit(learner.gradient, compiler_options=QUICKLY)
    grads = gradient(meta, problem.state, problem.task, None, step).grads
    for seed in range(3):
        draw = np.random.default_rng(seed)
        direction = jax.tree.map(lambda leaf: jnp.asarray(draw.normal(size=leaf.shape)), meta)  # noqa: B023
        up, down = (
            objective(jax.tree.map(lambda m, d, e=e: m + e * d, meta, direction))
            for e in (1e-5, -1e-5)
        )
        slope = optax.tree.vdot(grads, direction)
        np.testing.assert_allclose(slope, (up - down) / 2e-5, rtol, atol=1e-7)


@pytest.mark.parametrize(
    ("module", "size", "downsampling"),
    [
        pytest.param(Conv4, 4, "stride", marks=pytest.mark.slow),
        pytest.param(Conv4, 16, "max_pool", marks=pytest.mark.slow),
        pytest.param(Conv4, 28, "stride", marks=pytest.mark.slow),
    ],
)
def test_maml(module, size, downsampling, x64):
    problem = ConvolutionalProblem(module, size, downsampling)
    learner = maml(
        problem.loss_fn, query_loss_fn=problem.query_loss_fn, rule=optax.sgd(RATE), steps=1
    )

    def objective(meta):
        return problem.query_loss(problem.descend(meta["params"], [rates_below(meta["params"])]))

    assert_directional(learner, problem, objective)


@pytest.mark.parametrize(
    ("method", "names", "steps"),
    [(anil, "head", 2), (boil, ("context", "film", "block0", "block1"), 1)],
    ids=["anil", "boil"],
)
def test_anil_and_boil(method, names, steps, problem, x64):
    learner = method(
        problem.loss_fn, query_loss_fn=problem.query_loss_fn, rule=optax.sgd(RATE), steps=steps
    )

    def objective(meta):
        rates = [rates_below(meta["params"], names)] * steps
        return problem.query_loss(problem.descend(meta["params"], rates))

    assert_directional(learner, problem, objective)


def test_meta_sgd_with_its_rates(problem, x64):
    learner = meta_sgd(problem.loss_fn, query_loss_fn=problem.query_loss_fn, rate=RATE)

    def objective(meta):
        return problem.query_loss(problem.descend(meta["params"], [meta["rates"]]))

    assert_directional(learner, problem, objective)


def test_cavia(problem, x64):
    learner = cavia(
        problem.loss_fn, query_loss_fn=problem.query_loss_fn, rule=optax.sgd(2 * RATE), steps=2
    )

    def objective(meta):
        start = {**meta["params"], "context": jnp.zeros(2)}
        rates = [rates_below(start, "context", 2 * RATE)] * 2
        return problem.query_loss(problem.descend(start, rates))

    assert_directional(learner, problem, objective)


@pytest.mark.slow
def test_maml_plus_plus_with_its_rates_and_per_step_normalisation(problem, x64):
    learner = maml_plus_plus(
        problem.loss_fn, query_loss_fn=problem.query_loss_fn, rate=RATE, steps=2,
        anneal_steps=4, per_step=by_path("norm"),
    )  # fmt: skip
    own = by_path("norm")(problem.params)

    def objective(meta):
        def at(k):
            return jax.tree.map(lambda p, o: p[k] if o else p, meta["params"], own)

        point, losses = at(0), []
        for k in range(2):
            rate = jax.tree.map(
                lambda p, a: jnp.zeros_like(p) if a is None else jnp.full_like(p, a[k]),  # noqa: B023
                point, meta["rates"], is_leaf=lambda leaf: leaf is None,
            )  # fmt: skip
            moved = problem.descend(point, [rate])
            point = jax.tree.map(lambda p, n, o: n if o else p, moved, at(k + 1), own)
            losses.append(problem.query_loss(point))
        return (3 / 8) * losses[0] + (5 / 8) * losses[1]

    assert_directional(learner, problem, objective, step=1)


@pytest.mark.slow
def test_imaml_of_the_head_is_the_unrolled_proximal_problem(problem, x64):
    """The head's problem is convex: gradient descent on it converges, the body is frozen."""
    strength, rate = 1.0, 0.4
    learner = imaml(
        problem.loss_fn, query_loss_fn=problem.query_loss_fn, proximal=strength, solver_steps=20,
        rule=optax.sgd(rate), steps=60, mask=by_path("head"),
    )  # fmt: skip

    def objective(meta):
        phi, head = meta["params"], meta["params"]["head"]
        for _ in range(60):
            gradient = problem.inner_gradient(phi)
            pulled = jax.tree.map(
                lambda p, g, start: p - rate * (g + strength * (p - start)),
                phi["head"], gradient["head"], head,
            )  # fmt: skip
            phi = {**phi, "head": pulled}
        return problem.query_loss(phi)

    assert_directional(learner, problem, objective, rtol=1e-4)


class LinenNet(linen.Module):
    @linen.compact
    def __call__(self, x, train):
        x = linen.Dense(5, name="body")(x)
        x = linen.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        x = linen.Dropout(0.5, deterministic=not train)(linen.relu(x))
        return linen.Dense(2, name="head")(x)


def test_a_linen_module_goes_through_maml():
    module = LinenNet()
    draw = np.random.default_rng(0)
    task = Task(
        *(
            LabelledBatch(draw.normal(size=(6, 3)).astype(np.float32), np.arange(6) % 2)
            for _ in "sq"
        )
    )
    network = from_linen(module, task.support.x, train_argument="train")
    params, state = network.init(jax.random.key(0))

    def loss_fn(params, state, batch, key):
        logits, state = network.apply(params, state, batch.x, train=True, key=key)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.y)
        return jnp.mean(losses), (state, {"accuracy": jnp.mean(logits.argmax(-1) == batch.y)})

    learner = maml(loss_fn, rule=optax.sgd(0.5), steps=2)
    key = jax.random.key(7)
    gradient = jax.jit(learner.gradient, compiler_options=QUICKLY)
    result = gradient(learner.init(params), state, task, key, 0)

    def by_hand(params):
        """The same in Linen's own words: two steps, then the query batch."""

        def loss(params, stats, batch, key):
            logits, updated = module.apply(
                {"params": params, "batch_stats": stats}, batch.x, train=True,
                rngs={"dropout": key}, mutable=["batch_stats"],
            )  # fmt: skip
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.y)
            return jnp.mean(losses), updated["batch_stats"]

        support_key, query_key = jax.random.split(key)
        stats = state["batch_stats"]
        for k in range(2):
            step_key = jax.random.fold_in(support_key, k)
            grads, stats = jax.grad(loss, has_aux=True)(params, stats, task.support, step_key)
            params = jax.tree.map(lambda p, g: p - 0.5 * g, params, grads)
        return loss(params, stats, task.query, query_key)

    expected = jax.jit(jax.value_and_grad(by_hand, has_aux=True), compiler_options=QUICKLY)
    (loss, stats), grads = expected(params)
    assert_trees_close(result.grads["params"], grads, rtol=1e-4, atol=1e-6)
    assert_trees_close(result.state, {"batch_stats": stats}, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(result.metrics["loss"], loss, rtol=1e-5)
    assert set(result.metrics) == {"loss", "accuracy"}
