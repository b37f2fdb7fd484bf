"""CORAL: against NumPy's covariances, by its identities, and over four devices."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer.divergences import coral

from . import checks


def reference(source, target, a=None, b=None):
    difference = np.cov(source, rowvar=False, aweights=a) - np.cov(target, rowvar=False, aweights=b)
    return np.linalg.norm(difference, "fro") ** 2 / (4 * source.shape[1] ** 2)


def test_it_is_the_distance_of_numpys_covariances(x64):
    source, target = checks.two(n=11, m=6, d=4)
    np.testing.assert_allclose(coral(source, target), reference(source, target), rtol=1e-12)
    a, b = checks.weights(1, 11), checks.weights(2, 6)
    np.testing.assert_allclose(
        coral(source, target, source_weights=a, target_weights=b),
        reference(source, target, a, b),
        rtol=1e-12,
    )


def test_a_mean_far_from_0_costs_no_digits():
    source, target = checks.two(n=200, m=300, d=4, dtype=np.float32)
    source, target = source + 1000, target - 3000
    expected = reference(source.astype(np.float64), target.astype(np.float64))
    np.testing.assert_allclose(coral(source, target), expected, rtol=1e-5)


def test_identities(x64):
    checks.assert_zero_at_equality(coral)
    checks.assert_symmetric(coral)
    checks.assert_order_is_of_no_account(coral)
    source, target = checks.two()
    np.testing.assert_allclose(coral(source + 5, target), coral(source, target), rtol=1e-10)
    np.testing.assert_allclose(coral(3 * source, 3 * target), 81 * coral(source, target))


def test_weights(x64):
    checks.assert_weights_are_weights(coral, repeat=False)


def test_derivatives_and_transforms(x64):
    checks.assert_derivatives(coral)
    checks.assert_transforms(coral)


def test_degenerate_samples():
    checks.assert_finite_where_points_coincide(coral, least=2)
    checks.assert_an_empty_side_is_0(coral)
    checks.assert_half_precision_is_computed_in_float32(coral)


def test_one_point_left_by_traced_weights_gives_0():
    source, target = checks.two(dtype=np.float32)
    one = np.zeros(len(source), np.float32)
    one[3] = 0.7
    value, gradient = jax.jit(
        jax.value_and_grad(lambda x, a: coral(x, target, source_weights=a), argnums=(0, 1))
    )(source, one)
    assert value == 0
    assert not any(np.asarray(g).any() for g in gradient)


def test_shards_equal_the_whole(x64):
    checks.assert_shards_equal_the_whole(coral, atol=1e-9)


def test_mistakes_are_refused():
    checks.assert_mistakes_are_refused(coral, least=2)
    source, target = checks.two()
    with pytest.raises(ValueError, match="target_weights must hold at least 2 above 0; 1 of 9"):
        coral(source, target, target_weights=np.eye(len(target))[0])


def test_four_devices_equal_one():
    """Under pmap, on a local loss plus the global one."""
    program = """
import jax, jax.numpy as jnp, numpy as np
from jaxfer.divergences import coral
assert jax.device_count() == 4
draw = np.random.default_rng(0)
x, y = draw.normal(size=(8, 3)), 1.5 * draw.normal(size=(12, 3)) + 1
x, y = x.astype(np.float32), y.astype(np.float32)
a = np.array([0, 0, 1, 2, 1, 0, 3, 1], np.float32)
matrix = draw.normal(size=(3, 3)).astype(np.float32)

def loss(matrix, x, y, a, axis_name=None):
    own = jnp.mean(jnp.sin(x @ matrix))
    return own + coral(x @ matrix, y @ matrix, source_weights=a, axis_name=axis_name)

def local(matrix, x, y, a):
    return jax.lax.pmean(jax.value_and_grad(loss)(matrix, x, y, a, "batch"), "batch")

shards = [z.reshape(4, -1, *z.shape[1:]) for z in (x, y, a)]
found = jax.pmap(local, axis_name="batch", in_axes=(None, 0, 0, 0))(matrix, *shards)
expected = jax.value_and_grad(loss)(matrix, x, y, a)
for mine, theirs in zip(found, expected):
    np.testing.assert_allclose(mine, np.stack([theirs] * 4), rtol=1e-6, atol=1e-6)
assert np.abs(expected[1]).max() > 0.1
"""
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
            "PYTHONPATH": str(root),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_a_wide_sample_needs_no_more_than_two_matrices():
    value = jax.eval_shape(coral, jnp.zeros((4, 512)), jnp.zeros((4, 512)))
    assert value.shape == ()
    compiled = jax.jit(coral).lower(jnp.zeros((4, 512)), jnp.zeros((4, 512))).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 4 * 512 * 512 * 4
