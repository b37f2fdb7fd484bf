"""Schedules of the adversary: their formulas, their ends, and what never gets there."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer.adapters import constant_strength, dann_strength, linear_strength


def test_dann_is_its_formula(x64):
    steps = np.arange(0, 301)
    p = np.minimum(steps / 200, 1)
    expected = 0.3 * (2 / (1 + np.exp(-8.0 * p)) - 1)
    schedule = dann_strength(300, end=0.3, gamma=8.0, over=200)
    np.testing.assert_allclose(jax.vmap(schedule)(steps), expected, rtol=1e-12)
    np.testing.assert_allclose([jax.jit(schedule)(s) for s in steps[::50]], expected[::50])


def test_linear_is_its_formula():
    schedule = linear_strength(10, start=1.0, end=0.2, over=4)
    expected = [1.0, 0.8, 0.6, 0.4, 0.2, 0.2, 0.2]
    np.testing.assert_allclose([schedule(s) for s in range(7)], expected, rtol=1e-6)


@pytest.mark.parametrize(
    "schedule",
    [dann_strength(100), linear_strength(100), linear_strength(100, over=1), constant_strength()],
)
def test_the_end_is_reached_and_kept(schedule):
    assert schedule(100) == pytest.approx(1, abs=1e-4)
    assert schedule(1_000_000) == schedule(100)
    assert schedule(-5) == schedule(0)
    traced = jax.jit(schedule)(jnp.asarray(7))
    assert traced == schedule(7) and traced.shape == () and traced.dtype == jnp.float32


def test_no_step_before_the_first_and_no_way_back():
    assert dann_strength(100)(0) == 0 and linear_strength(100)(0) == 0
    assert (np.diff(jax.vmap(dann_strength(100))(np.arange(101))) >= 0).all()


def test_an_end_can_be_traced():
    found = jax.vmap(lambda end: dann_strength(10, end=end)(10))(jnp.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(found, [0, 0.5, 1], atol=1e-4)


def test_a_schedule_that_never_reaches_its_end_is_refused_or_warned_of():
    for make in (dann_strength, linear_strength):
        with pytest.raises(ValueError, match="never reaches its end; over is 11 and steps 10"):
            make(10, over=11)
        make(10, over=10)
    with pytest.warns(UserWarning, match="with gamma=1.0 the strength reaches 46% of its end"):
        dann_strength(10, gamma=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dann_strength(10, gamma=5.3)


def test_mistakes_are_refused():
    with pytest.raises(TypeError, match="steps must be an integer of at least 1; it is 10.0"):
        dann_strength(10.0)
    with pytest.raises(ValueError, match="over must be an integer of at least 1; it is 0"):
        linear_strength(10, over=0)
    with pytest.raises(ValueError, match="end must be a finite number of at least 0; it is -1"):
        linear_strength(10, end=-1)
    with pytest.raises(ValueError, match="gamma must be a finite number above 0; it is 0"):
        dann_strength(10, gamma=0)
    with pytest.raises(ValueError, match="strength must be a finite number of at least 0"):
        constant_strength(np.nan)
