"""Corruptions: what each does, and that a higher severity does more of it."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from jaxfer.data import (
    CORRUPTIONS,
    add_noise,
    blur_images,
    corrupt_domain,
    invert,
    load_digit_domain,
    lower_contrast,
)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 28, 28, 3)).astype(np.uint8)


def test_noise_has_its_deviation_and_its_seed():
    grey = np.full((40, 28, 28, 1), 128, np.uint8)
    for severity, scale in ((1, 0.1), (2, 0.2)):
        noisy = add_noise(grey, severity=severity, seed=0).astype(float)
        assert abs(noisy.std() / (255 * scale) - 1) < 0.03 and abs(noisy.mean() - 128) < 1.0
    assert (add_noise(grey, severity=1, seed=0) == add_noise(grey, severity=1, seed=0)).all()
    assert (add_noise(grey, severity=1, seed=0) != add_noise(grey, severity=1, seed=1)).any()
    strongest = add_noise(grey, severity=5, seed=0)
    assert strongest.min() == 0 and strongest.max() == 255  # cut off, not wrapped around


def test_the_blur_is_scipys_away_from_the_border(images):
    found = blur_images(images, severity=4)
    expected = gaussian_filter(images.astype(float), (0, 3.36, 3.36, 0), truncate=9)
    np.testing.assert_allclose(found[:, 13:15, 13:15], expected[:, 13:15, 13:15], atol=3)
    dot = np.zeros((1, 41, 41, 1), np.uint8)
    dot[0, 20, 20] = 255
    spread = blur_images(dot, severity=2)[0, :, :, 0].astype(float)
    reference = gaussian_filter(dot[0, :, :, 0].astype(float), 41 * 0.07, truncate=9)
    np.testing.assert_allclose(spread, reference, atol=0.51)


def test_contrast_keeps_the_mean_and_scales_the_rest(images):
    for severity, left in ((1, 0.6), (5, 0.1)):
        found = lower_contrast(images, severity=severity).astype(float)
        means = images.mean((1, 2, 3), keepdims=True)
        np.testing.assert_allclose(found, means + left * (images - means), atol=0.51)


def test_an_inversion_ends_in_the_negative(images):
    np.testing.assert_array_equal(invert(images, severity=5), 255 - images)
    expected = np.abs(images.astype(int) - 153)
    np.testing.assert_array_equal(invert(images, severity=3), expected)


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_a_higher_severity_takes_further_away(corruption):
    domain = load_digit_domain("digits")
    distances = []
    for severity in range(1, 6):
        corrupted = corrupt_domain(domain, corruption, severity=severity)
        assert corrupted.test.x.dtype == np.uint8
        np.testing.assert_array_equal(corrupted.train.y, domain.train.y)
        distances.append(np.square(corrupted.train.x / 255 - domain.train.x / 255).mean())
    assert distances == sorted(distances) and distances[0] > 0
    assert corrupted.name == f"digits-{corruption}5" and "severity 5" in corrupted.origin


def test_what_there_is_not(images):
    with pytest.raises(ValueError, match="severity must be 1, 2, 3, 4 or 5; got 0"):
        invert(images, severity=0)
    with pytest.raises(ValueError, match="images must be uint8 .*; got float64"):
        lower_contrast(images / 255, severity=1)
    with pytest.raises(ValueError, match="corruption must be one of noise, .*; got 'fog'"):
        corrupt_domain(load_digit_domain("digits"), "fog", severity=1)
