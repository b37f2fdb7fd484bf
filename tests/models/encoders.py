"""What the tests of encoders share: sizes without computing, and convolution by NumPy."""

from pathlib import Path

import jax
import numpy as np

from jaxfer.models import MobileNetConfig

GOLDEN = Path(__file__).parent / "golden"
# Of the golden file: what a depth multiplier of 0.08 makes of the channels, in even numbers.
TINY_MOBILENET = MobileNetConfig(
    stages=((1, 2, 1, 1), (6, 2, 2, 2), (6, 4, 3, 2), (6, 6, 4, 2), (6, 8, 3, 1), (6, 14, 3, 2),
            (6, 26, 1, 1)),
    stem=4, features=102, padding="SAME", epsilon=1e-3,
)  # fmt: skip


def count(tree) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def sizes(network):
    """Parameters and state of a network, as shapes."""
    return jax.eval_shape(network.init, jax.random.key(0))


def random_numbers(tree, seed=0, scale=0.2):
    """Numbers for shapes, biases too, drawn by NumPy, which compiles nothing."""
    generator = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: generator.normal(size=leaf.shape, scale=scale).astype(np.float32), tree
    )


def output_shape(network, x, train=True):
    params, state = sizes(network)
    key = jax.eval_shape(lambda: jax.random.key(1))
    features, new_state = jax.eval_shape(
        lambda *a: network.apply(*a[:3], train=train, key=a[3]), params, state, x, key
    )
    assert jax.tree.structure(new_state) == jax.tree.structure(state)
    return features.shape


def convolve(x, layer, padding=0):
    """In double precision, with zeros around."""
    kernel = np.asarray(layer["kernel"], np.float64)
    x = np.pad(np.asarray(x, np.float64), ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(1, 2))
    return np.einsum("nijcab,abcf->nijf", windows, kernel) + np.asarray(layer.get("bias", 0.0))


def pool(x):
    n, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(n, height // 2, 2, width // 2, 2, channels).max((2, 4))


def dense(x, layer):
    return x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"], np.float64)


def relu(x):
    return np.maximum(x, 0)


def normalise(x):
    """As a batch normalisation at its start does in training."""
    axes = tuple(range(x.ndim - 1))
    return (x - x.mean(axes)) / np.sqrt(x.var(axes) + 1e-5)
