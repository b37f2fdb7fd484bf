"""Dense encoders and their sparse first layer, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxfer.models import DenseEncoder, from_nnx

from .encoders import count, dense, random_numbers, relu, sizes


def network(sizes, **options):
    return from_nnx(lambda rngs: DenseEncoder(sizes, rngs=rngs, **options))


def rows(n, features, k):
    """Rows with k values or fewer, as a matrix and as padded pairs; padding has values too."""
    generator = np.random.default_rng(0)
    x = np.zeros((n, features), np.float32)
    indices = np.full((n, k), features, np.int32)
    values = generator.normal(size=(n, k)).astype(np.float32)
    for i in range(n):
        filled = generator.permutation(features)[: generator.integers(k + 1)]
        indices[i, : len(filled)] = filled
        x[i, filled] = values[i, : len(filled)]
    return x, (indices, values)


def test_dense_and_sparse_are_the_same_function_and_gradient():
    x, sparse = rows(6, 30, 5)
    both = [network([30, 7, 4], sparse=kind) for kind in (False, True)]
    params = random_numbers(sizes(both[0])[0], scale=1.0)
    assert jax.tree.structure(params) == jax.tree.structure(sizes(both[1])[0])
    expected = relu(dense(relu(dense(x, params["layer0"])), params["layer1"]))
    gradients = []
    for net, inputs in zip(both, (x, sparse), strict=True):

        def loss(p, net=net, inputs=inputs):
            found, _ = net.apply(p, {}, inputs, train=True)
            return jnp.square(found).sum(), found

        (_, found), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        gradients.append(gradient)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), *gradients)


def test_the_network_of_the_amazon_reviews():
    net = network([5000, 100], activation=nnx.sigmoid)
    params, state = sizes(net)
    assert count(params) == 5000 * 100 + 100 and state == {}


def test_one_size_is_refused():
    with pytest.raises(ValueError, match=r"those of the input and of a layer; got \[3\]"):
        DenseEncoder([3], rngs=nnx.Rngs(0))
