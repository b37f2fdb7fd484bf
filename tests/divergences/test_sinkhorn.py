"""Sinkhorn: against ott and POT, its plan by its marginals, its gradient by finite differences."""

import os
import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer.divergences import sinkhorn_divergence, sinkhorn_plan

from . import checks

# POT looks for every array library there is; of those, only NumPy is used here.
os.environ.update({f"POT_BACKEND_DISABLE_{name}": "1" for name in ("PYTORCH", "JAX", "CUPY")})
import ot  # noqa: E402

with (
    warnings.catch_warnings()
):  # ott imports jaxopt, which says at import that it is not maintained
    warnings.filterwarnings("ignore", message="JAXopt is no longer maintained", append=False)
    from ott.geometry import costs, pointcloud
    from ott.tools import sinkhorn_divergence as ott_divergence

BOTH = ["squared_l2", pytest.param("l2", marks=pytest.mark.thorough)]
COSTS = {"squared_l2": costs.SqEuclidean(), "l2": costs.Euclidean()}
TIGHT = {"tolerance": 1e-11, "max_iterations": 10_000}


def tight(source, target, epsilon=0.7, **options):
    return sinkhorn_divergence(source, target, epsilon=epsilon, **TIGHT, **options)[0]


def by_ott(source, target, a=None, b=None, epsilon=0.7, cost="squared_l2"):
    value, _ = ott_divergence.sinkhorn_divergence(
        pointcloud.PointCloud,
        jnp.asarray(source),
        jnp.asarray(target),
        a=None if a is None else jnp.asarray(a / a.sum()),
        b=None if b is None else jnp.asarray(b / b.sum()),
        cost_fn=COSTS[cost],
        epsilon=epsilon,
        solve_kwargs={"threshold": 1e-11, "max_iterations": 10_000},
    )
    return value


def by_pot(a, b, cost):
    return ot.sinkhorn(a, b, cost, 3.0, method="sinkhorn_log", stopThr=1e-12, numItermax=20_000)


def distances(source, target):
    return np.sum(np.square(source[:, None] - target), axis=-1)


@pytest.mark.parametrize(
    ("cost", "weighted"),
    [
        ("squared_l2", True),
        ("l2", True),
        pytest.param("squared_l2", False, marks=pytest.mark.thorough),
        pytest.param("l2", False, marks=pytest.mark.thorough),
    ],
)
def test_value_and_gradient_are_otts(cost, weighted, x64):
    source, target = checks.two(n=11, m=6, d=4)
    a, b = (checks.weights(1, 11), checks.weights(2, 6)) if weighted else (None, None)
    options = {"cost": cost, "source_weights": a, "target_weights": b}
    value, gradients = checks.quickly(
        jax.value_and_grad(lambda x, y: tight(x, y, **options), argnums=(0, 1))
    )(source, target)
    theirs = partial(by_ott, a=a, b=b, cost=cost)
    np.testing.assert_allclose(value, checks.quickly(theirs)(source, target), rtol=1e-8)
    if cost == "l2":  # differentiated, ott 0.6 gives another value of this cost; see test_contract
        return
    for mine, their in zip(
        gradients, checks.quickly(jax.grad(theirs, argnums=(0, 1)))(source, target), strict=True
    ):
        np.testing.assert_allclose(mine, their, rtol=1e-5, atol=1e-8)


def test_it_is_made_of_pots_plans(x64):
    """Of three plans by POT, each with its cost and its entropy relative to the weights."""
    source, target = checks.two(n=11, m=6, d=4)
    a, b = checks.weights(1, 11), checks.weights(2, 6)
    a, b = a / a.sum(), b / b.sum()

    def transport(x, y, a, b):
        plan = by_pot(a, b, distances(x, y))
        entropy = np.sum(plan * np.log(plan / np.outer(a, b)))
        return np.sum(plan * distances(x, y)) + 3 * entropy

    expected = transport(source, target, a, b) - 0.5 * (
        transport(source, source, a, a) + transport(target, target, b, b)
    )
    found = tight(source, target, epsilon=3.0, source_weights=a, target_weights=b)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_plan_is_pots(x64):
    source, target = checks.two(n=11, m=6, d=4)
    a, b = checks.weights(1, 11), checks.weights(2, 6)
    cost = distances(source, target)
    plan, info = sinkhorn_plan(cost, epsilon=3.0, source_weights=a, target_weights=b, **TIGHT)
    expected = by_pot(a / a.sum(), b / b.sum(), cost)
    np.testing.assert_allclose(plan, expected, rtol=1e-8, atol=1e-14)
    np.testing.assert_allclose(plan.sum(0), b / b.sum(), rtol=1e-12)
    np.testing.assert_allclose(plan.sum(1), a / a.sum(), rtol=1e-9)
    assert info.converged and info.marginal_error <= 1e-11
    assert 1 < info.iterations < 10_000


def test_a_small_epsilon_approaches_optimal_transport(x64):
    source, target = checks.two(n=8, m=8, d=2)
    cost = distances(source, target)
    exact = ot.emd2(np.full(8, 1 / 8), np.full(8, 1 / 8), cost)
    plan, info = sinkhorn_plan(cost, epsilon=0.01, max_iterations=20_000)
    assert info.converged
    np.testing.assert_allclose(np.sum(plan * cost), exact, rtol=1e-3)


def test_relative_epsilon_is_a_multiple_of_the_mean_cost(x64):
    source, target = checks.two(n=11, m=6, d=4)
    a = checks.weights(1, 11)
    mean = np.average(distances(source, target).mean(1), weights=a)
    both = {"source_weights": a, **TIGHT}
    value, info = sinkhorn_divergence(source, target, epsilon=0.05, relative=True, **both)
    np.testing.assert_allclose(info.epsilon, 0.05 * mean, rtol=1e-12)
    same, _ = sinkhorn_divergence(source, target, epsilon=0.05 * mean, **both)
    np.testing.assert_allclose(value, same, rtol=1e-9)
    plan, info = sinkhorn_plan(distances(source, target), epsilon=0.05, relative=True, **both)
    np.testing.assert_allclose(info.epsilon, 0.05 * mean, rtol=1e-12)
    # The scale of the features is then of no account but for the unit.
    scaled, _ = sinkhorn_divergence(10 * source, 10 * target, epsilon=0.05, relative=True, **both)
    np.testing.assert_allclose(scaled, 100 * value, rtol=1e-8)


def test_closed_forms(x64):
    source, target = checks.two()
    shift = np.array([1.0, -2.0, 2.0])
    np.testing.assert_allclose(tight(source, source + shift), 9, rtol=1e-8)
    # A large epsilon leaves the means alone; one point a side the distance alone.
    means = np.sum(np.square(source.mean(0) - target.mean(0)))
    np.testing.assert_allclose(tight(source, target, epsilon=1e7), means, rtol=1e-4)
    np.testing.assert_allclose(
        tight(source[:1], target[:1], cost="l2") ** 2, distances(source, target)[0, 0]
    )


@pytest.mark.slow
@pytest.mark.parametrize("cost", BOTH)
def test_contract(cost, x64):
    f = partial(tight, cost=cost)
    checks.assert_zero_at_equality(f, atol=1e-10)
    checks.assert_symmetric(f, rtol=1e-7)
    if cost == "squared_l2":
        checks.assert_order_is_of_no_account(f, rtol=1e-8)
        checks.assert_weights_are_weights(f, rtol=1e-7, atol=1e-8)
    # Its second derivative holds the plan fixed, and so is not that of the value.
    checks.assert_derivatives(f, second=False)
    checks.assert_transforms(f, rtol=1e-8)


def test_the_second_derivative_holds_the_plan_fixed(x64):
    """Along a shift of one sample, which moves no plan, it is that of the value."""
    source, target = checks.two()
    hessian = jax.hessian(lambda shift: tight(source + shift, target))(np.zeros(3))
    np.testing.assert_allclose(hessian, 2 * np.eye(3), atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("cost", BOTH)
def test_degenerate_samples(cost):
    def f(source, target, **options):
        return sinkhorn_divergence(source, target, epsilon=0.5, cost=cost, **options)[0]

    checks.assert_finite_where_points_coincide(f)
    checks.assert_an_empty_side_is_0(f)
    checks.assert_half_precision_is_computed_in_float32(f)


def test_a_mean_cost_of_0_is_no_epsilon_of_0():
    ones = np.ones((4, 3), np.float32)
    value, info = sinkhorn_divergence(ones, ones, epsilon=0.05, relative=True)
    assert value == 0 and info.converged and info.epsilon > 0
    plan, info = sinkhorn_plan(jnp.zeros((2, 4)), epsilon=0.05, relative=True)
    np.testing.assert_allclose(plan, np.full((2, 4), 1 / 8), rtol=1e-6)


@pytest.mark.parametrize("cost", BOTH)
def test_float32_agrees_with_float64_for_points_far_from_0(cost):
    source, target = checks.two(n=40, m=50, dtype=np.float32)
    source, target = source + 300, target + 300
    value, info = sinkhorn_divergence(source, target, epsilon=3.0, cost=cost)
    assert info.converged and value.dtype == jnp.float32
    with jax.enable_x64(True):
        double = source.astype(np.float64), target.astype(np.float64)
        expected = tight(*double, epsilon=3.0, cost=cost)
    np.testing.assert_allclose(value, expected, rtol=1e-4)


def test_info_says_what_did_not_converge():
    source, target = checks.two(dtype=np.float32)
    run = partial(sinkhorn_divergence, source, target, epsilon=0.01)
    _, info = run(max_iterations=3)
    assert not info.converged and info.iterations == 3 and 1e-4 < info.marginal_error <= 2
    _, info = run(tolerance=0.5)
    assert info.converged and info.marginal_error <= 0.5
    plan, info = sinkhorn_plan(distances(source, target), epsilon=0.01, max_iterations=3)
    error = np.abs(plan.sum(1) - 1 / len(source)).sum()
    np.testing.assert_allclose(info.marginal_error, error, rtol=1e-5)
    assert not info.converged


def test_each_problem_of_a_vmap_has_its_own_info():
    source, target = checks.two(dtype=np.float32)
    epsilons = jnp.array([0.1, 10.0])
    values, infos = jax.vmap(lambda e: sinkhorn_divergence(source, target, epsilon=e))(epsilons)
    for index in range(2):
        value, info = sinkhorn_divergence(source, target, epsilon=epsilons[index])
        np.testing.assert_allclose(values[index], value, rtol=1e-5)
        assert infos.iterations[index] == info.iterations
    assert infos.iterations[0] > infos.iterations[1]


def test_eager_calls_do_not_trace_again(monkeypatch):
    from jaxfer.divergences import sinkhorn

    source, target = checks.two(dtype=np.float32)
    sinkhorn_divergence(source, target, epsilon=0.5)
    monkeypatch.setattr(sinkhorn, "_solve", None)  # a second trace would call it
    first, _ = sinkhorn_divergence(source, target, epsilon=0.5)
    second, _ = sinkhorn_divergence(source, target, epsilon=0.6, tolerance=1e-3)
    assert first != second


def test_the_plan_is_a_constant_in_differentiation():
    source, target = checks.two(dtype=np.float32)
    cost = jnp.asarray(distances(source, target))

    def transported(cost):
        plan, info = sinkhorn_plan(cost, epsilon=0.5)
        return jnp.sum(plan * cost), (plan, info)

    gradient, (plan, info) = jax.grad(transported, has_aux=True)(cost)
    np.testing.assert_array_equal(gradient, plan)
    assert info.converged
    plans, _ = jax.vmap(lambda c: sinkhorn_plan(c, epsilon=0.5))(jnp.stack([cost, cost + 1]))
    np.testing.assert_allclose(plans[0], plan, atol=1e-6)
    np.testing.assert_allclose(plans[1], plan, atol=1e-5)


def test_weights_of_a_plan():
    source, target = checks.two(dtype=np.float32)
    cost = jnp.asarray(distances(source, target))
    a = np.array([1, 0, 2, 1, 0, 1, 1], np.float32)
    plan, _ = sinkhorn_plan(cost, epsilon=0.5, source_weights=a)
    assert not plan[a == 0].any()
    sliced, _ = sinkhorn_plan(cost[a > 0], epsilon=0.5, source_weights=a[a > 0])
    np.testing.assert_allclose(plan[a > 0], sliced, atol=1e-6)
    empty, _ = checks.quickly(lambda c, a: sinkhorn_plan(c, epsilon=0.5, source_weights=a))(
        cost, 0 * a
    )
    assert not empty.any()


def test_mistakes_are_refused():
    checks.assert_mistakes_are_refused(
        lambda *x, **options: sinkhorn_divergence(*x, epsilon=0.5, **options)
    )
    source, target = checks.two(dtype=np.float32)
    run = partial(sinkhorn_divergence, source, target)
    with pytest.raises(ValueError, match="cost must be 'squared_l2' or 'l2'; it is 'l1'"):
        run(epsilon=0.5, cost="l1")
    with pytest.raises(ValueError, match="epsilon must be a finite number above 0; it is 0"):
        run(epsilon=0)
    with pytest.raises(TypeError, match="relative must be True or False; it is 0.05"):
        run(epsilon=0.5, relative=0.05)
    with pytest.raises(ValueError, match="tolerance must be a finite number above 0; it is -1"):
        run(epsilon=0.5, tolerance=-1)
    with pytest.raises(ValueError, match="max_iterations must be an integer of at least 1"):
        run(epsilon=0.5, max_iterations=0)
    with pytest.raises(ValueError, match=r"cost must be an array \[n, m\] .* shape \(3,\)"):
        sinkhorn_plan(source[0], epsilon=0.5)
    with pytest.raises(ValueError, match=r"cost must be an array \[n, m\] .* shape \(0, 3\)"):
        sinkhorn_plan(source[:0], epsilon=0.5)
    with pytest.raises(ValueError, match="cost must be finite"):
        sinkhorn_plan(np.full((2, 2), np.inf), epsilon=0.5)
    with pytest.raises(ValueError, match="source_weights must hold one weight for each point"):
        sinkhorn_plan(source, epsilon=0.5, source_weights=np.ones(3))
