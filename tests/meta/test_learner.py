"""The mean over tasks: however many at a time, it is the mean."""

import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

from jaxfer.meta import Learner, MetaGradient, maml, mean_over_tasks
from jaxfer.models import PatchConv, from_linen, from_nnx
from jaxfer.typing import Task

from .references import assert_trees_close


def square_loss(params, state, batch, key):
    return jnp.mean((jnp.tanh(params["w"]) * batch + params["b"]) ** 2), (state, {})


LEARNER = maml(square_loss, rule=optax.sgd(0.1), steps=1)
META = LEARNER.init({"w": jnp.array([0.5, -1.0, 2.0]), "b": jnp.array(0.2)})
TASKS = Task(*np.random.default_rng(0).normal(size=(2, 6, 4, 3)).astype(np.float32))


def contribution(meta, task):
    return LEARNER.gradient(meta, {}, task, None, 0)


@pytest.fixture(scope="module")
def plain_mean():
    """All tasks vmapped at once, and the mean in NumPy."""
    each = jax.vmap(partial(contribution, META))(TASKS)
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64).mean(0), each)


@pytest.mark.parametrize("chunk", [1, 2, 3, 6])
def test_any_chunk_gives_the_plain_mean(chunk, plain_mean):
    result = mean_over_tasks(partial(contribution, META), TASKS, chunk=chunk)
    assert isinstance(result, MetaGradient)
    assert_trees_close(result, plain_mean, rtol=1e-5, atol=1e-6)


def test_compiled_and_vmapped_over_runs(plain_mean):
    metas = jax.tree.map(lambda leaf: jnp.stack([2 * leaf, leaf]), META)

    @jax.jit
    @jax.vmap
    def step(meta):
        return mean_over_tasks(partial(contribution, meta), TASKS, chunk=2)

    second = jax.tree.map(lambda leaf: leaf[1], step(metas))
    assert_trees_close(second, plain_mean, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("chunk", [1, 2, 4])
def test_tasks_may_be_the_keys_they_are_drawn_from(chunk):
    keys = jax.random.split(jax.random.key(1), 4)
    expected = np.mean([jax.random.normal(key, (3,)) for key in keys], 0)
    drawn = mean_over_tasks(lambda key: jax.random.normal(key, (3,)), keys, chunk=chunk)
    np.testing.assert_allclose(drawn, expected, rtol=1e-5)


@pytest.mark.parametrize("chunk", [1, 2, 4])
def test_what_the_function_closes_over_is_differentiated(chunk):
    tasks = jnp.array([1.0, 2.0, 3.0, 5.0])

    def mean(weight):
        return mean_over_tasks(lambda task: jnp.sin(weight * task), tasks, chunk=chunk)

    slope = np.mean(np.cos(0.7 * np.asarray(tasks)) * np.asarray(tasks))
    np.testing.assert_allclose(jax.grad(mean)(0.7), slope, rtol=1e-5)
    np.testing.assert_allclose(jax.jvp(mean, (0.7,), (1.0,))[1], slope, rtol=1e-5)


@pytest.mark.parametrize("chunk", [1, 2, 4])
def test_tasks_are_any_pytree_of_numpy_or_jax_arrays(chunk):
    tasks = {"i": np.arange(4), "pair": (np.ones((4, 2)), jnp.arange(8).reshape(4, 2))}

    def fn(task):
        i, (a, b) = task["i"], task["pair"]
        return {"sum": i + a + b, "constant": 3.0, "none": None}

    result = mean_over_tasks(fn, tasks, chunk=chunk)
    np.testing.assert_allclose(result["sum"], [5.5, 6.5])
    assert result["constant"] == 3.0
    assert result["none"] is None


def test_a_mean_of_answers_is_their_share():
    """Booleans and small integers must not be added up as such."""
    tasks = jnp.array([1.0, -2.0, 3.0, 4.0])
    for chunk in (1, 2, 4):
        result = mean_over_tasks(
            lambda task: (task > 0, (50 * jnp.abs(task)).astype(jnp.uint8)), tasks, chunk=chunk
        )
        np.testing.assert_allclose(result, [0.75, 125.0])


@pytest.mark.parametrize("chunk", [0, -1, 4, 5, 12])
def test_a_chunk_that_does_not_divide_is_refused(chunk):
    with pytest.raises(ValueError, match=f"chunk must divide the 6 tasks; got {chunk}"):
        mean_over_tasks(partial(contribution, META), TASKS, chunk=chunk)


def image_learner(network):
    def loss_fn(params, state, batch, key):
        output, state = network.apply(params, state, batch, train=True, key=key)
        return jnp.mean(output**2), (state, {})

    learner = maml(loss_fn, rule=optax.sgd(0.1), steps=1)
    params, state = network.init(jax.random.key(0))
    return lambda task: learner.gradient(learner.init(params), state, task, None, 0).grads


IMAGES = Task(*jax.random.normal(jax.random.key(0), (2, 2, 1, 5, 5, 1)))


@pytest.mark.parametrize(
    "network",
    [
        from_nnx(lambda rngs: nnx.Conv(1, 2, (3, 3), rngs=rngs)),
        from_linen(linen.Conv(2, (3, 3)), jnp.zeros((1, 5, 5, 1))),
    ],
    ids=["nnx", "linen"],
)
def test_a_user_s_own_convolution_is_warned_about(network):
    fn = image_learner(network)
    message = "adapts the weights of a lax.conv_general_dilated.*jaxfer.models.PatchConv"
    with pytest.warns(UserWarning, match=message) as caught:
        jax.eval_shape(lambda: mean_over_tasks(fn, IMAGES, chunk=2))
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match=message):
        jax.eval_shape(lambda: mean_over_tasks(jax.jit(jax.checkpoint(fn)), IMAGES, chunk=1))


def test_a_convolution_within_a_loop_is_found():
    def fn(task):
        def body(_, x):
            return jax.lax.conv(x, jnp.ones((1, 1, 3, 3)), (1, 1), "SAME")

        return jax.lax.fori_loop(0, 3, body, task)

    with pytest.warns(UserWarning, match="conv_general_dilated"):
        jax.eval_shape(lambda: mean_over_tasks(fn, jnp.ones((2, 1, 1, 4, 4))))


def test_patches_are_not_warned_about():
    fn = image_learner(from_nnx(lambda rngs: PatchConv(1, 2, rngs=rngs)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for chunk in (1, 2):
            jax.eval_shape(lambda chunk=chunk: mean_over_tasks(fn, IMAGES, chunk=chunk))


def test_a_learner_is_three_functions():
    learner = Learner(init=lambda params: params, adapt=None, gradient=None)
    assert learner._fields == ("init", "adapt", "gradient")
