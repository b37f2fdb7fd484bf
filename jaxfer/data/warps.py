"""Images warped as another hand might have drawn them: affine and elastic, on the device."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.ndimage import map_coordinates

from jaxfer.typing import Key


def warp_images(
    key: Key,
    images: Any,
    *,
    rotation: float = 10.0,
    shear: float = 10.0,
    scale: float = 0.2,
    shift: float = 0.07,
    elastic: float = 0.0,
    smoothness: float = 0.12,
) -> Array:
    r"""Each image by a random affine map of its own, and a smooth random displacement.

    .. math:: x'(p) = x\big(A (p - c) + c + t + u(p)\big)

    about the image's centre :math:`c`, by bilinear interpolation; what lies outside is 0. Pure, so
    that it can be jitted, vmapped and scanned.

    Args:
      key: a JAX random key.
      images: ``[n, height, width, channels]``, floating point.
      rotation: the largest turn to either side, in degrees.
      shear: the largest shear to either side along each axis, in degrees, below 45.
      scale: each side is made longer or shorter by up to this share, from 0 to below 1.
      shift: the largest move along each axis, as a share of that side.
      elastic: standard deviation of the displacement :math:`u`, as a share of the image's side; 0
        for none. 0.01 to 0.03 looks like handwriting.
      smoothness: width of the Gaussian by which the displacement is smoothed, as a share of the
        image's side, above 0.

    Returns:
      The warped images, of the shape of those given.

    Raises:
      TypeError: for images that are not of floating point.
      ValueError: for images of another rank, or a number out of range.

    Source: the affine part after Koch et al. 2015, Siamese neural networks for one-shot image
    recognition, section 3.3, whose ranges are the defaults (there each with probability one half);
    the elastic one after Simard et al. 2003, Best practices for convolutional neural networks.

    >>> images = jnp.ones((2, 8, 8, 1))
    >>> still = warp_images(jax.random.key(0), images, rotation=0, shear=0, scale=0, shift=0)
    >>> bool(jnp.allclose(still, images))
    True
    """
    images = jnp.asarray(images)
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise TypeError(f"images must be of floating point; they are {images.dtype}.")
    if images.ndim != 4:
        raise ValueError(
            f"images must be an array [n, height, width, channels]; their shape is {images.shape}."
        )
    for name, value, below in (
        ("rotation", rotation, 361), ("shear", shear, 45), ("scale", scale, 1), ("shift", shift, 1),
        ("elastic", elastic, 1),
    ):  # fmt: skip
        if not 0 <= value < below:
            raise ValueError(f"{name} must be at least 0 and below {below}; it is {value}.")
    if not smoothness > 0:
        raise ValueError(f"smoothness must be above 0; it is {smoothness}.")
    count, height, width = images.shape[:3]
    affine_key, shift_key, elastic_key = jax.random.split(key, 3)
    drawn = jax.random.uniform(affine_key, (count, 5), images.dtype, -1, 1)
    turn = math.radians(rotation) * drawn[:, 0]
    slants = jnp.tan(math.radians(shear) * drawn[:, 1:3])
    sizes = jnp.exp(math.log1p(scale) * drawn[:, 3:])
    cos, sin = jnp.cos(turn), jnp.sin(turn)
    rotate = jnp.stack([jnp.stack([cos, -sin], -1), jnp.stack([sin, cos], -1)], -2)
    slant = jnp.eye(2, dtype=images.dtype) + slants[:, :, None] * jnp.array([[0.0, 1], [1, 0]])
    matrix = (rotate @ slant) * sizes[:, None, :]
    sides = jnp.array([height, width], images.dtype)
    centre = (sides - 1) / 2
    move = shift * sides * jax.random.uniform(shift_key, (count, 2), images.dtype, -1, 1)
    rows, columns = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
    grid = jnp.stack([rows, columns], -1).astype(images.dtype) - centre  # [h, w, 2]
    places = jnp.einsum("nij,hwj->nhwi", matrix, grid) + centre + move[:, None, None]
    if elastic:
        places = places + elastic * sides * smooth_noise(
            elastic_key, (count, height, width, 2), smoothness, images.dtype
        )
    return sample_at(images, places)


def sample_at(images: Array, places: Array) -> Array:
    """Bilinear values of images ``[n, h, w, c]`` at ``[n, h', w', 2]``; 0 outside."""

    def one(channel: Array, place: Array) -> Array:
        return map_coordinates(channel, [place[..., 0], place[..., 1]], order=1, cval=0.0)

    over_channels = jax.vmap(one, in_axes=(-1, None), out_axes=-1)
    return jax.vmap(over_channels)(images, places)


def smooth_noise(key: Key, shape: tuple[int, int, int, int], width: float, dtype: Any) -> Array:
    """Normal noise ``[n, height, width, k]`` smoothed along its sides, of variance 1 again."""
    noise = jax.random.normal(key, shape, dtype)
    for axis, side in ((1, shape[1]), (2, shape[2])):
        distance = jnp.arange(side)[:, None] - jnp.arange(side)[None]
        kernel = jnp.exp(-0.5 * jnp.square(distance / (width * side))).astype(dtype)
        kernel = kernel / jnp.sqrt(jnp.sum(jnp.square(kernel), -1, keepdims=True))
        noise = jnp.moveaxis(jnp.tensordot(kernel, noise, axes=(1, axis)), 0, axis)
    return noise
