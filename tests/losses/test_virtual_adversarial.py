"""Virtual adversarial training: a linear network's closed form, and the worst direction by brute force."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from jaxfer import losses
from jaxfer.divergences import kl_logits

from .contracts import grad, value_and_grad, whole


def virtual_adversarial(logits_fn, x, **options):
    return whole(partial(losses.virtual_adversarial, logits_fn))(x, **options)


KEY = jax.random.key(0)
MATRIX = np.random.default_rng(0).normal(size=(4, 3))


def linear(x):
    return x @ MATRIX.astype(x.dtype)


def network(x, params=MATRIX):
    hidden = jnp.tanh(x @ params @ params.T)
    return hidden @ params


def inputs(batch=5, dtype=np.float64):
    return np.random.default_rng(1).normal(size=(batch, 4)).astype(dtype)


def by_numpy(x, iterations, radius):
    """Of the linear network, whose Jacobian is the same everywhere; each example by itself."""
    first = np.asarray(jax.random.normal(KEY, x.shape, x.dtype))
    losses = []
    for row, d in zip(x, first, strict=True):
        p = special.softmax(row @ MATRIX)
        hessian = MATRIX @ (np.diag(p) - np.outer(p, p)) @ MATRIX.T
        for _ in range(iterations):
            d = hessian @ d / np.linalg.norm(hessian @ d)
        losses.append(stats.entropy(p, special.softmax((row + radius * d) @ MATRIX)))
    return losses


@pytest.mark.parametrize("iterations", [1, 3])
def test_it_is_numpys_for_a_linear_network(iterations, x64):
    x = inputs()
    found = jax.jit(
        lambda x: virtual_adversarial(linear, x, key=KEY, radius=0.7, power_iterations=iterations)
    )(x)
    np.testing.assert_allclose(found, by_numpy(x, iterations, 0.7), rtol=1e-9)


@pytest.mark.slow
def test_a_finite_difference_is_nearly_the_exact_product(x64):
    x = inputs()
    options = {"key": KEY, "radius": 0.5, "power_iterations": 2}
    exact = virtual_adversarial(network, x, **options)
    errors = [
        np.abs(virtual_adversarial(network, x, finite_difference=xi, **options) - exact).max()
        for xi in (1e-2, 1e-3, 1e-4)
    ]
    assert errors[0] > 0 and errors[1] < 0.3 * errors[0] and errors[2] < 0.3 * errors[1]


@pytest.mark.slow
def test_many_iterations_find_the_worst_of_all_directions(x64):
    x = inputs(batch=1)
    radius = 1e-3
    worst = virtual_adversarial(network, x, key=KEY, radius=radius, power_iterations=60)
    directions = np.random.default_rng(2).normal(size=(20_000, 4))
    directions *= radius / np.linalg.norm(directions, axis=1, keepdims=True)
    every = kl_logits(jnp.broadcast_to(network(x), (20_000, 3)), network(x + directions))
    assert worst[0] >= 0.999 * np.max(every) > 0
    np.testing.assert_allclose(worst[0], np.max(every), rtol=0.01)


def test_the_gradient_passes_through_the_moved_prediction_alone(x64):
    """It is that of the divergence with direction and first prediction held fixed."""
    x = inputs()
    params = 0.5 * MATRIX

    def loss(params):
        f = lambda x: network(x, params)  # noqa: E731
        return virtual_adversarial(f, x, key=KEY, radius=0.5).sum()

    @jax.jit
    def derivatives(params):
        found = jax.grad(loss)(params)
        forward = jax.jvp(loss, (params,), (MATRIX,))[1]
        return found, forward, jax.grad(lambda p: jnp.sum(jnp.square(jax.grad(loss)(p))))(params)

    found, forward, twice = derivatives(params)
    # The direction, from the loss with a network that remembers where it was last evaluated.
    seen = []

    @jax.jit
    def last_seen(x):
        seeing = lambda x: (seen.append(x), network(x, params))[1]  # noqa: E731
        return losses.virtual_adversarial(seeing, x, key=KEY, radius=0.5), seen[-1]

    _, moved = last_seen(x)
    np.testing.assert_allclose(np.linalg.norm(moved - x, axis=1), 0.5, rtol=1e-9)
    expected = grad(lambda p: kl_logits(network(x, params), network(moved, p)).sum())(params)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_allclose(forward, jnp.vdot(found, MATRIX), rtol=1e-9)
    assert np.isfinite(twice).all() and np.abs(twice).max() > 0


@pytest.mark.slow
def test_other_shapes_axes_and_classes_left_out(x64):
    x = inputs()
    expected = virtual_adversarial(linear, x, key=KEY, radius=0.5)
    images = lambda x: linear(x.reshape(5, 4))  # noqa: E731
    np.testing.assert_allclose(
        virtual_adversarial(images, x.reshape(5, 2, 2), key=KEY, radius=0.5).shape, (5,)
    )
    columns = lambda x: linear(x)[:, :, None]  # noqa: E731
    found = virtual_adversarial(columns, x, key=KEY, radius=0.5, axis=(1, 2))
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    more = lambda x: jnp.concatenate([linear(x), 5 * x[:, :1]], axis=1)  # noqa: E731
    where = np.array([True, True, True, False])
    found = virtual_adversarial(more, x, key=KEY, radius=0.5, where=where)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.slow
def test_under_vmap_with_keys_of_their_own(x64):
    x, keys = np.stack([inputs(), 2 * inputs()]), jax.random.split(KEY)
    f = lambda x, key: virtual_adversarial(network, x, key=key, radius=0.5)  # noqa: E731
    found = jax.vmap(f)(x, keys)
    np.testing.assert_allclose(found[1], f(x[1], keys[1]), rtol=1e-9)


@pytest.mark.parametrize(
    "options", [{}, pytest.param({"finite_difference": 1e-2}, marks=pytest.mark.thorough)]
)
def test_degenerate_networks_have_finite_gradients(options):
    x = inputs(dtype=np.float32)

    def loss(w, x, scale):
        f = lambda x: scale * (x @ w)  # noqa: E731
        return losses.virtual_adversarial(f, x, key=KEY, radius=0.5, **options).sum()

    both = value_and_grad(loss, argnums=(0, 1))
    for scale in (0.0, 1e-20, 1e4):
        value, gradients = both(np.float32(MATRIX), x, scale)
        assert np.isfinite(value) and all(np.isfinite(g).all() for g in gradients)
    constant = virtual_adversarial(lambda x: 0 * linear(x) + 1, x, key=KEY, radius=0.5, **options)
    np.testing.assert_array_equal(constant, 0)
    assert virtual_adversarial(linear, x, key=KEY, radius=0.0, **options).max() < 1e-12


def test_mistakes_are_refused():
    x = inputs(dtype=np.float32)
    with pytest.raises(ValueError, match="radius must be a finite number of at least 0; it is -1"):
        losses.virtual_adversarial(linear, x, key=KEY, radius=-1)
    with pytest.raises(ValueError, match="power_iterations must be an integer of at least 1"):
        losses.virtual_adversarial(linear, x, key=KEY, radius=1, power_iterations=0)
    with pytest.raises(ValueError, match="finite_difference must be a finite number above 0"):
        losses.virtual_adversarial(linear, x, key=KEY, radius=1, finite_difference=0.0)
    with pytest.raises(
        ValueError, match=r"logits_fn must map \(5, 4\) to \[5, classes\]; it made \(5,\)"
    ):
        losses.virtual_adversarial(lambda x: x[:, 0], x, key=KEY, radius=1)
    with pytest.raises(TypeError, match="x must be of floating point; it is int"):
        losses.virtual_adversarial(linear, x.astype(int), key=KEY, radius=1)
