"""Changes of a batch that leave its classes as they are, by the form of its arrays."""

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxfer.divergences.options import check_number
from jaxfer.typing import Key, PyTree


def weak_augmentation(key: Key, x: PyTree, *, shift: float = 0.1) -> PyTree:
    """Images moved a little; other arrays as they are.

    Args:
      key: of the shifts.
      x: a batch, any pytree. Leaves ``[n, height, width, channels]`` of floating point are images.
      shift: the largest move along each axis, as a share of that side, from 0 to 1; what comes in
        at the border repeats the border.

    Returns:
      ``x``, changed.

    >>> images = jnp.arange(2 * 20 * 20).reshape(2, 20, 20, 1).astype(float)
    >>> weak_augmentation(jax.random.key(0), images).shape
    (2, 20, 20, 1)
    """
    check_number("shift", shift, at_least=0, at_most=1)
    return _each_leaf(key, x, lambda key, leaf: _moved(key, leaf, shift), lambda key, leaf: leaf)


def strong_augmentation(
    key: Key, x: PyTree, *, shift: float = 0.2, cut: float = 0.5, noise: float = 0.3
) -> PyTree:
    r"""Images moved, changed in contrast and with a patch cut out; other arrays noisy.

    .. math:: x \mapsto a (x - \bar x) + \bar x + b, \qquad a \sim U(0.5, 1.5), \quad b \sim \sigma
        U(-0.5, 0.5)

    with the mean and standard deviation of an image, then a square of its mean in a place of
    chance. Rows ``[n, ...]`` of floating point that are not images get normal noise; other leaves
    stay as they are.

    Args:
      key: of everything random.
      x: a batch, any pytree.
      shift: as for :func:`weak_augmentation`.
      cut: side of the square, as a share of the image's, from 0 to 1; its centre is anywhere.
      noise: of other rows, in standard deviations of each of their entries over the batch.

    Returns:
      ``x``, changed.

    Source: the square is DeVries and Taylor 2017, Improved regularization of convolutional neural
    networks with cutout, as at the end of FixMatch's strong changes.

    >>> strong_augmentation(jax.random.key(0), jnp.ones((2, 3)), noise=0.0)
    Array([[1., 1., 1.],
           [1., 1., 1.]], dtype=float32)
    """
    check_number("cut", cut, at_least=0, at_most=1)
    check_number("noise", noise, at_least=0)

    def image(key: Key, leaf: Array) -> Array:
        keys = jax.random.split(key, 3)
        moved = _moved(keys[0], leaf, shift)
        mean = jnp.mean(moved, axis=(1, 2, 3), keepdims=True)
        spread = jnp.std(moved, axis=(1, 2, 3), keepdims=True)
        drawn = jax.random.uniform(keys[1], (2, len(leaf), 1, 1, 1), leaf.dtype, -0.5, 0.5)
        changed = (1 + drawn[0]) * (moved - mean) + mean + drawn[1] * spread
        centres = jax.random.uniform(keys[2], (2, len(leaf), 1))
        inside = [
            jnp.abs((jnp.arange(side) + 0.5) / side - centre) < cut / 2
            for side, centre in zip(leaf.shape[1:3], centres, strict=True)
        ]
        return jnp.where((inside[0][:, :, None] & inside[1][:, None])[..., None], mean, changed)

    def row(key: Key, leaf: Array) -> Array:
        spread = lax.stop_gradient(jnp.std(leaf, axis=0))
        return leaf + noise * spread * jax.random.normal(key, leaf.shape, leaf.dtype)

    return _each_leaf(key, x, image, row)


def _each_leaf(key: Key, x: PyTree, image, row) -> PyTree:  # type: ignore[no-untyped-def]
    leaves, structure = jax.tree.flatten(x)

    def changed(key: Key, leaf: Array) -> Array:
        leaf = jnp.asarray(leaf)
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        return image(key, leaf) if leaf.ndim == 4 else row(key, leaf)

    keys = jax.random.split(key, len(leaves))
    return jax.tree.unflatten(
        structure, [changed(k, leaf) for k, leaf in zip(keys, leaves, strict=True)]
    )


def _moved(key: Key, images: Array, shift: float) -> Array:
    """Each image by its own whole number of pixels."""
    height, width = images.shape[1:3]
    margins = (round(shift * height), round(shift * width))
    padded = jnp.pad(images, ((0, 0), *((m, m) for m in margins), (0, 0)), mode="edge")
    most = 2 * jnp.array(margins) + 1
    starts = jax.random.randint(key, (len(images), 2), 0, most)

    def cut(image: Array, start: Array) -> Array:
        return lax.dynamic_slice(image, (*start, 0), images.shape[1:])

    return jax.vmap(cut)(padded, starts)
