"""Gradient reversal: its value to the last bit, its sign and strength in every kind of derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxfer.adapters import reverse_gradient

SPECIAL = np.array([0.0, -0.0, 1.1, -1e-38, 1e-45, 3e38, -3e38, np.inf, -np.inf], np.float32)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0, 1e4])
def test_the_value_is_the_same_to_the_last_bit(dtype, strength):
    draw = np.random.default_rng(0).normal(size=1000) * 10.0 ** np.arange(-20, 20).repeat(25)
    x = jnp.concatenate([jnp.asarray(SPECIAL), jnp.asarray(draw, jnp.float32)]).astype(dtype)
    x = jnp.where(jnp.abs(x) < jnp.finfo(dtype).tiny, 0 * x, x)  # a CPU flushes what is subnormal
    for f in (reverse_gradient, jax.jit(reverse_gradient), jax.vmap(reverse_gradient, (0, None))):
        found = f(x, strength)
        assert found.dtype == x.dtype
        np.testing.assert_array_equal(
            np.asarray(found).view(np.uint8), np.asarray(x).view(np.uint8)
        )
    assert np.isnan(reverse_gradient(np.float32(np.nan), strength))


def test_every_derivative_has_the_strength_and_the_other_sign(x64):
    def f(x, strength):
        return jnp.sum(jnp.sin(reverse_gradient(x, strength)))

    x, t = np.random.default_rng(1).normal(size=(2, 4))
    strength = 0.7

    @jax.jit
    def derivatives(x, t, strength):
        forward = jax.jvp(lambda x: f(x, strength), (x,), (t,))[1]
        mixed = jax.jvp(lambda x: jax.grad(f)(x, strength), (x,), (t,))[1]
        third = jax.grad(jax.grad(jax.grad(f)))(0.5, strength)
        return jax.grad(f)(x, strength), forward, jax.hessian(f)(x, strength), mixed, third

    gradient, forward, second, mixed, third = derivatives(x, t, strength)
    np.testing.assert_allclose(gradient, -0.7 * np.cos(x), rtol=1e-14)
    np.testing.assert_allclose(forward, -0.7 * np.cos(x) @ t, rtol=1e-14)
    # Each differentiation passes the reversal once more.
    np.testing.assert_allclose(second, np.diag(0.7**2 * -np.sin(x)), rtol=1e-14)
    np.testing.assert_allclose(mixed, 0.7**2 * -np.sin(x) * t, rtol=1e-14)
    np.testing.assert_allclose(third, -(0.7**3) * -np.cos(0.5), rtol=1e-14)


def test_the_strength_itself_has_a_derivative_only_through_the_gradient(x64):
    def f(x, strength):
        return jnp.sin(reverse_gradient(x, strength))

    assert jax.grad(f, argnums=1)(0.5, 0.7) == 0
    np.testing.assert_allclose(jax.grad(jax.grad(f), argnums=1)(0.5, 0.7), -np.cos(0.5))
    strengths = jnp.array([0.0, 0.5, 2.0])
    gradients = jax.jit(jax.vmap(jax.grad(f), (None, 0)))(0.5, strengths)
    np.testing.assert_allclose(gradients, -strengths * np.cos(0.5), rtol=1e-14)


def test_a_pytree_passes_what_cannot_be_reversed():
    tree = {
        "tokens": jnp.arange(3),
        "mask": jnp.array([True, False]),
        "key": jax.random.key(0),
        "features": [jnp.ones((2, 2)), 2.0],
    }
    found = jax.jit(reverse_gradient)(tree, 0.5)
    assert jax.tree.structure(found) == jax.tree.structure(tree)
    assert found["tokens"].dtype == jnp.int32 and found["mask"].dtype == bool
    assert found["key"].dtype == tree["key"].dtype
    gradient = jax.grad(lambda x: reverse_gradient(tree | {"features": x}, 0.5)["features"][1])
    assert gradient([jnp.ones((2, 2)), 2.0])[1] == -0.5


def test_half_precision_keeps_its_type_under_a_float32_strength():
    x = jnp.ones(3, jnp.bfloat16)
    gradient = jax.grad(lambda x: reverse_gradient(x, jnp.float32(0.5)).sum())(x)
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_array_equal(gradient.astype(np.float32), -0.5)


def test_it_plays_both_sides_of_a_saddle_at_once():
    """min over a, max over b of (a - 1)^2 - (b - a)^2 / 2 + a b, by one gradient step for both."""

    def loss(players):
        a, b = players[0], reverse_gradient(players[1])
        return (a - 1) ** 2 - 0.5 * (b - a) ** 2 + a * b

    players, rule = jnp.array([3.0, -2.0]), optax.sgd(0.1)
    state = rule.init(players)

    @jax.jit
    def step(players, state):
        updates, state = rule.update(jax.grad(loss)(players), state)
        return optax.apply_updates(players, updates), state

    for _ in range(300):
        players, state = step(players, state)
    # Both partial derivatives are 0: b = 2 a, and a + 2 b = 2.
    np.testing.assert_allclose(players, [2 / 5, 4 / 5], atol=1e-5)


def test_mistakes_are_refused():
    with pytest.raises(
        ValueError, match="strength must be a finite number of at least 0; it is -1"
    ):
        reverse_gradient(1.0, -1)
    with pytest.raises(
        ValueError, match=r"strength must be one number of at least 0; its shape is \(2,\)"
    ):
        reverse_gradient(1.0, jnp.ones(2))
    with pytest.raises(TypeError, match="strength must be a number of at least 0; it is 'much'"):
        reverse_gradient(1.0, "much")
