"""iMAML: the gradient of the same proximal inner problem, unrolled until it has converged."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxfer.adapters import by_path
from jaxfer.meta import adapt, imaml
from jaxfer.typing import Task

from .references import (
    assert_meta_gradient,
    finite_differences,
    loss_and_gradient,
    make_loss,
    make_params,
    make_task,
    meta_gradient,
)

RATE, STRENGTH, UNROLLED = 0.12, 3.0, 80


def solve(params, support, adapted=None, statistics="none"):
    """Gradient descent on the proximal objective, long enough to have converged."""
    phi = params
    for _ in range(UNROLLED):
        _, gradient, _ = loss_and_gradient(phi, support, statistics)
        phi = {
            name: jax.tree.map(
                lambda p, g, t: p - RATE * (g + STRENGTH * (p - t)),
                phi[name],
                gradient[name],
                params[name],
            )
            if adapted is None or name in adapted
            else params[name]
            for name in params
        }
    return phi


def objective(meta, task, adapted=None, support="none", query="none"):
    phi = solve(meta["params"], task.support, adapted, support)
    recorded = loss_and_gradient(phi, task.support, support)[2]
    return loss_and_gradient(phi, task.query, query, recorded)[0]


OPTIONS = {"proximal": STRENGTH, "rule": optax.sgd(RATE), "steps": UNROLLED}
# The conjugate gradients stop at a residual of 1e-5 of the right-hand side.
TOLERANCES = {"rtol": 2e-4, "atol": 2e-5}


def test_the_reference_has_converged():
    params, task = make_params(), make_task()
    phi = solve(params, task.support)
    gradient = loss_and_gradient(phi, task.support)[1]
    force = jax.tree.map(lambda g, p, t: g + STRENGTH * (p - t), gradient, phi, params)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(force)) < 1e-8


@pytest.mark.slow
def test_meta_gradient_is_that_of_the_unrolled_proximal_problem(x64):
    learner = imaml(make_loss(), solver_steps=50, **OPTIONS)
    assert_meta_gradient(learner, learner.init(make_params()), objective, make_task(), **TOLERANCES)


@pytest.mark.slow
def test_frozen_parameters_get_their_gradient_too(x64):
    learner = imaml(make_loss(), solver_steps=50, mask=by_path(("head", "norm")), **OPTIONS)
    meta = learner.init(make_params())
    in_numpy = partial(objective, adapted=("head", "norm"))
    grads = assert_meta_gradient(learner, meta, in_numpy, make_task(), **TOLERANCES).grads
    partial_alone = loss_and_gradient(
        solve(meta["params"], make_task().support, ("head", "norm")), make_task().query
    )[1]["body"]["kernel"]
    # More than the direct derivative: the body also moves what the head converges to.
    assert np.abs(grads["params"]["body"]["kernel"] - partial_alone).max() > 1e-2


def test_statistics_of_the_support_set(x64):
    learner = imaml(
        make_loss("batch", record=True),
        query_loss_fn=make_loss("recorded"),
        solver_steps=50,
        **OPTIONS,
    )
    in_numpy = partial(objective, support="batch", query="recorded")
    assert_meta_gradient(
        learner, learner.init(make_params()), in_numpy, make_task(),
        state={"mean": np.zeros(4)}, **TOLERANCES,
    )  # fmt: skip


CURVATURE = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, -0.3], [0.0, -0.3, 0.5]])


def quadratic(params, state, batch, key):
    error = params - batch
    return 0.5 * error @ CURVATURE @ error, (state, {})


def test_closed_form_on_a_quadratic(x64):
    """phi = (H + l I)^-1 (H b + l theta), so d phi / d theta = l (H + l I)^-1, by three steps of CG."""
    theta, support, query = np.random.default_rng(0).normal(size=(3, 3))
    strength = 1.5
    learner = imaml(quadratic, proximal=strength, solver_steps=3, rule=optax.sgd(0.3), steps=100)
    result = meta_gradient(learner, {"params": theta}, Task(support, query))
    inverse = np.linalg.inv(CURVATURE + strength * np.eye(3))
    phi = inverse @ (CURVATURE @ support + strength * theta)
    expected = strength * inverse @ CURVATURE @ (phi - query)
    np.testing.assert_allclose(result.grads["params"], expected, rtol=1e-9)

    coarse = imaml(quadratic, proximal=strength, solver_steps=1, rule=optax.sgd(0.3), steps=100)
    one_step = meta_gradient(coarse, {"params": theta}, Task(support, query)).grads["params"]
    right = CURVATURE @ (phi - query)  # one step of CG from 0 goes along the right-hand side
    matrix = np.eye(3) + CURVATURE / strength
    np.testing.assert_allclose(
        one_step, right * (right @ right) / (right @ matrix @ right), rtol=1e-9
    )


def test_the_gradient_depends_on_the_solution_and_not_on_the_path(x64):
    theta, support, query = np.random.default_rng(1).normal(size=(3, 3))
    grads = [
        meta_gradient(
            imaml(quadratic, proximal=1.0, solver_steps=3, rule=rule, steps=steps),
            {"params": theta}, Task(support, query),
        ).grads["params"]
        for rule, steps in [(optax.sgd(0.3), 150), (optax.sgd(0.1, momentum=0.5), 400)]
    ]  # fmt: skip
    np.testing.assert_allclose(grads[0], grads[1], rtol=1e-6)


def test_what_the_loss_closes_over_and_the_batch_get_their_gradient(x64):
    """As a learned loss or a learned support set needs."""
    theta, support, query = np.random.default_rng(2).normal(size=(3, 3))

    def query_loss(support, weight):
        def loss_fn(params, state, batch, key):
            return weight * quadratic(params, state, batch, key)[0], (state, {})

        adapted = adapt(
            loss_fn, jnp.asarray(theta), {}, support,
            rule=optax.sgd(0.3), steps=100, gradient="implicit", proximal=1.0, solver_steps=3,
        )  # fmt: skip
        return jnp.sum((adapted.params - query) ** 2)

    def reference(arguments):
        support, weight = arguments
        phi = np.linalg.solve(weight * CURVATURE + np.eye(3), weight * CURVATURE @ support + theta)
        return np.sum((phi - query) ** 2)

    value, (batch, weight) = jax.value_and_grad(query_loss, (0, 1))(jnp.asarray(support), 1.2)
    np.testing.assert_allclose(value, reference((support, 1.2)), rtol=1e-9)
    expected = finite_differences(reference, (support, np.array(1.2)))
    np.testing.assert_allclose(batch, expected[0], rtol=1e-6)
    np.testing.assert_allclose(weight, expected[1], rtol=1e-6)


def test_residual_says_how_far_the_inner_problem_is_from_solved(x64):
    theta, support = np.random.default_rng(4).normal(size=(2, 3))
    phi, residuals = theta, []
    for _ in range(8):
        force = CURVATURE @ (phi - support) + 1.5 * (phi - theta)
        residuals.append(np.linalg.norm(force))
        phi = phi - 0.3 * force
    for steps in (1, 8):
        learner = imaml(quadratic, proximal=1.5, rule=optax.sgd(0.3), steps=steps)
        info = learner.adapt({"params": jnp.asarray(theta)}, {}, support, None).info
        np.testing.assert_allclose(info.residual, residuals[steps - 1], rtol=1e-9)


def test_forward_mode_vmap_and_jit(x64):
    theta, *supports = np.random.default_rng(3).normal(size=(3, 3))
    learner = imaml(quadratic, proximal=1.0, solver_steps=3, rule=optax.sgd(0.3), steps=20)

    def query_loss(theta, support):
        adapted = learner.adapt({"params": theta}, {}, support, None)
        return jnp.sum(adapted.params**2)

    supports = jnp.stack(supports)
    reverse = jax.jit(jax.vmap(jax.grad(query_loss), (None, 0)))(theta, supports)
    forward = jax.jit(jax.vmap(jax.jacfwd(query_loss), (None, 0)))(theta, supports)
    np.testing.assert_allclose(forward, reverse, rtol=1e-9)
    for support, gradient in zip(supports, reverse, strict=True):
        np.testing.assert_allclose(jax.grad(query_loss)(theta, support), gradient, rtol=1e-9)


def test_memory_does_not_grow_with_the_steps():
    width = 256

    def loss_fn(params, state, batch, key):
        hidden = jnp.tanh(batch @ params["first"])
        return jnp.mean(jnp.tanh(hidden @ params["second"]) ** 2), (state, {})

    params = {name: jnp.ones((width, width)) / width for name in ("first", "second")}
    task = Task(jnp.ones((width, width)), jnp.ones((width, width)))

    def temporary_bytes(steps):
        learner = imaml(loss_fn, rule=optax.sgd(RATE), steps=steps, mask=by_path("second"))
        compiled = jax.jit(learner.gradient).lower({"params": params}, {}, task, None, 0).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary_bytes(30) < 1.5 * temporary_bytes(3)


@pytest.mark.parametrize("proximal", [0.0, -1.0])
def test_the_pull_must_be_positive(proximal):
    learner = imaml(make_loss(), **{**OPTIONS, "proximal": proximal})
    with pytest.raises(ValueError, match=f"proximal must be positive .* got {proximal}"):
        learner.adapt(learner.init(make_params()), {}, make_task().support, None)
