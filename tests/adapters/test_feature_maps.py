"""Feature maps: products against NumPy, their random form on average, adapters that begin as nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer.adapters import (
    linear_feature_map,
    low_rank_feature_map,
    multilinear_map,
    network_feature_map,
    random_multilinear_map,
)


def inputs(batch=5, features=4, classes=3, dtype=np.float64):
    draw = np.random.default_rng(0)
    return (
        draw.normal(size=(batch, features)).astype(dtype),
        draw.dirichlet(np.ones(classes), size=batch).astype(dtype),
    )


def test_the_multilinear_map_is_the_outer_product(x64):
    f, g = inputs()
    found = jax.jit(multilinear_map)(f, g)
    np.testing.assert_allclose(found, [np.outer(a, b).ravel() for a, b in zip(f, g, strict=True)])
    # Over the classes it sums to the features; under vmap it is itself.
    np.testing.assert_allclose(found.reshape(5, 4, 3).sum(-1), f, rtol=1e-12)
    split = jax.vmap(lambda f, g: multilinear_map(f[None], g[None])[0])(f, g)
    np.testing.assert_allclose(split, found)


@pytest.mark.slow
def test_inner_products_of_the_random_map_are_those_of_the_full_one(x64):
    f, g = inputs()
    expected = multilinear_map(f, g) @ multilinear_map(f, g).T
    np.testing.assert_allclose(expected, (f @ f.T) * (g @ g.T), rtol=1e-12)
    mapped = random_multilinear_map(f, g, key=jax.random.key(0), dimension=200_000)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    np.testing.assert_allclose((mapped @ mapped.T) / scale, expected / scale, atol=0.03)


def test_the_random_map_is_a_function_of_its_key(x64):
    f, g = inputs()
    call = jax.jit(random_multilinear_map, static_argnames="dimension")
    first, again = (call(f, g, key=jax.random.key(0), dimension=7) for _ in range(2))
    other = call(f, g, key=jax.random.key(1), dimension=7)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01
    # The two matrices are not the same numbers, even for as many features as classes.
    square = random_multilinear_map(f[:, :3], f[:, :3], key=jax.random.key(0), dimension=50)
    assert (square < 0).any()
    # Linear in each argument.
    np.testing.assert_allclose(
        call(2 * f, g, key=jax.random.key(0), dimension=7), 2 * first, rtol=1e-12
    )


def test_gradients_reach_both_arguments(x64):
    f, g = inputs()
    for product in (
        multilinear_map,
        lambda f, g: random_multilinear_map(f, g, key=jax.random.key(0), dimension=6),
    ):
        loss = lambda f, g, p=product: jnp.sum(jnp.sin(p(f, g)))  # noqa: E731
        gradients = jax.grad(loss, argnums=(0, 1))(f, g)
        for index, x in enumerate((f, g)):
            step = 1e-6 * np.random.default_rng(index).normal(size=x.shape)
            above, below = [f, g], [f, g]
            above[index], below[index] = x + step, x - step
            difference = (loss(*above) - loss(*below)) / 2
            np.testing.assert_allclose(jnp.vdot(gradients[index], step), difference, rtol=1e-6)


@pytest.mark.parametrize(
    "adapter",
    [linear_feature_map(4), low_rank_feature_map(4, rank=2), network_feature_map(4, hidden=(8, 6))],
    ids=["linear", "low rank", "network"],
)
def test_an_adapter_begins_as_the_identity_and_can_leave_it(adapter, x64):
    f, _ = inputs()
    params = adapter.init(jax.random.key(0))
    np.testing.assert_allclose(adapter.apply(params, f), f, rtol=1e-12)
    target = f @ np.diag([1.0, -1, 2, 0]) + 1

    @jax.jit
    def step(params):
        loss = lambda p: jnp.mean(jnp.square(adapter.apply(p, f) - target))  # noqa: E731
        gradient = jax.grad(loss)(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient), loss(params)

    _, before = step(params)
    for _ in range(200):
        params, after = step(params)
    assert after < 0.3 * before


def test_a_correction_of_low_rank_has_that_rank():
    adapter = low_rank_feature_map(6, rank=2)
    params = adapter.init(jax.random.key(0))
    params["up"] = jnp.ones_like(params["up"]).at[0, :3].set(-1)
    correction = adapter.apply(params, jnp.eye(6)) - jnp.eye(6) - params["bias"]
    assert np.linalg.matrix_rank(correction, rtol=1e-5) == 2


@pytest.mark.slow
def test_other_widths_and_their_scale():
    wide = linear_feature_map(1000, 300)
    params = wide.init(jax.random.key(0))
    assert params["weight"].shape == (1000, 300) and not params["bias"].any()
    assert np.std(params["weight"]) == pytest.approx(1000**-0.5, rel=0.01)
    net = network_feature_map(3, 5, hidden=(8,), activation=jnp.tanh)
    params = net.init(jax.random.key(0))
    x = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    expected = np.tanh(x @ params[0]["weight"]) @ params[1]["weight"]
    np.testing.assert_allclose(net.apply(params, x), expected, rtol=1e-4, atol=1e-6)


def test_mistakes_are_refused():
    f, g = inputs()
    with pytest.raises(
        ValueError, match=r"\[batch, features\] and \[batch, classes\]; their shapes"
    ):
        multilinear_map(f, g[:3])
    with pytest.raises(TypeError, match="probabilities must be of floating point"):
        multilinear_map(f, np.ones((5, 3), int))
    with pytest.raises(ValueError, match="dimension must be an integer of at least 1; it is 0"):
        random_multilinear_map(f, g, key=jax.random.key(0), dimension=0)
    with pytest.raises(ValueError, match="rank must be at most inputs, which is 4; it is 5"):
        low_rank_feature_map(4, rank=5)
    with pytest.raises(ValueError, match="hidden must hold at least one width"):
        network_feature_map(4, hidden=())
    with pytest.raises(TypeError, match="outputs must be an integer of at least 1; it is 2.5"):
        linear_feature_map(4, 2.5)
    adapter = linear_feature_map(3)
    with pytest.raises(
        ValueError, match=r"features must be an array \[batch, 3\]; their shape is \(5, 4\)"
    ):
        adapter.apply(adapter.init(jax.random.key(0)), f)
