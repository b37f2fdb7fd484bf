"""Every batch-coupled loss on four devices, by pmap and shard_map: that of the global batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import jax, jax.numpy as jnp, numpy as np
from jaxfer import divergences as d, losses as l

assert jax.device_count() == 4
draw = np.random.default_rng(0)
x, y = draw.normal(size=(8, 3)), 1.5 * draw.normal(size=(12, 3)) + 1
a, b = np.array([0, 0, 1, 2, 1, 0, 3, 1]), draw.uniform(0.5, 2, size=12)
labels = np.arange(8) % 3
whole = [np.float32(z) for z in (x, y, a, b)] + [labels]
matrix = np.float32(draw.normal(size=(3, 3)))


def two(f):
    return lambda x, y, a, b, labels, n: f(x, y, source_weights=a, target_weights=b, axis_name=n)


def one(f):
    return lambda x, y, a, b, labels, n: f(x, weights=a, axis_name=n)


def labelled(f, **options):
    return lambda x, y, a, b, labels, n: f(x, labels, weights=a, axis_name=n, **options)


functions = {
    "domain": two(lambda x, y, **o: l.domain_adversarial(x[:, 0], y[:, 0], **o)),
    "critic": two(lambda x, y, **o: l.wasserstein_critic(x[:, 0], y[:, 0], **o)),
    "margin": two(lambda x, y, **o: l.margin_disparity(x[:, ::-1], x, y[:, ::-1], y, **o)),
    "confusion": one(l.minimum_class_confusion),
    "norm": one(l.hard_feature_norm),
    "pairs": labelled(l.contrastive, margin=3.0),
    "triplets": labelled(l.triplet, margin=2.0),
    "supervised": labelled(l.supervised_contrastive),
    "spectral": one(l.batch_spectral_penalty),
    "nuclear": one(l.nuclear_norm_maximization),
    "information": one(l.information_maximization),
    "partial": lambda x, y, a, b, labels, n: l.partial_class_weights(
        y, target_weights=b, axis_name=n
    ) @ jnp.arange(3.0),
    "transport": lambda x, y, a, b, labels, n: l.deep_jdot(
        x, labels, y, y, source_weights=a, target_weights=b, axis_name=n, tolerance=1e-6
    )[0],
    "mmd": two(d.mmd),
    "blocks of mmd": two(lambda x, y, **o: d.mmd(x, y, bandwidth=2.0, block_size=2, **o)),
    "energy": two(d.energy_distance),
    "covariances": two(d.coral),
    "fits": two(d.kl_gaussian),
}


def losses(matrix, x, y, a, b, labels, n=None):
    own = jnp.mean(jnp.sin(x @ matrix))
    values = [f(x @ matrix, y @ matrix, a, b, labels, n) for f in functions.values()]
    return own + jnp.stack(values)


def local(matrix, *shard):
    value = losses(matrix, *shard, "batch")
    gradient = jax.jacrev(losses)(matrix, *shard, "batch")
    return jax.lax.pmean((value, gradient), "batch")


shards = [z.reshape(4, -1, *z.shape[1:]) for z in whole]
values, gradients = jax.pmap(local, axis_name="batch", in_axes=(None, *[0] * 5))(matrix, *shards)
value = losses(matrix, *whole)
gradient = jax.jit(jax.jacrev(losses))(matrix, *whole)
for index, name in enumerate(functions):
    scale = max(1, np.abs(gradient[index]).max())
    for device in range(4):
        np.testing.assert_allclose(
            values[device, index], value[index], rtol=1e-6, atol=1e-6, err_msg=name
        )
        np.testing.assert_allclose(
            gradients[device, index], gradient[index], atol=2e-6 * scale, err_msg=name
        )
    assert np.abs(gradient[index]).max() > 1e-3, name

# shard_map knows what all devices agree on: it sums the gradients itself, seen from within or not.
P = jax.sharding.PartitionSpec
mesh = jax.make_mesh((4,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))


def coupled(matrix, *shard):
    own = jax.lax.pmean(jnp.mean(jnp.sin(shard[0] @ matrix)), "batch")
    x, y, *rest = shard
    return own + jnp.stack([f(x @ matrix, y @ matrix, *rest, "batch") for f in functions.values()])


def within(matrix, *shard):
    return coupled(matrix, *shard), jax.jacrev(coupled)(matrix, *shard)


specs = dict(mesh=mesh, in_specs=(P(), *[P("batch")] * 5))
found = jax.jit(jax.shard_map(within, **specs, out_specs=(P(), P())))(matrix, *whole)
outside = jax.jit(jax.jacrev(jax.shard_map(coupled, **specs, out_specs=P())))(matrix, *whole)
for index, name in enumerate(functions):
    scale = max(1, np.abs(gradient[index]).max())
    np.testing.assert_allclose(found[0][index], value[index], rtol=1e-6, atol=1e-6, err_msg=name)
    for each in (found[1], outside):
        np.testing.assert_allclose(each[index], gradient[index], atol=2e-6 * scale, err_msg=name)
"""


@pytest.mark.slow
def test_four_devices_equal_one():
    """Of the usual ``pmean(grad(local + global))``, and of what ``shard_map`` makes of it."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ
        | {
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
