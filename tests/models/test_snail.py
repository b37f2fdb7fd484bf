"""SNAIL: its convolution against PyTorch's, and that nothing sees what is to come."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxfer.models import CausalConv, RelationEncoder, RelationModule, Snail, StridedEncoder


def test_the_causal_convolution_is_pytorchs():
    torch = pytest.importorskip("torch")
    conv = CausalConv(3, 4, dilation=2, rngs=nnx.Rngs(0))
    x = np.random.default_rng(0).normal(size=(2, 7, 3)).astype(np.float32)
    kernel = np.asarray(conv.linear.kernel[...]).reshape(2, 3, 4)  # before, now
    reference = torch.nn.Conv1d(3, 4, 2, dilation=2)
    with torch.no_grad():
        reference.weight.copy_(torch.tensor(kernel.transpose(2, 1, 0)))
        reference.bias.zero_()
        padded = torch.nn.functional.pad(torch.tensor(x.transpose(0, 2, 1)), (2, 0))
        expected = reference(padded).numpy().transpose(0, 2, 1)
    np.testing.assert_allclose(conv(jnp.asarray(x)), expected, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def snail():
    return Snail(
        in_features=3, out_features=2, length=4, filters=4, keys=(4, 6, 8), rngs=nnx.Rngs(0)
    )


def test_no_output_depends_on_a_later_input_and_the_last_on_all(snail):
    x = jax.random.normal(jax.random.key(0), (1, 4, 3))
    jacobian = jax.jit(jax.jacobian(lambda x: snail(x)[0].sum(-1)))(x)[:, 0]  # [out, in, features]
    reach = np.abs(jacobian).max(-1)
    assert not np.triu(reach, 1).any()
    assert (reach[-1] > 0).all()


def snail_by_numpy(snail, x):
    """One sequence ``[time, features]``, its attention a loop over time."""

    def linear(name, x):
        layer = getattr(snail, name)
        layer = getattr(layer, "linear", layer)
        return x @ np.asarray(layer.kernel[...]) + np.asarray(layer.bias[...])

    for block in range(3):
        queries, keys, values = (linear(f"{n}{block}", x) for n in ("query", "key", "value"))
        read = []
        for now, query in enumerate(queries):
            weights = np.exp(keys[: now + 1] @ query / np.sqrt(len(query)))
            read.append(weights / weights.sum() @ values[: now + 1])
        x = np.concatenate([x, read], -1)
        for level in range(snail.levels if block < 2 else 0):
            before = np.concatenate([np.zeros((2**level, x.shape[1])), x])[: len(x)]
            both = np.concatenate([before, x], -1)
            opened = 1 / (1 + np.exp(-linear(f"gate{block}_{level}", both)))
            x = np.concatenate([x, np.tanh(linear(f"filter{block}_{level}", both)) * opened], -1)
    return linear("head", x)


def test_attention_and_gates_are_loops_over_time(snail):
    x = 2 * jax.random.normal(jax.random.key(1), (2, 4, 3))
    found = jax.jit(snail.__call__)(x)
    for sequence, out in zip(x, found, strict=True):
        np.testing.assert_allclose(out, snail_by_numpy(snail, sequence), rtol=1e-4, atol=1e-5)


def test_a_sequence_of_one_is_refused():
    with pytest.raises(ValueError, match="length must be at least 2; got 1"):
        Snail(in_features=3, out_features=2, length=1, rngs=nnx.Rngs(0))


def test_shapes_of_the_other_networks():
    def shape(build, *inputs):
        return nnx.eval_shape(lambda: build(nnx.Rngs(0))(*map(jnp.zeros, inputs))).shape

    assert shape(lambda r: RelationEncoder(width=4, rngs=r), (2, 28, 28, 1)) == (2, 7, 7, 4)
    module = lambda r: RelationModule(features=8, width=4, size=7, rngs=r)  # noqa: E731
    assert shape(module, (5, 7, 7, 8)) == (5,)
    published = lambda r: StridedEncoder(rngs=r)  # noqa: E731
    assert shape(published, (2, 84, 84, 1)) == (2, 9 * 256)
    with pytest.raises(ValueError, match="image_size must leave something for layer 6 of 6"):
        StridedEncoder(width=4, image_size=28, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="size must be at least 4"):
        RelationModule(features=8, size=3, rngs=nnx.Rngs(0))
