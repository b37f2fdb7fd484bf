"""Warped images against SciPy's interpolation, and what each number does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jaxfer.data.warps import sample_at, smooth_noise, warp_images

NOTHING = dict(rotation=0.0, shear=0.0, scale=0.0, shift=0.0)


def blob(n=1, side=21):
    """A smooth off-centre spot."""
    row, column = np.mgrid[:side, :side]
    image = np.exp(-((row - 8) ** 2 + (column - 12) ** 2) / 8)
    return jnp.asarray(np.repeat(image[None, :, :, None], n, 0), jnp.float32)


def centre(image):
    weights = np.asarray(image)[..., 0]
    grid = np.mgrid[: weights.shape[0], : weights.shape[1]]
    return (grid * weights).sum((1, 2)) / weights.sum()


def test_interpolation_is_scipys():
    draw = np.random.default_rng(0)
    images = draw.normal(size=(2, 6, 7, 3)).astype(np.float32)
    places = draw.uniform(0.2, 4.8, size=(2, 4, 5, 2)).astype(np.float32)
    found = sample_at(jnp.asarray(images), jnp.asarray(places))
    for i in range(2):
        for channel in range(3):
            expected = ndimage.map_coordinates(
                images[i, :, :, channel], np.moveaxis(places[i], -1, 0), order=1
            )
            np.testing.assert_allclose(found[i, :, :, channel], expected, atol=1e-5)


def test_a_move_moves_and_nothing_leaves_alone():
    images = blob(6)
    key = jax.random.key(0)
    np.testing.assert_allclose(warp_images(key, images, **NOTHING), images, atol=1e-5)
    moved = warp_images(key, images, **NOTHING | {"shift": 0.1})
    moves = np.array([centre(image) for image in moved]) - centre(images[0])
    assert np.abs(moves).max() <= 0.1 * 21 + 0.05
    assert np.abs(moves).max() > 0.5 and len(np.unique(moves.round(3))) == 12


def test_a_turn_keeps_the_distance_to_the_middle_and_a_scale_changes_it():
    images, middle = blob(6), np.array([10, 10])
    radius = np.linalg.norm(centre(images[0]) - middle)

    def radii(**change):
        warped = warp_images(jax.random.key(1), images, **NOTHING | change)
        return np.array([np.linalg.norm(centre(image) - middle) for image in warped])

    np.testing.assert_allclose(radii(rotation=40.0), radius, rtol=0.02)
    scaled = radii(scale=0.3) / radius
    assert np.ptp(scaled) > 0.1
    assert 1 / 1.35 < scaled.min() and scaled.max() < 1.35


def test_noise_is_smooth_and_of_variance_one():
    noise = np.asarray(smooth_noise(jax.random.key(0), (200, 21, 21, 2), 0.12, jnp.float32))
    np.testing.assert_allclose(noise.var(0), 1, rtol=0.5)
    np.testing.assert_allclose(noise.var(), 1, rtol=0.05)
    neighbours = np.mean(noise[:, 1:] * noise[:, :-1])
    far = np.mean(noise[:, 15:] * noise[:, :6])
    assert neighbours > 0.9 and abs(far) < 0.1


def test_an_elastic_warp_bends():
    images = blob(4)
    bent = warp_images(jax.random.key(2), images, **NOTHING | {"elastic": 0.05})
    assert np.abs(bent - images).max() > 0.05
    np.testing.assert_allclose(np.asarray(bent).sum(), np.asarray(images).sum(), rtol=0.5)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (dict(shear=50.0), "shear must be at least 0 and below 45"),
        (dict(scale=1.0), "scale must be at least 0 and below 1"),
        (dict(rotation=-1.0), "rotation must be at least 0"),
        (dict(elastic=-0.1), "elastic must be at least 0"),
        (dict(smoothness=0.0), "smoothness must be above 0"),
    ],
)
def test_numbers_out_of_range(change, complaint):
    with pytest.raises(ValueError, match=complaint):
        warp_images(jax.random.key(0), blob(), **change)


def test_other_arrays():
    with pytest.raises(TypeError, match="images must be of floating point; they are uint8"):
        warp_images(jax.random.key(0), jnp.zeros((1, 8, 8, 1), jnp.uint8))
    with pytest.raises(ValueError, match=r"images must be an array \[n, height, width, channels\]"):
        warp_images(jax.random.key(0), jnp.zeros((8, 8)))
