"""Images of the experiments that pre-train and fine-tune: where they come from, and their views."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from jaxfer.data import (
    Domain,
    draw_glyphs,
    load_cifar10,
    load_digits,
    load_image_pair,
    load_tfds_images,
    make_domain,
    train_test_indices,
)
from jaxfer.typing import LabelledBatch


def digits_domain(*, image_size: int, seed: int = 0) -> Domain:
    """Scikit-learn's digits, enlarged, a fifth of each class for the test."""
    digits = load_digits()
    small = np.round(digits.images * 255).astype(np.uint8)
    side = (image_size, image_size)
    images = np.stack(
        [np.asarray(Image.fromarray(x).resize(side, Image.Resampling.BICUBIC)) for x in small]
    )[..., None]
    train, test = train_test_indices(digits.labels, test_share=0.2, seed=seed)
    return make_domain(
        "digits",
        LabelledBatch(images[train], digits.labels[train]),
        LabelledBatch(images[test], digits.labels[test]),
        classes=tuple(map(str, range(10))),
        origin=f"{digits.origin.rstrip('.')}, enlarged to {image_size} pixels.",
    )


def characters_domain(*, image_size: int, small: bool = False, seed: int = 0) -> Domain:
    """Generated characters, a class for each, a fifth of its drawings for the test."""
    found = draw_glyphs(
        alphabets=2 if small else 20, characters=4 if small else 20, drawings=20,
        image_size=image_size, seed=seed,
    )  # fmt: skip
    classes, drawings = found.images.shape[:2]
    images = found.images.reshape(-1, image_size, image_size, 1)
    labels = np.repeat(np.arange(classes, dtype=np.int32), drawings)
    train, test = train_test_indices(labels, test_share=0.2, seed=seed)
    return make_domain(
        "characters",
        LabelledBatch(images[train], labels[train]),
        LabelledBatch(images[test], labels[test]),
        classes=found.names,
        origin=found.origin,
    )


def read_images(
    data: str, data_dir: Path | None, *, image_size: int, color: bool, skip_bad: bool, seed: int
) -> Domain:
    """A domain of images by ``--data``: a name, ``tfds:NAME`` or a folder."""
    if data == "digits":
        return digits_domain(image_size=image_size, seed=seed)
    if data == "characters":
        return characters_domain(image_size=image_size, seed=seed)
    if data == "cifar10":
        return load_cifar10(data_dir, image_size=image_size, color=color)
    if data.startswith("tfds:"):
        return load_tfds_images(
            data.removeprefix("tfds:"), data_dir, image_size=image_size, color=color,
            skip_bad=skip_bad, seed=seed,
        )  # fmt: skip
    folder = Path(data)
    # The same folder twice: it checks classes and deals out a test, and the second is let go.
    domain, _ = load_image_pair(
        folder, folder, image_size=image_size, color=color, skip_bad=skip_bad, seed=seed
    )
    return domain


def shift_images(x: jax.Array, key: jax.Array, *, pixels: int, flip: bool = False) -> jax.Array:
    """Shifts each image by up to so many pixels, and mirrors half of them if asked to.

    >>> shift_images(jnp.ones((2, 4, 4, 1)), jax.random.key(0), pixels=1).shape
    (2, 4, 4, 1)
    """
    n, height, width, _ = x.shape
    shift_key, flip_key = jax.random.split(key)
    if flip:
        mirrored = jax.random.bernoulli(flip_key, 0.5, (n, 1, 1, 1))
        x = jnp.where(mirrored, x[:, :, ::-1], x)
    if not pixels:
        return x
    padded = jnp.pad(x, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), mode="edge")
    corners = jax.random.randint(shift_key, (n, 2), 0, 2 * pixels + 1)
    # Rows and columns by index: a slice for each image would be a loop.
    rows = corners[:, :1] + jnp.arange(height)
    columns = corners[:, 1:] + jnp.arange(width)
    each = jnp.arange(n)[:, None, None]
    return padded[each, rows[:, :, None], columns[:, None, :]]


def random_view(x: jax.Array, key: jax.Array) -> jax.Array:
    """SimCLR's view of each image: a random part of it enlarged, other contrast and brightness.

    >>> random_view(jnp.ones((2, 8, 8, 1)), jax.random.key(0)).shape
    (2, 8, 8, 1)
    """

    def one(image: jax.Array, key: jax.Array) -> jax.Array:
        size_key, place_key, contrast_key, light_key = jax.random.split(key, 4)
        side = jax.random.uniform(size_key, (2,), minval=0.5, maxval=1.0)
        shape = jnp.array(image.shape[:2])
        start = jax.random.uniform(place_key, (2,)) * (1 - side) * shape
        scale = 1 / side
        part = jax.image.scale_and_translate(
            image, image.shape, (0, 1), scale, -start * scale, "linear", antialias=False
        )
        contrast = jax.random.uniform(contrast_key, minval=0.6, maxval=1.4)
        return contrast * part + jax.random.uniform(light_key, minval=-0.4, maxval=0.4)

    return jax.vmap(one)(x, jax.random.split(key, len(x)))
